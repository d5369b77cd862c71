/*
 * test_ring_inline.c - typed rings (inline/ring.h): the semantics of
 * hyperion/ring.h on one thread for both kinds, and payload between two.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <hyperion/inline/ring.h>

#include "hy_test.h"

struct event {
    uint32_t number;
    char text[12];
};

HY_RING_DEFINE(event_ring, struct event, 8);
HY_RING_DEFINE_LOCAL(local_ring, struct event, 8);
HY_RING_DEFINE(word_ring, uint64_t, 256);
HY_RING_DEFINE(tiny_ring, char, 1);
HY_RING_DEFINE(text_ring, const char *, 4);
HY_RING_DEFINE_LOCAL(pointer_ring, void *, 4);

static struct event event_of(uint32_t number)
{
    struct event e = {number, ""};

    snprintf(e.text, sizeof(e.text), "no %u", number);
    return e;
}

static int is_event(const struct event *e, uint32_t number)
{
    struct event expected = event_of(number);

    return e->number == number && strcmp(e->text, expected.text) == 0;
}

/* The same test for either kind of ring. */
#define CHECK_RING(name)                                                       \
    do {                                                                       \
        static name r;                                                         \
        struct event in[10], out[10], *span;                                   \
        const struct event *read;                                              \
        uint32_t next = 0, taken = 0;                                          \
        size_t n;                                                              \
        name##_init(&r);                                                       \
        HY_CHECK_EQ(name##_state(&r), -EAGAIN);                                \
        HY_CHECK_EQ(name##_pop(&r, out), -EAGAIN);                             \
        for (int round = 0; round < 50; round++) {                             \
            while (name##_push(&r, event_of(next)) == 0)                       \
                next++;                                                        \
            HY_CHECK_EQ(next - taken, 8);                                      \
            HY_CHECK_EQ(name##_count(&r), 8);                                  \
            HY_CHECK_EQ(name##_push_n(&r, in, 3), 0);                          \
            HY_CHECK_EQ(name##_pop(&r, out), 0);                               \
            HY_CHECK(is_event(out, taken++));                                  \
            HY_CHECK_EQ(name##_push(&r, event_of(next++)), 0);                 \
            n = name##_pop_n(&r, out, (size_t)(round % 10));                   \
            HY_CHECK_EQ(n, round % 10 < 8 ? round % 10 : 8);                   \
            for (size_t i = 0; i < n; i++)                                     \
                HY_CHECK(is_event(&out[i], taken++));                          \
            for (size_t i = 0; i < 10; i++)                                    \
                in[i] = event_of(next + (uint32_t)i);                          \
            n = name##_push_n(&r, in, 3);                                      \
            HY_CHECK_EQ(n, 8 - (next - taken) < 3 ? 8 - (next - taken) : 3);   \
            next += (uint32_t)n;                                               \
            HY_CHECK_EQ(name##_state(&r), 0);                                  \
            read = name##_peek(&r, &n);                                        \
            HY_CHECK(read != NULL && n >= 1 && is_event(read, taken));         \
            name##_release(&r, 1);                                             \
            name##_release(&r, 1);                                             \
            taken++;                                                           \
            span = name##_reserve(&r, 5, &n);                                  \
            HY_CHECK(span != NULL && n >= 1);                                  \
            span[0] = event_of(next);                                          \
            name##_commit(&r, round % 2 ? 1 : 0);                              \
            name##_commit(&r, 1);                                              \
            next += round % 2;                                                 \
            HY_CHECK_EQ(name##_count(&r), next - taken);                       \
        }                                                                      \
        name##_close(&r);                                                      \
        HY_CHECK_EQ(name##_push(&r, in[0]), -EPIPE);                           \
        HY_CHECK_EQ(name##_push_n(&r, in, 1), 0);                              \
        HY_CHECK(name##_reserve(&r, 1, &n) == NULL && n == 0);                 \
        HY_CHECK_EQ(name##_state(&r), -EPIPE);                                 \
        while (name##_pop(&r, out) == 0)                                       \
            HY_CHECK(is_event(out, taken++));                                  \
        HY_CHECK_EQ(taken, next);                                              \
        HY_CHECK_EQ(name##_pop(&r, out), -EPIPE);                              \
        HY_CHECK(name##_peek(&r, &n) == NULL && n == 0);                       \
    } while (0)

HY_TEST(ring_inline, between_threads_has_the_rings_semantics)
{
    CHECK_RING(event_ring);
}

HY_TEST(ring_inline, local_has_the_rings_semantics)
{
    CHECK_RING(local_ring);
}

/* The hint of a large ring lags by many pops; full is exact all the same. */
HY_TEST(ring_inline, one_pop_makes_room_for_one_push)
{
    static word_ring r;
    uint64_t item, items[3] = {0}, next = 0;

    word_ring_init(&r);
    while (word_ring_push(&r, next) == 0)
        next++;
    HY_CHECK_EQ(next, 256);
    HY_CHECK_EQ(word_ring_pop(&r, &item), 0);
    HY_CHECK_EQ(word_ring_push(&r, next++), 0);
    HY_CHECK_EQ(word_ring_push(&r, next), -EAGAIN);
    HY_CHECK_EQ(word_ring_pop_n(&r, items, 3), 3);
    HY_CHECK_EQ(word_ring_push_n(&r, items, 3), 3);
    HY_CHECK_EQ(word_ring_push(&r, next), -EAGAIN);
}

HY_TEST(ring_inline, one_slot_is_enough)
{
    static tiny_ring r;
    char c = 0;

    tiny_ring_init(&r);
    for (char i = 'a'; i <= 'z'; i++) {
        HY_CHECK_EQ(tiny_ring_push(&r, i), 0);
        HY_CHECK_EQ(tiny_ring_push(&r, '!'), -EAGAIN);
        HY_CHECK_EQ(tiny_ring_pop(&r, &c), 0);
        HY_CHECK_EQ(c, i);
    }
    HY_CHECK_EQ(tiny_ring_pop(&r, &c), -EAGAIN);
}

HY_TEST(ring_inline, pointers_are_items_like_others)
{
    static text_ring texts;
    static pointer_ring pointers;
    const char *in[2] = {"one", "two"}, *text = NULL;
    void *p[2] = {p, NULL};
    size_t n;

    text_ring_init(&texts);
    HY_CHECK_EQ(text_ring_push_n(&texts, in, 2), 2);
    HY_CHECK_STR(*text_ring_peek(&texts, &n), "one");
    HY_CHECK_EQ(text_ring_pop(&texts, &text), 0);
    HY_CHECK_STR(text, "one");
    pointer_ring_init(&pointers);
    HY_CHECK_EQ(pointer_ring_push_n(&pointers, p, 2), 2);
    HY_CHECK(*pointer_ring_peek(&pointers, &n) == p && n == 2);
}

static word_ring words;

/* Until all are in, or two seconds are over (valgrind, emulators). */
static void *push_words(void *arg)
{
    uint64_t *count = arg, next = 0;
    time_t start = time(NULL);
    size_t got;

    while (next < *count && time(NULL) - start < 2) {
        uint64_t *span = word_ring_reserve(&words, 5, &got);

        for (size_t i = 0; i < got; i++)
            span[i] = ~next++;
        word_ring_commit(&words, got);
        if (word_ring_push(&words, ~next) == 0)
            next++;
        if (word_ring_count(&words) == 256)
            sched_yield();
    }
    *count = next;
    word_ring_close(&words);
    return NULL;
}

HY_TEST(ring_inline, two_threads_keep_order_and_payload)
{
    uint64_t count = 1000000, next = 0, v = 0, many[9];
    pthread_t t;
    size_t n;
    int r;

    word_ring_init(&words);
    HY_CHECK_EQ(pthread_create(&t, NULL, push_words, &count), 0);
    while ((r = word_ring_pop(&words, &v)) != -EPIPE) {
        if (r == 0)
            HY_CHECK_EQ(v, ~next++);
        else
            sched_yield();
        n = word_ring_pop_n(&words, many, 9);
        for (size_t i = 0; i < n; i++)
            HY_CHECK_EQ(many[i], ~next++);
    }
    pthread_join(t, NULL);
    HY_CHECK_EQ(next, count);
}
