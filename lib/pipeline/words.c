/*
 * words.c - reading a text for the buckets of its words (words.h has the
 * picture).
 *
 * Invariant: the same text gives the same set on every machine, so that what
 * was counted when a document came is what is taken off when it goes.
 * Upstream: analyse.c, library.c. Downstream: text.h.
 */
#include "words.h"

#include <string.h>

enum { BATCH = 64 };

void hyi_word_set_read(const hy_vectorizer *vectorizer, const char *text,
                       size_t bytes, struct word_set *set)
{
    uint64_t hashes[BATCH];
    hy_text_cursor cursor;
    size_t n;

    memset(set, 0, sizeof(*set));
    hy_text_cursor_init(&cursor, text, bytes);
    while ((n = hy_text_next_stems(vectorizer, &cursor, hashes, BATCH)) != 0) {
        set->length += n;
        for (size_t i = 0; i < n; i++) {
            unsigned bucket = word_bucket(hashes[i]);

            set->buckets[bucket / 64] |= (uint64_t)1 << bucket % 64;
        }
    }
}
