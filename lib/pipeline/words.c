/*
 * words.c - noting the buckets of a text's words (words.h has the picture).
 *
 * Invariant: a bit of seen is set when, and only when, its bucket is among the
 * first count of buckets.
 * Upstream: analyse.c. Downstream: nothing.
 */
#include "words.h"

void hyi_words_clear(struct words *words)
{
    for (uint32_t i = 0; i < words->count; i++)
        words->seen[words->buckets[i] / 64] = 0;
    words->length = words->count = 0;
}

void hyi_words_add(void *ctx, const uint64_t *hashes, size_t count)
{
    struct words *words = ctx;

    for (size_t i = 0; i < count; i++) {
        unsigned bucket = word_bucket(hashes[i]);
        uint64_t *seen = &words->seen[bucket / 64];
        uint64_t bit = (uint64_t)1 << bucket % 64;

        if ((*seen & bit) == 0)
            words->buckets[words->count++] = (uint16_t)bucket;
        *seen |= bit;
    }
    words->length += (uint32_t)count;
}
