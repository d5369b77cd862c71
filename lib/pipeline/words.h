/*
 * words.h - which words a text has, as far as counting them needs.
 *
 *      text -> stems -> hash -> bucket: | 0 0 1 0 1 1 0 ... |   length: 17
 *
 * The library counts for each bucket how many documents have a word of it, so
 * that a query knows what is rare. Words that share a bucket count as one word
 * that is less rare than either; that is all that sharing costs.
 */
#ifndef HYI_PIPELINE_WORDS_H
#define HYI_PIPELINE_WORDS_H

#include <hyperion/text.h>

/* 2^14: 64 KiB of counters, and the order of hits is that of exact counts on
 * 117,659 documents; so it is with 2^12. docs/design/pipeline.md */
enum { WORD_BUCKETS_LOG2 = 14, WORD_BUCKETS = 1 << WORD_BUCKETS_LOG2 };

struct word_set {
    uint64_t length; /* in words, each as often as it stands there */
    uint64_t buckets[WORD_BUCKETS / 64]; /* a bit each */
};

static inline unsigned word_bucket(uint64_t hash)
{
    return (unsigned)(hash * 0x9e3779b97f4a7c15u >> (64 - WORD_BUCKETS_LOG2));
}

void hyi_word_set_read(const hy_vectorizer *vectorizer, const char *text,
                       size_t bytes, struct word_set *set);

#endif
