/*
 * 03_paged_memory.c - 64 GiB of memory that is a file: a table of words with
 * their counts, found again by the next run. The last change of each run is not
 * checkpointed, and the next run shows that it is not there.
 *
 *      ./03_paged_memory store.hyp the quick brown fox
 *      ./03_paged_memory store.hyp the lazy dog
 *
 * Without arguments the file is paged_memory.hyp in this folder.
 */
#include <hyperion/pager.h>
#include <stdio.h>
#include <string.h>

#define BYTES ((uint64_t)64 << 30)

/* A slot a word, spread over all of the memory: a page is there once used. */
struct slot {
    char word[48];
    uint64_t count;
};

struct head {
    uint64_t runs, words, unsaved;
};

static void tell(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

/* The slot of a word: its own, or the first free one after its place. */
static struct slot *find(char *base, const char *word)
{
    const uint64_t slots = BYTES / sizeof(struct slot);
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

    for (const char *c = word; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (;; hash++) {
        /* Slot 0 is the head's. */
        struct slot *slot = (struct slot *)base + 1 + hash % (slots - 1);

        if (slot->word[0] == '\0' || strcmp(slot->word, word) == 0)
            return slot;
    }
}

static void show(hy_pager *pager, uint64_t ns)
{
    hy_pager_stats s = {0};
    uint8_t heat[64];

    s.size = sizeof(s);
    hy_pager_stats_get(pager, &s);
    printf("checkpoint: %llu pages in %.2f ms; writers held %.2f ms\n",
           (unsigned long long)s.write_backs, (double)ns / 1e6,
           (double)s.held_ns / 1e6);
    printf("resident: %llu KiB of %llu GiB, in %llu mapping(s)\n",
           (unsigned long long)(s.resident_bytes >> 10),
           (unsigned long long)(s.reserved_bytes >> 30),
           (unsigned long long)s.mappings);
    if (hy_pager_heat(pager, 0, BYTES, heat, sizeof(heat)) != 0)
        return;
    printf("where:    ");
    for (size_t i = 0; i < sizeof(heat); i++)
        putchar(heat[i] == 0 ? '.' : '#');
    putchar('\n');
}

int main(int argc, char **argv)
{
    hy_pager_options options = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager;
    struct head *head;
    uint64_t began;
    char *base;
    int r;

    options.path = argc > 1 ? argv[1] : "paged_memory.hyp";
    options.flags = HY_PAGER_CREATE;
    options.report.write = tell;
    r = hy_pager_reserve(&pager, BYTES, &options);
    if (r != 0) {
        fprintf(stderr, "%s: %s\n", options.path, strerror(-r));
        return 1;
    }
    base = hy_pager_base(pager);
    head = (struct head *)base;
    printf("run %llu; %llu different words so far; unsaved changes found: "
           "%llu\n",
           (unsigned long long)++head->runs, (unsigned long long)head->words,
           (unsigned long long)head->unsaved);
    for (int i = 2; i < argc; i++) {
        struct slot *slot = find(base, argv[i]);

        head->words += slot->count == 0;
        snprintf(slot->word, sizeof(slot->word), "%.47s", argv[i]);
        printf("%6llu  %s\n", (unsigned long long)++slot->count, slot->word);
    }
    began = hy_now();
    r = hy_pager_checkpoint(pager); /* durable from here on */
    if (r != 0)
        fprintf(stderr, "not saved: %s\n", strerror(-r));
    show(pager, hy_now() - began);
    head->unsaved++; /* after the checkpoint: gone with this run */
    hy_pager_release(pager);
    return r != 0;
}
