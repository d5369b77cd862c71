/*
 * stop_words.h - words that say nothing about a text's subject.
 */
#ifndef HYI_STOP_WORDS_H
#define HYI_STOP_WORDS_H

#include <stddef.h>

/* Sorted, in lower case, each one token. */
extern const char *const hyi_stop_words_english[];
extern const size_t hyi_stop_words_english_count;

#endif
