/*
 * pager_table.c - the sparse table of cluster words (pager_table.h has the
 * picture).
 *
 * Invariant: a word that is not 0 lies in a leaf whose used bit is set.
 * Upstream: mech_signal.c. Downstream: os.h for the memory.
 */
#include "pager_table.h"

#include <errno.h>

#include "bits.h"
#include "check.h"
#include "os.h"

enum { LEAF_WORDS = 1024, BITS = 64 };

int hyi_table_init(struct hyi_table *table, uint64_t count)
{
    uint64_t leaves = (count + LEAF_WORDS - 1) / LEAF_WORDS;
    void *words, *used;

    table->count = count;
    table->leaf_words = LEAF_WORDS;
    table->words_bytes = leaves * LEAF_WORDS * sizeof(*table->words);
    table->used_bytes = (leaves + BITS - 1) / BITS * sizeof(*table->used);
    if (hyi_os_reserve(&words, table->words_bytes, HYI_OS_READ | HYI_OS_WRITE,
                       NULL, false) != 0)
        return -ENOMEM;
    if (hyi_os_reserve(&used, table->used_bytes, HYI_OS_READ | HYI_OS_WRITE,
                       NULL, false) != 0) {
        hyi_os_release(words, table->words_bytes);
        return -ENOMEM;
    }
    table->words = words;
    table->used = used;
    return 0;
}

void hyi_table_destroy(struct hyi_table *table)
{
    if (table->words == NULL)
        return;
    hyi_os_release(table->words, table->words_bytes);
    hyi_os_release(table->used, table->used_bytes);
    table->words = NULL;
}

static bool is_used(const struct hyi_table *table, uint64_t leaf)
{
    return atomic_load_explicit(&table->used[leaf / BITS],
                                memory_order_relaxed) >>
               leaf % BITS &
           1;
}

uint32_t hyi_table_get(const struct hyi_table *table, uint64_t at)
{
    HYI_DEBUG(at < table->count);
    if (!is_used(table, at / LEAF_WORDS))
        return 0;
    return atomic_load_explicit(&table->words[at], memory_order_relaxed);
}

void hyi_table_set(struct hyi_table *table, uint64_t at, uint32_t word)
{
    uint64_t leaf = at / LEAF_WORDS;

    HYI_DEBUG(at < table->count);
    if (!is_used(table, leaf)) {
        if (word == 0)
            return;
        atomic_fetch_or_explicit(&table->used[leaf / BITS],
                                 (uint64_t)1 << leaf % BITS,
                                 memory_order_relaxed);
    }
    atomic_store_explicit(&table->words[at], word, memory_order_relaxed);
}

/* The first used leaf at or after leaf; leaves when there is none. */
static uint64_t next_leaf(const struct hyi_table *table, uint64_t leaf,
                          uint64_t leaves)
{
    while (leaf < leaves) {
        uint64_t bits = atomic_load_explicit(&table->used[leaf / BITS],
                                             memory_order_relaxed) >>
                        leaf % BITS;

        if (bits != 0)
            return leaf + (uint64_t)__builtin_ctzll(bits);
        leaf = (leaf / BITS + 1) * BITS;
    }
    return leaves;
}

uint64_t hyi_table_find(const struct hyi_table *table, uint64_t at,
                        uint32_t bits)
{
    uint64_t leaves = (table->count + LEAF_WORDS - 1) / LEAF_WORDS;

    while (at < table->count) {
        uint64_t leaf = next_leaf(table, at / LEAF_WORDS, leaves);
        uint64_t end = (leaf + 1) * LEAF_WORDS;

        if (leaf >= leaves)
            break;
        if (at < leaf * LEAF_WORDS)
            at = leaf * LEAF_WORDS;
        for (; at < end && at < table->count; at++)
            if (atomic_load_explicit(&table->words[at], memory_order_relaxed) &
                bits)
                return at;
    }
    return table->count;
}
