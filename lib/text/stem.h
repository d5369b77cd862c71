/*
 * stem.h - cutting English endings, lightly. Upstream: vectorize.c.
 */
#ifndef HYI_STEM_H
#define HYI_STEM_H

#include "word.h"

/* Cuts the endings of a short word, and makes its hash that of the stem. Long
 * words and those of fewer than 4 bytes stay. */
void hyi_stem(struct hyi_word *word);

#endif
