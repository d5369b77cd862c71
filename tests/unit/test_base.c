/*
 * test_base.c - options, time, bits, and waiting between plain threads.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include <hyperion/base.h>

#include "bits.h"
#include "fail.h"
#include "hy_test.h"
#include "id_map.h"
#include "options.h"
#include "order.h"
#include "os.h"
#include "park.h"
#include "process.h"
#include "ticks.h"
#include "trace.h"

struct small {
    size_t size;
    int a;
    int b;
};

struct large {
    size_t size;
    int a;
    int b;
    int c;
    int d;
};

HY_TEST(base, options_null_means_defaults)
{
    struct small o = {0, 7, 7};

    HY_CHECK_EQ(hyi_options_read(&o, sizeof(o), NULL), 0);
    HY_CHECK_EQ(o.size, sizeof(o));
    HY_CHECK_EQ(o.a, 0);
    HY_CHECK_EQ(o.b, 0);
}

HY_TEST(base, options_from_an_older_header_are_padded)
{
    struct small in = {sizeof(in), 1, 2};
    struct large o;

    HY_CHECK_EQ(hyi_options_read(&o, sizeof(o), &in), 0);
    HY_CHECK_EQ(o.a, 1);
    HY_CHECK_EQ(o.b, 2);
    HY_CHECK_EQ(o.c, 0);
}

HY_TEST(base, options_from_a_newer_header_need_a_zero_tail)
{
    struct large in = {sizeof(in), 1, 2, 0, 0};
    struct small o;

    HY_CHECK_EQ(hyi_options_read(&o, sizeof(o), &in), 0);
    in.d = 1;
    HY_CHECK_EQ(hyi_options_read(&o, sizeof(o), &in), -E2BIG);
    in.size = 0;
    HY_CHECK_EQ(hyi_options_read(&o, sizeof(o), &in), -EINVAL);
}

HY_TEST(base, struct_fill_writes_no_further_than_asked)
{
    struct large in = {sizeof(in), 1, 2, 3, 4};
    struct large out = {sizeof(struct small), 9, 9, 9, 9};

    HY_CHECK_EQ(hyi_struct_fill(&out, &in, sizeof(in)), 0);
    HY_CHECK_EQ(out.size, sizeof(struct small));
    HY_CHECK_EQ(out.b, 2);
    HY_CHECK_EQ(out.c, 9);
}

HY_TEST(base, powers_of_two)
{
    HY_CHECK_EQ(hyi_power_of_two_ceil(0), 1);
    HY_CHECK_EQ(hyi_power_of_two_ceil(3), 4);
    HY_CHECK_EQ(hyi_power_of_two_ceil(4), 4);
    HY_CHECK(hyi_power_of_two_ceil((uint64_t)1 << 63) == (uint64_t)1 << 63);
    HY_CHECK_EQ(hyi_power_of_two_ceil(UINT64_MAX), 0);
    HY_CHECK(hyi_range_fits(1, UINT64_MAX - 1, UINT64_MAX));
    HY_CHECK(!hyi_range_fits(2, UINT64_MAX - 1, UINT64_MAX));
}

HY_TEST(base, time_rises_and_after_saturates)
{
    uint64_t a = hy_now(), b = hy_now();

    HY_CHECK(b >= a && a > 0);
    HY_CHECK(hy_after(UINT64_MAX) == HY_FOREVER - 1);
    HY_CHECK(hy_after(1000000) > a);
}

HY_TEST(base, park_times_out_and_keeps_errno)
{
    struct hyi_waiter w;

    hyi_waiter_init(&w, HYI_WAIT_EVENT);
    errno = 77;
    HY_CHECK_EQ(hyi_park(&w, hy_after(1000000)), -ETIMEDOUT);
    HY_CHECK_EQ(hyi_park(&w, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(errno, 77);
}

static void *wake_soon(void *arg)
{
    static _Atomic uint32_t nobody;

    hyi_os_futex_wait(&nobody, 0, hy_after(2000000), false);
    hyi_wake(arg);
    return NULL;
}

HY_TEST(base, a_parked_thread_is_woken)
{
    struct hyi_waiter w;
    pthread_t t;

    hyi_waiter_init(&w, HYI_WAIT_EVENT);
    HY_CHECK_EQ(hyi_os_thread_start(&t, wake_soon, &w), 0);
    HY_CHECK_EQ(hyi_park(&w, HY_FOREVER), 0);
    pthread_join(t, NULL);
}

HY_TEST(base, a_late_wake_is_waited_for)
{
    struct hyi_waiter w;
    pthread_t t;

    hyi_waiter_init(&w, HYI_WAIT_EVENT);
    HY_CHECK_EQ(hyi_park(&w, HY_NOW), -ETIMEDOUT);
    HY_CHECK_EQ(hyi_os_thread_start(&t, wake_soon, &w), 0);
    hyi_park_claimed(&w);
    HY_CHECK_EQ(w.state, HYI_WAITER_WOKEN);
    pthread_join(t, NULL);
}

HY_TEST(base, a_wake_before_the_park_is_kept)
{
    struct hyi_waiter w;

    hyi_waiter_init(&w, HYI_WAIT_EVENT);
    hyi_wake(&w);
    HY_CHECK_EQ(hyi_park(&w, HY_FOREVER), 0);
}

HY_TEST(base, refused_memory_is_an_error)
{
    void *p = NULL;
    int fd;

    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(hyi_os_reserve(&p, 4096, HYI_OS_NONE, NULL, false), -ENOMEM);
    hy_fail_at(HY_FAIL_FTRUNCATE, 1, ENOSPC);
    HY_CHECK_EQ(hyi_os_memory_file(&fd, "test", 4096), -ENOSPC);
    HY_CHECK_EQ(hy_fail_hits(), 2);
    hy_fail_none();
    HY_CHECK_EQ(hyi_os_reserve(&p, 4096, HYI_OS_NONE, NULL, false), 0);
    HY_CHECK_EQ(hyi_os_release(p, 4096), 0);
}

HY_TEST(base, id_map_keeps_what_a_plain_array_keeps)
{
    enum { IDS = 700, PLACES = 1024, STEPS = 200000 };
    static struct hyi_id_entry entries[PLACES], wider[PLACES * 2];
    static uint64_t shadow[IDS];
    struct hyi_id_map map = {entries, PLACES, 0};
    struct hyi_id_map copy = {wider, PLACES * 2, 0};
    uint64_t seed = 1, count = 0;

    HY_CHECK_EQ(hyi_id_map_find(&(struct hyi_id_map){NULL, 0, 0}, 3), 0);
    for (uint64_t step = 1; step <= STEPS; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t id = (seed >> 33) % IDS;

        if (seed >> 63) {
            HY_CHECK_EQ(hyi_id_map_put(&map, id, step), shadow[id]);
            count += shadow[id] == 0;
            shadow[id] = step;
        } else {
            HY_CHECK_EQ(hyi_id_map_remove(&map, id), shadow[id]);
            count -= shadow[id] != 0;
            shadow[id] = 0;
        }
        HY_CHECK_EQ(map.count, count);
    }
    hyi_id_map_copy(&copy, &map);
    for (uint64_t id = 0; id < IDS; id++) {
        HY_CHECK_EQ(hyi_id_map_find(&map, id), shadow[id]);
        HY_CHECK_EQ(hyi_id_map_find(&copy, id), shadow[id]);
    }
}

static void remember(void *ctx, const char *hop, uint64_t what)
{
    if (strcmp(hop, "test") == 0)
        *(uint64_t *)ctx += what;
}

HY_TEST(base, a_tracepoint_is_heard_until_it_is_silenced)
{
    uint64_t sum = 0;

    HYI_TRACE("test", 1);
    hy_trace_set(remember, &sum);
    HYI_TRACE("test", 20);
    HYI_TRACE("other", 300);
    hy_trace_set(NULL, NULL);
    HYI_TRACE("test", 4000);
    HY_CHECK_EQ(sum, 20);
}

/* --- limits --------------------------------------------------------------- */

HY_TEST(base, a_file_size_limit_is_an_error_of_memory_files_too)
{
    struct rlimit before, small;
    sigset_t pending;
    int fd = -1, r;

    HY_CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    HY_CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    r = hyi_os_memory_file(&fd, "limited", 1 << 20);
    HY_CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    HY_CHECK_EQ(r, -EFBIG);
    HY_CHECK_EQ(fd, -1);
    sigpending(&pending);
    HY_CHECK_EQ(sigismember(&pending, SIGXFSZ), 0);
}

/* --- fork ----------------------------------------------------------------- */

struct holder {
    enum hyi_process_lock lock;
    _Atomic int holds, may_end;
};

static void *hold_for_a_while(void *arg)
{
    static const _Atomic uint32_t never = 0;
    struct holder *h = arg;

    hyi_process_lock(h->lock);
    atomic_store(&h->holds, 1);
    hyi_os_futex_wait(&never, 0, hy_after(20000000), false);
    hyi_process_unlock(h->lock);
    while (atomic_load(&h->may_end) == 0)
        hyi_os_thread_yield();
    return NULL;
}

static void take_all_locks(void *arg)
{
    const uint32_t *forks = arg;

    alarm(20); /* one that nobody gives back would be for ever */
    for (int i = 0; i < HYI_LOCK_COUNT; i++)
        hyi_process_lock((enum hyi_process_lock)i);
    if (hyi_process_forks() != *forks + 1)
        _exit(1);
}

HY_TEST(base, a_child_finds_every_lock_free)
{
    for (int i = 0; i < HYI_LOCK_COUNT; i++) {
        struct holder h = {(enum hyi_process_lock)i, 0, 0};
        uint32_t forks = hyi_process_forks();
        pthread_t t;

        HY_CHECK_EQ(hyi_os_thread_start(&t, hold_for_a_while, &h), 0);
        while (atomic_load(&h.holds) == 0)
            hyi_os_thread_yield();
        HY_CHECK_EQ(hy_test_child(take_all_locks, &forks), 0);
        atomic_store(&h.may_end, 1);
        pthread_join(t, NULL);
        HY_CHECK_EQ(hyi_process_forks(), forks);
        hyi_process_lock((enum hyi_process_lock)i);
        hyi_process_unlock((enum hyi_process_lock)i);
    }
}

/* --- a store, then a look ------------------------------------------------- */

enum { MEETINGS = 100000 };
#define MEETINGS_NS UINT64_C(1500000000)

static struct {
    HYI_ALIGNED _Atomic uint32_t there; /* who has come to which round */
    HYI_ALIGNED _Atomic uint32_t gone;
    HYI_ALIGNED _Atomic uint32_t word[2][HYI_LINE_BYTES / 4];
    uint32_t seen[2];
    uint32_t last; /* round */
} race;

static void meet(_Atomic uint32_t *count, uint32_t both)
{
    uint32_t spins = 0;

    atomic_fetch_add(count, 1);
    while (atomic_load(count) < both)
        if (++spins % 4096 == 0)
            hyi_os_thread_yield(); /* one processor */
}

static void race_round(int side, uint32_t round)
{
    meet(&race.there, 2 * round);
    hyi_store_then_look(&race.word[side][0], round);
    race.seen[side] = atomic_load(&race.word[!side][0]);
    meet(&race.gone, 2 * round);
}

static void *race_back(void *arg)
{
    for (uint32_t round = 1; round <= race.last; round++)
        race_round(1, round);
    return arg;
}

HY_TEST(base, of_two_that_store_and_look_one_sees_the_other)
{
    uint64_t start = hyi_os_now();
    uint32_t round = 0, missed = 0;
    pthread_t t;

    while (round < MEETINGS && hyi_os_now() - start < MEETINGS_NS) {
        memset(&race, 0, sizeof(race));
        race.last = MEETINGS / 20;
        HY_CHECK_EQ(hyi_os_thread_start(&t, race_back, NULL), 0);
        for (uint32_t i = 1; i <= race.last; i++, round++) {
            race_round(0, i);
            missed += race.seen[0] != i && race.seen[1] != i;
        }
        pthread_join(t, NULL);
    }
    HY_CHECK_EQ(missed, 0);
}

/* --- ticks ------------------------------------------------------------------
 */

HY_TEST(base, ticks_are_nanoseconds)
{
    struct hyi_ticks t = hyi_ticks_find(), again = hyi_ticks_find();
    uint64_t clock = hyi_os_now(), ticks = hyi_ticks_now(&t), span, told;

    HY_CHECK(t.scale == again.scale && t.counter == again.counter);
    while (hyi_os_now() < clock + 50000000)
        ;
    /* The clock is read outside of the ticks at both ends: it tells more, by
       what may come between. */
    told = hyi_ticks_ns(&t, hyi_ticks_now(&t) - ticks);
    span = hyi_os_now() - clock;
    HY_CHECK_MSG(told <= span + span / 100, "%llu of %llu",
                 (unsigned long long)told, (unsigned long long)span);
    HY_CHECK(told >= 50000000 - 50000000 / 20);
}

HY_TEST(base, ticks_of_any_length_are_converted)
{
    const uint64_t one = (uint64_t)1 << 32;
    struct hyi_ticks clock = {one, false}, slow = {one * 40, true},
                     fast = {one / 4, true};

    HY_CHECK_EQ(hyi_ticks_ns(&clock, 0), 0);
    HY_CHECK_EQ(hyi_ticks_ns(&clock, 12345), 12345);
    HY_CHECK_EQ(hyi_ticks_ns(&clock, one - 1), one - 1);
    HY_CHECK_EQ(hyi_ticks_ns(&clock, one * 1000000 + 7), one * 1000000 + 7);
    HY_CHECK_EQ(hyi_ticks_ns(&slow, one * 1000 + 3), one * 40000 + 120);
    HY_CHECK_EQ(hyi_ticks_ns(&fast, one * 1000000), one * 250000);
    HY_CHECK_EQ(hyi_ticks_ns(&fast, one - 4), one / 4 - 1);
    /* Without a steady counter the system's clock is read. */
    HY_CHECK(hyi_ticks_now(&clock) <= hyi_os_now());
}
