/*
 * 02_ring.c - a ring between two threads: one reads lines from a file (or from
 * standard input), the other counts words. The reader sleeps when the ring is
 * full, the counter when it is empty; closing the ring ends both.
 *
 *      ./02_ring FILE
 */
#include <ctype.h>
#include <hyperion/ring.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct line {
    unsigned number;
    char text[252];
};

struct totals {
    hy_ring *ring;
    unsigned long lines, words, longest;
    unsigned longest_at;
};

static void *count_words(void *arg)
{
    struct totals *t = arg;
    struct line line;

    /* Parks this thread while nothing is there; -EPIPE ends the loop. */
    while (hy_ring_pop_wait(t->ring, &line, HY_FOREVER) == 0) {
        unsigned long words = 0;

        for (const char *c = line.text; *c != '\0'; c++)
            words += !isspace((unsigned char)*c) &&
                     (c == line.text || isspace((unsigned char)c[-1]));
        t->lines++;
        t->words += words;
        if (words > t->longest) {
            t->longest = words;
            t->longest_at = line.number;
        }
    }
    return NULL;
}

static void read_lines(FILE *file, hy_ring *ring)
{
    struct line *line;
    unsigned number = 0;
    int more = 1;

    while (more) {
        /* Written in place: the line is never copied into the ring. */
        line = hy_ring_reserve(ring, 1, NULL);
        if (line == NULL) { /* full: this one goes in by waiting */
            struct line copy = {++number, ""};

            more = fgets(copy.text, sizeof(copy.text), file) != NULL;
            if (more && hy_ring_push_wait(ring, &copy, HY_FOREVER) != 0)
                break;
            continue;
        }
        line->number = ++number;
        more = fgets(line->text, sizeof(line->text), file) != NULL;
        hy_ring_commit(ring, more ? 1 : 0);
    }
    hy_ring_close(ring);
}

int main(int argc, char **argv)
{
    hy_ring_options options = HY_RING_OPTIONS_INIT;
    hy_ring_stats stats = {0};
    struct totals totals = {0};
    FILE *file = argc > 1 ? fopen(argv[1], "r") : stdin;
    pthread_t thread;
    int r;

    if (file == NULL) {
        perror(argv[1]);
        return 1;
    }
    options.item_bytes = sizeof(struct line);
    options.capacity = 64;
    r = hy_ring_create(&totals.ring, &options);
    if (r != 0) {
        fprintf(stderr, "no ring: %s\n", strerror(-r));
        return 1;
    }
    if (pthread_create(&thread, NULL, count_words, &totals) != 0) {
        fprintf(stderr, "no thread\n");
        return 1;
    }
    read_lines(file, totals.ring);
    pthread_join(thread, NULL);

    stats.size = sizeof(stats);
    hy_ring_stats_get(totals.ring, &stats);
    printf("%lu lines, %lu words; line %u has the most: %lu\n", totals.lines,
           totals.words, totals.longest_at, totals.longest);
    printf("ring of %zu: %llu lines passed; the reader slept %llu times, the "
           "counter %llu\n",
           stats.capacity, (unsigned long long)stats.popped,
           (unsigned long long)stats.push_parks,
           (unsigned long long)stats.pop_parks);
    hy_ring_destroy(totals.ring);
    if (file != stdin)
        fclose(file);
    return 0;
}
