/*
 * show.h - what the program writes: a progress bar, hits, figures, JSON.
 * Text from documents is made safe for a terminal: one line, no control
 * characters, no broken UTF-8.
 */
#ifndef SHOW_H
#define SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Columns of the terminal behind file; 80 when it is none. */
unsigned show_columns(FILE *file);

/* One line that redraws itself, on a terminal only. */
void show_progress(uint64_t done, uint64_t total, uint64_t documents);
void show_progress_end(void);

/* "s" unless it is one of them. */
const char *plural(uint64_t count);

/* The name of a file, or another word of the user's: what would move the
 * cursor or be no text is escaped (\n, \x1b), and so is the backslash. */
void show_name(FILE *file, const char *name);

/* Text as one line of at most so many columns (0: no limit). */
void show_text(FILE *file, const char *text, size_t bytes, unsigned columns);

/* A JSON string with its quotes; broken UTF-8 becomes U+FFFD. */
void show_json_string(FILE *file, const char *text, size_t bytes);

#endif
