/*
 * 13_fork_join.c - a merge sort that forks a fiber for one half, sorts the
 * other half itself, and joins.
 *
 * Shown: a tree of fibers, where every fiber waits for its own child; that
 * such a tree needs few stacks, since most of its fibers run while their parent
 * waits; and falling back to a plain call when no fiber can be had.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hyperion/hyperion.h>

enum { NUMBERS = 1000000, SMALL = 4096 };

struct part {
    uint32_t *numbers, *room; /* as many each */
    size_t count;
};

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void merge(const struct part *p, size_t half)
{
    size_t left = 0, right = half;

    for (size_t i = 0; i < p->count; i++) {
        int from_left = right == p->count ||
                        (left < half && p->numbers[left] <= p->numbers[right]);

        p->room[i] = p->numbers[from_left ? left++ : right++];
    }
    memcpy(p->numbers, p->room, p->count * sizeof(*p->numbers));
}

static void sort(void *arg)
{
    const struct part *p = arg;
    size_t half = p->count / 2;
    struct part left = {p->numbers, p->room, half};
    struct part right = {p->numbers + half, p->room + half, p->count - half};
    hy_fiber child;

    if (p->count <= SMALL) {
        qsort(p->numbers, p->count, sizeof(*p->numbers), compare);
        return;
    }
    if (hy_fiber_spawn(NULL, sort, &left, NULL, &child) == 0) {
        sort(&right);
        hy_fiber_join(child, HY_FOREVER); /* left lies on this stack */
    } else {
        sort(&left);
        sort(&right);
    }
    merge(p, half);
}

static int is_sorted(const struct part *p)
{
    for (size_t i = 1; i < p->count; i++)
        if (p->numbers[i - 1] > p->numbers[i])
            return 0;
    return 1;
}

int main(void)
{
    struct part all = {malloc(NUMBERS * sizeof(uint32_t)),
                       malloc(NUMBERS * sizeof(uint32_t)), NUMBERS};
    hy_runtime_stats stats = {.size = sizeof(stats)};
    hy_runtime *rt = NULL;
    uint64_t seed = 1, start;
    int r;

    if (all.numbers == NULL || all.room == NULL)
        return 1;
    for (size_t i = 0; i < NUMBERS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        all.numbers[i] = (uint32_t)(seed >> 32);
    }
    start = hy_now();
    r = hy_runtime_init(&rt, NULL); /* a worker for each processor */
    r = r != 0 ? r : hy_fiber_spawn(rt, sort, &all, NULL, NULL);
    r = r != 0 ? r : hy_runtime_run(rt);
    if (r != 0) {
        fprintf(stderr, "no fork and join: error %d\n", -r);
        return 1;
    }
    hy_runtime_stats_get(rt, &stats);
    printf("%d numbers %s in %llu ms, by %llu fibers on %u workers\n", NUMBERS,
           is_sorted(&all) ? "sorted" : "NOT sorted",
           (unsigned long long)(hy_now() - start) / 1000000,
           (unsigned long long)stats.spawned, stats.workers);
    hy_runtime_destroy(rt);
    r = is_sorted(&all) ? 0 : 1;
    free(all.numbers);
    free(all.room);
    return r;
}
