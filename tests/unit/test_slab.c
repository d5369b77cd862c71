/*
 * test_slab.c - object caches in one thread: a random run against a shadow,
 * what is refused, limits, backings, memory that fails.
 */
#include <errno.h>
#include <hyperion/slab.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"
#include "hy_test.h"
#include "poison.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static hy_slab_stats stats_of(hy_slab *slab)
{
    hy_slab_stats s = HY_SLAB_STATS_INIT;

    HY_CHECK_EQ(hy_slab_stats_get(slab, &s), 0);
    return s;
}

/* --- the model ------------------------------------------------------------ */

enum { OBJECTS = 20000 };

static unsigned char *objects[OBJECTS];

static unsigned char fill_of(const void *p)
{
    return (unsigned char)((uintptr_t)p >> 3);
}

static void check_object(const unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        HY_CHECK(p[i] == fill_of(p));
}

static int count_object(void *ctx, void *object)
{
    (void)object;
    ++*(uint64_t *)ctx;
    return 0;
}

/* Objects overlap nowhere: each keeps the bytes that it was filled with. */
static void run_model(size_t bytes, const hy_slab_options *options, int slots,
                      int steps)
{
    size_t align = options != NULL && options->align ? options->align : 64;
    uint64_t live = 0, seen = 0;
    hy_slab *slab;

    HY_CHECK_EQ(hy_slab_create(&slab, bytes, options), 0);
    memset(objects, 0, sizeof(objects));
    for (int i = 0; i < steps; i++) {
        bool filling = i / (slots * 2) % 2 == 0;
        unsigned char **p = &objects[random_below((uint64_t)slots)];

        if (*p == NULL && (filling || random_below(4) == 0)) {
            *p = hy_slab_alloc(slab);
            HY_CHECK(*p != NULL && (uintptr_t)*p % align == 0);
            memset(*p, fill_of(*p), bytes);
            live++;
        } else if (*p != NULL && (!filling || random_below(2) == 0)) {
            check_object(*p, bytes);
            HY_CHECK_EQ(hy_slab_free(slab, *p), 0);
            HY_CHECK_EQ(hy_slab_free(slab, *p), -EINVAL);
            *p = NULL;
            live--;
        }
    }
    HY_CHECK_EQ(stats_of(slab).live_objects, live);
    HY_CHECK_EQ(hy_slab_walk(slab, count_object, &seen), 0);
    HY_CHECK_EQ(seen, live);
    for (int i = 0; i < slots; i++) {
        if (objects[i] == NULL)
            continue;
        check_object(objects[i], bytes);
        HY_CHECK_EQ(hy_slab_free(slab, objects[i]), 0);
    }
    HY_CHECK_EQ(stats_of(slab).live_objects, 0);
    HY_CHECK_EQ(hy_slab_trim(slab, NULL), 0);
    HY_CHECK_EQ(stats_of(slab).chunks, 0);
    HY_CHECK_EQ(hy_slab_destroy(slab), 0);
}

HY_TEST(slab, random_run_against_a_shadow)
{
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;

    run_model(64, NULL, 20000, 200000);
    run_model(1, NULL, 3000, 20000);
    run_model(200, NULL, 3000, 20000);
    run_model(5000, NULL, 300, 3000);
    run_model(300000, NULL, 20, 300);
    o.align = 1;
    run_model(3, &o, 20000, 100000);
    run_model(24, &o, 20000, 100000);
    o.align = 4096;
    run_model(100, &o, 300, 3000);
    o.align = 0;
    o.limit_bytes = 1 << 20;
    run_model(64, &o, 10000, 100000);
}

/* Memory goes up with the live objects and no further. */
HY_TEST(slab, overhead_is_half_a_percent)
{
    hy_slab *slab;
    hy_slab_stats s;

    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
    for (int i = 0; i < 1000000; i++)
        HY_CHECK(hy_slab_alloc(slab) != NULL);
    s = stats_of(slab);
    HY_CHECK_EQ(s.live_objects, 1000000);
    HY_CHECK(s.held_bytes < 64000000 + 64000000 / 100);
    HY_CHECK(s.metadata_bytes * 1000 < s.held_bytes * 6);
    hy_slab_destroy(slab);
}

/* --- what is refused ------------------------------------------------------ */

HY_TEST(slab, refuses_bad_options)
{
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    hy_backing backing = HY_BACKING_INIT;
    hy_slab_stats s = {.size = 2};
    hy_slab *slab = NULL;

    HY_CHECK_EQ(hy_slab_create(NULL, 64, NULL), -EINVAL);
    HY_CHECK_EQ(hy_slab_create(&slab, 0, NULL), -EINVAL);
    HY_CHECK_EQ(hy_slab_create(&slab, HY_SLAB_OBJECT_BYTES_MAX + 1, NULL),
                -E2BIG);
    HY_CHECK_EQ(hy_slab_create(&slab, SIZE_MAX, NULL), -E2BIG);
    o.align = 3;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -EINVAL);
    o.align = HY_SLAB_OBJECT_BYTES_MAX * 2;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -E2BIG);
    o.align = 0;
    o.flags = 1;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -EINVAL);
    o.flags = 0;
    o.limit_bytes = 1000;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -EINVAL);
    o.limit_bytes = 1 << 20;
    HY_CHECK_EQ(hy_slab_create(&slab, 2 << 20, &o), -EINVAL);
    o.limit_bytes = 0;
    o.backing = &backing;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -EINVAL);
    o.size = 1;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), -EINVAL);
    HY_CHECK_EQ(
        hy_slab_create_version(&slab, 64, NULL, HY_SLAB_INLINE_VERSION + 1),
        -EPROTO);
    HY_CHECK(slab == NULL);

    HY_CHECK(hy_slab_alloc(slab) == NULL);
    HY_CHECK(hy_slab_alloc_slow(NULL) == NULL);
    HY_CHECK_EQ(hy_slab_free(slab, &o), -EINVAL);
    HY_CHECK_EQ(hy_slab_reset(NULL), -EINVAL);
    HY_CHECK_EQ(hy_slab_trim(NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_slab_walk(NULL, count_object, NULL), -EINVAL);
    HY_CHECK_EQ(hy_slab_stats_get(NULL, &s), -EINVAL);
    HY_CHECK_EQ(hy_slab_destroy(NULL), 0);
    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
    HY_CHECK_EQ(hy_slab_stats_get(slab, &s), -EINVAL);
    HY_CHECK_EQ(hy_slab_walk(slab, NULL, NULL), -EINVAL);
    hy_slab_destroy(slab);
}

/* None of these addresses may be read: most are not mapped. */
HY_TEST(slab, refuses_foreign_pointers)
{
    char *nowhere =
        mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p, *q;
    int on_stack = 0;
    hy_slab *slab, *other;
    hy_slab_stats s;

    HY_CHECK_EQ(hy_slab_create(&slab, 100, NULL), 0);
    HY_CHECK_EQ(hy_slab_create(&other, 100, NULL), 0);
    /* Before it has any memory, and after. */
    for (int round = 0; round < 2; round++) {
        HY_CHECK_EQ(hy_slab_free(slab, NULL), 0);
        HY_CHECK_EQ(hy_slab_free(slab, nowhere), -EINVAL);
        HY_CHECK_EQ(hy_slab_free(slab, nowhere + 64), -EINVAL);
        HY_CHECK_EQ(hy_slab_free(slab, &on_stack), -EINVAL);
        HY_CHECK_EQ(hy_slab_free(slab, (void *)8), -EINVAL);
        HY_CHECK_EQ(hy_slab_free(slab, (void *)UINTPTR_MAX), -EINVAL);
        HY_CHECK_EQ(hy_slab_free(slab, (void *)(UINTPTR_MAX << 18)), -EINVAL);
        HY_CHECK(hy_slab_alloc(slab) != NULL);
    }
    p = hy_slab_alloc(slab);
    q = hy_slab_alloc(other);
    s = stats_of(slab);
    HY_CHECK_EQ(hy_slab_free(slab, q), -EINVAL);
    HY_CHECK_EQ(hy_slab_free(other, p), -EINVAL);
    for (int i = 1; i < 128; i++)
        HY_CHECK_EQ(hy_slab_free(slab, p + i), -EINVAL);
    /* Every place of the chunk and around it that is no live object. */
    p = (char *)((uintptr_t)p & ~(uintptr_t)(s.chunk_bytes - 1));
    mprotect(p + 4096, s.chunk_bytes - 4096, PROT_NONE);
    for (size_t at = 4096; at < s.chunk_bytes * 2; at += 8)
        HY_CHECK_EQ(hy_slab_free(slab, p + at), -EINVAL);
    HY_CHECK(stats_of(slab).refused_frees > 100);
    HY_CHECK_EQ(stats_of(slab).live_objects, 3);
    HY_CHECK_EQ(hy_slab_free(other, q), 0);
    HY_CHECK_EQ(hy_slab_free(other, q), -EINVAL);
    hy_slab_destroy(slab);
    hy_slab_destroy(other);
    munmap(nowhere, 1 << 20);
}

struct reports {
    int count;
    char last[128];
};

static void write_report(void *ctx, int level, const char *message)
{
    struct reports *r = ctx;

    HY_CHECK_EQ(level, HY_REPORT_ERROR);
    r->count++;
    snprintf(r->last, sizeof(r->last), "%s", message);
}

/* A free object is refused wherever it is kept: as the front, in the current
 * chunk, in one with room, in an empty one, in one that was given back. */
HY_TEST(slab, refuses_to_free_twice)
{
    struct reports reports = {0};
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    enum { MANY = 12000 };
    static void *p[MANY];
    hy_slab *slab;

    o.name = "twice";
    o.report.write = write_report;
    o.report.ctx = &reports;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    for (int i = 0; i < MANY; i++)
        p[i] = hy_slab_alloc(slab);
    for (int i = 0; i < MANY; i += 7) {
        HY_CHECK_EQ(hy_slab_free(slab, p[i]), 0);
        HY_CHECK_EQ(hy_slab_free(slab, p[i]), -EINVAL);
    }
    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(hy_slab_free(slab, p[i]), i % 7 == 0 ? -EINVAL : 0);
    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(hy_slab_free(slab, p[i]), -EINVAL);
    HY_CHECK_EQ(hy_slab_trim(slab, NULL), 0);
    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(hy_slab_free(slab, p[i]), -EINVAL);
    HY_CHECK(reports.count > MANY * 2);
    HY_CHECK(strstr(reports.last, "twice") != NULL);
    HY_CHECK_EQ(stats_of(slab).live_objects, 0);
    hy_slab_destroy(slab);
}

/* --- limits and backings -------------------------------------------------- */

static size_t count_until_null(hy_slab *slab)
{
    size_t count = 0;

    while (count < OBJECTS && (objects[count] = hy_slab_alloc(slab)) != NULL)
        count++;
    return count;
}

HY_TEST(slab, keeps_its_limit)
{
    static const size_t limits[] = {16384, 65536, 100000, 1 << 20};
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    hy_slab *slab;

    for (int i = 0; i < 4; i++) {
        size_t count;

        o.limit_bytes = limits[i];
        HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
        count = count_until_null(slab);
        HY_CHECK(count * 64 <= limits[i]);
        HY_CHECK(count * 64 > limits[i] / 100 * 70);
        HY_CHECK(stats_of(slab).held_bytes <= limits[i]);
        HY_CHECK_EQ(stats_of(slab).failed_allocs, 1);
        for (size_t k = 0; k < count; k += 2)
            HY_CHECK_EQ(hy_slab_free(slab, objects[k]), 0);
        for (size_t k = 0; k < count; k += 2)
            HY_CHECK(hy_slab_alloc(slab) != NULL);
        HY_CHECK(hy_slab_alloc(slab) == NULL);
        HY_CHECK_EQ(hy_slab_reset(slab), 0);
        HY_CHECK_EQ(count_until_null(slab), count);
        hy_slab_destroy(slab);
    }
}

struct lender {
    uint64_t lent_bytes, calls, most_bytes;
    int refuse_from; /* the call that gets nothing; 0: none */
    size_t shift;
};

static void *lend(void *ctx, size_t bytes, size_t align)
{
    struct lender *l = ctx;
    char *p;

    l->calls++;
    if (l->refuse_from != 0 && l->calls >= (uint64_t)l->refuse_from)
        return NULL;
    HY_CHECK(align >= 64 && (align & (align - 1)) == 0);
    p = aligned_alloc(align, (bytes + align) / align * align + align);
    memset(p, 0xee, bytes);
    l->lent_bytes += bytes;
    if (l->lent_bytes > l->most_bytes)
        l->most_bytes = l->lent_bytes;
    return p + l->shift;
}

static void take_back(void *ctx, void *p, size_t bytes)
{
    struct lender *l = ctx;

    l->lent_bytes -= bytes;
    free((char *)p - l->shift);
}

HY_TEST(slab, takes_memory_from_a_backing)
{
    struct lender lender = {0};
    hy_backing backing = {sizeof(backing), lend, take_back, &lender};
    hy_slab_options o = HY_SLAB_OPTIONS_INIT;
    uint64_t trimmed = 0;
    hy_slab *slab;
    size_t count;

    o.backing = &backing;
    run_model(64, &o, 10000, 50000);
    HY_CHECK_EQ(lender.lent_bytes, 0);
    run_model(3000, &o, 200, 5000);
    HY_CHECK_EQ(lender.lent_bytes, 0);

    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    HY_CHECK_EQ(lender.lent_bytes, 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 5000; i++)
            HY_CHECK((objects[i] = hy_slab_alloc(slab)) != NULL);
        HY_CHECK_EQ(stats_of(slab).held_bytes, lender.lent_bytes);
        for (int i = 0; i < 5000; i++)
            HY_CHECK_EQ(hy_slab_free(slab, objects[i]), 0);
        HY_CHECK_EQ(hy_slab_trim(slab, &trimmed), 0);
        HY_CHECK(trimmed >= 5000 * 64);
        HY_CHECK_EQ(stats_of(slab).held_bytes, lender.lent_bytes);
        HY_CHECK_EQ(hy_slab_free(slab, objects[17]), -EINVAL);
    }
    lender.refuse_from = (int)lender.calls + 3;
    count = count_until_null(slab);
    HY_CHECK(count == 2048);
    lender.refuse_from = 0;
    HY_CHECK(hy_slab_alloc(slab) != NULL);
    hy_slab_destroy(slab);
    HY_CHECK_EQ(lender.lent_bytes, 0);

    lender.shift = 8;
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    HY_CHECK(hy_slab_alloc(slab) == NULL);
    HY_CHECK_EQ(lender.lent_bytes, 0);
    lender.shift = 0;
    o.limit_bytes = 200000;
    lender.most_bytes = 0;
    hy_slab_destroy(slab);
    HY_CHECK_EQ(hy_slab_create(&slab, 64, &o), 0);
    count_until_null(slab);
    HY_CHECK(lender.most_bytes > 150000 && lender.most_bytes <= 200000);
    hy_slab_destroy(slab);
}

HY_TEST(slab, survives_failing_calls)
{
    hy_slab *slab = NULL;
    unsigned hits = 0;

    errno = 17;
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), -ENOMEM);
    hy_fail_none();
    HY_CHECK_EQ(errno, 17);
    HY_CHECK(slab == NULL);
    /* Each of the calls of a first alloc, in a thread that has no record, and
     * of the frees and allocs that follow. */
    for (enum hy_fail_call call = 0; call < HY_FAIL_COUNT; call++) {
        for (unsigned nth = 1; nth <= 6; nth++) {
            void *p;

            HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
            hy_fail_at(call, nth, ENOMEM);
            for (int i = 0; i < 3; i++)
                if ((p = hy_slab_alloc(slab)) != NULL)
                    HY_CHECK_EQ(hy_slab_free(slab, p), 0);
            hits += hy_fail_hits();
            hy_fail_none();
            HY_CHECK_EQ(errno, 17);
            HY_CHECK((p = hy_slab_alloc(slab)) != NULL);
            HY_CHECK_EQ(hy_slab_free(slab, p), 0);
            HY_CHECK_EQ(stats_of(slab).live_objects, 0);
            hy_slab_destroy(slab);
        }
    }
    HY_CHECK(hits >= 4);
}

HY_TEST(slab, trim_that_fails_loses_nothing)
{
    uint64_t trimmed = 1;
    hy_slab *slab;
    void *p;

    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
    HY_CHECK((p = hy_slab_alloc(slab)) != NULL);
    HY_CHECK_EQ(hy_slab_free(slab, p), 0);
    hy_fail_at(HY_FAIL_MADVISE, 1, EAGAIN);
    HY_CHECK_EQ(hy_slab_trim(slab, &trimmed), -EAGAIN);
    hy_fail_none();
    HY_CHECK_EQ(trimmed, 0);
    HY_CHECK_EQ(stats_of(slab).chunks, 1);
    HY_CHECK(hy_slab_alloc(slab) == p);
    hy_slab_destroy(slab);
}

/* A segment that is refused is asked for again, smaller. */
HY_TEST(slab, asks_for_less_when_addresses_are_short)
{
    hy_slab *slab;

    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
    hy_fail_at(HY_FAIL_MMAP, 2, ENOMEM); /* 1: the metadata */
    HY_CHECK(hy_slab_alloc(slab) != NULL);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    hy_slab_destroy(slab);
}

/* --- as a whole ----------------------------------------------------------- */

static int stop_at_third(void *ctx, void *object)
{
    (void)object;
    return ++*(int *)ctx == 3 ? -77 : 0;
}

HY_TEST(slab, reset_frees_all)
{
    hy_slab *slab;
    uint64_t held;
    int visits = 0;

    HY_CHECK_EQ(hy_slab_create(&slab, 48, NULL), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < OBJECTS; i++)
            HY_CHECK((objects[i] = hy_slab_alloc(slab)) != NULL);
        HY_CHECK_EQ(hy_slab_free(slab, objects[5]), 0);
        HY_CHECK_EQ(stats_of(slab).live_objects, OBJECTS - 1);
        HY_CHECK_EQ(hy_slab_walk(slab, stop_at_third, &visits), -77);
        HY_CHECK_EQ(visits, 3);
        visits = 0;
        held = stats_of(slab).held_bytes;
        HY_CHECK_EQ(hy_slab_reset(slab), 0);
        HY_CHECK_EQ(stats_of(slab).live_objects, 0);
        HY_CHECK_EQ(stats_of(slab).held_bytes, held);
        HY_CHECK_EQ(hy_slab_free(slab, objects[9]), -EINVAL);
    }
    HY_CHECK_EQ(stats_of(slab).peak_held_bytes, held);
    hy_slab_destroy(slab);
}

/* More slabs than slots, in turn, and a new one at the address of an old. */
HY_TEST(slab, many_slabs_in_turn)
{
    enum { SLABS = 30 };
    hy_slab *slabs[SLABS];
    unsigned char *p[SLABS];

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < SLABS; i++)
            HY_CHECK_EQ(hy_slab_create(&slabs[i], 64 + (size_t)i * 64, NULL),
                        0);
        for (int i = 0; i < SLABS * 4; i++) {
            int k = i % SLABS;

            p[k] = hy_slab_alloc(slabs[k]);
            HY_CHECK(p[k] != NULL);
            memset(p[k], k, 64 + (size_t)k * 64);
            HY_CHECK_EQ(hy_slab_free(slabs[k], p[k]), 0);
            HY_CHECK_EQ(hy_slab_free(slabs[(k + 1) % SLABS], p[k]), -EINVAL);
        }
        for (int i = 0; i < SLABS; i++)
            hy_slab_destroy(slabs[i]);
    }
}

HY_TEST(slab, functions_exist_as_symbols)
{
    void *(*alloc)(hy_slab *) = hy_slab_alloc;
    int (*release)(hy_slab *, void *) = hy_slab_free;
    int (*create)(hy_slab **, size_t, const hy_slab_options *) = hy_slab_create;
    hy_slab *slab;
    void *p;

    HY_CHECK_EQ(create(&slab, 64, NULL), 0);
    HY_CHECK((p = alloc(slab)) != NULL);
    HY_CHECK_EQ(release(slab, p), 0);
    HY_CHECK_EQ(release(slab, p), -EINVAL);
    hy_slab_destroy(slab);
}

/* With AddressSanitizer: a free object, by whichever way it was freed. */
HY_TEST(slab, poisons_free_objects)
{
#if HYI_POISONS
    hy_slab *slab;
    char *p, *q;

    HY_CHECK_EQ(hy_slab_create(&slab, 64, NULL), 0);
    p = hy_slab_alloc(slab);
    q = hy_slab_alloc(slab);
    HY_CHECK(!__asan_address_is_poisoned(p));
    HY_CHECK(!__asan_address_is_poisoned(q + 63));
    HY_CHECK(__asan_address_is_poisoned(q + 64));
    HY_CHECK_EQ(hy_slab_free(slab, p), 0);
    HY_CHECK_EQ(hy_slab_free(slab, q), 0);
    HY_CHECK(__asan_address_is_poisoned(p) && __asan_address_is_poisoned(q));
    HY_CHECK(hy_slab_alloc(slab) == p);
    HY_CHECK(!__asan_address_is_poisoned(p + 63));
    hy_slab_reset(slab);
    HY_CHECK(__asan_address_is_poisoned(p));
    hy_slab_destroy(slab);
#endif
}
