/*
 * words.h - which words a text has, as far as counting them needs.
 *
 *      text -> stems -> hashes -> buckets | 77 | 9014 | ... |, each once
 *                                 length: 17 words, seen: a bit a bucket
 *
 * The library counts for each bucket how many documents have a word of it, so
 * that a query knows what is rare. Words that share a bucket count as one word
 * that is less rare than either; that is all that sharing costs.
 */
#ifndef HYI_PIPELINE_WORDS_H
#define HYI_PIPELINE_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* 2^14: 64 KiB of counters. Answers from 117,659 documents are as good as with
 * exact counts, and with 2^12 too: docs/design/pipeline.md */
enum { WORD_BUCKETS_LOG2 = 14, WORD_BUCKETS = 1 << WORD_BUCKETS_LOG2 };

struct words {
    uint32_t length; /* in words, each as often as it stands there */
    uint32_t count;  /* of buckets */
    uint16_t buckets[WORD_BUCKETS];
    uint64_t seen[WORD_BUCKETS / 64]; /* those among buckets */
};

static inline unsigned word_bucket(uint64_t hash)
{
    return (unsigned)(hash * 0x9e3779b97f4a7c15u >> (64 - WORD_BUCKETS_LOG2));
}

/* From a text's words to none; costs as much as there were. */
void hyi_words_clear(struct words *words);

/* A hy_stem_sink of a struct words. */
void hyi_words_add(void *words, const uint64_t *hashes, size_t count);

#endif
