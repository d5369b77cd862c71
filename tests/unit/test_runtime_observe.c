/*
 * test_runtime_observe.c - what a runtime measures of its fibers: histograms,
 * counts of waits, the record of events; and that looking on changes nothing.
 */
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <stdatomic.h>

#include <hyperion/chan.h>
#include <hyperion/fiber.h>
#include <hyperion/observe.h>
#include <hyperion/sync.h>

#include "core.h"
#include "fail.h"
#include "histogram.h"
#include "runtime_test.h"
#include "os.h"
#include "probes.h"
#include "process.h"
#include "trace.h"

enum { ALL = HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE };

static hy_histogram get(const hy_runtime *rt, hy_measure which)
{
    hy_histogram h = HY_HISTOGRAM_INIT;

    HY_CHECK_EQ(hy_runtime_histogram_get(rt, which, &h), 0);
    return h;
}

/* Does not yield. */
static void work_for(uint64_t ns)
{
    uint64_t end = hyi_os_now() + ns;

    while (hyi_os_now() < end)
        ;
}

/* --- the arithmetic of a histogram ----------------------------------------
 */

HY_TEST(runtime_observe, buckets_follow_each_other_without_a_gap)
{
    HY_CHECK_EQ(hy_histogram_floor(0), 0);
    for (size_t i = 0; i + 1 < HY_HISTOGRAM_BUCKETS; i++) {
        uint64_t floor = hy_histogram_floor(i);
        uint64_t next = hy_histogram_floor(i + 1);

        HY_CHECK(next > floor);
        HY_CHECK(next - floor <= (floor < 4 ? 1 : floor / 4));
        HY_CHECK_EQ(hyi_histogram_bucket(floor), i);
        HY_CHECK_EQ(hyi_histogram_bucket(next - 1), i);
    }
    HY_CHECK_EQ(hyi_histogram_bucket(((uint64_t)1 << 41) - 1),
                HY_HISTOGRAM_BUCKETS - 1);
    HY_CHECK_EQ(hyi_histogram_bucket((uint64_t)1 << 41),
                HY_HISTOGRAM_BUCKETS - 1);
    HY_CHECK_EQ(hyi_histogram_bucket(UINT64_MAX), HY_HISTOGRAM_BUCKETS - 1);
    HY_CHECK(hy_histogram_floor(HY_HISTOGRAM_BUCKETS) == UINT64_MAX);
}

static void put(hy_histogram *h, uint64_t value, uint64_t times)
{
    h->bucket[hyi_histogram_bucket(value)] += times;
    h->count += times;
    h->sum += value * times;
    if (value > h->max)
        h->max = value;
}

HY_TEST(runtime_observe, quantiles_are_never_too_small_and_a_quarter_too_large)
{
    hy_histogram h = HY_HISTOGRAM_INIT;

    HY_CHECK_EQ(hy_histogram_quantile(&h, 0.5), 0);
    HY_CHECK_EQ(hy_histogram_quantile(NULL, 0.5), 0);
    for (uint64_t v = 1; v <= 1000; v++)
        put(&h, v, 1);
    for (int part = 1; part <= 100; part++) {
        uint64_t exact = (uint64_t)part * 10;
        uint64_t told = hy_histogram_quantile(&h, part / 100.0);

        HY_CHECK_MSG(told >= exact && told <= exact + exact / 4,
                     "%llu for %llu", (unsigned long long)told,
                     (unsigned long long)exact);
    }
    HY_CHECK_EQ(hy_histogram_quantile(&h, 1), 1000);
    HY_CHECK_EQ(hy_histogram_quantile(&h, 0), 1);
    HY_CHECK_EQ(hy_histogram_quantile(&h, 2), 1000);
    put(&h, UINT64_MAX, 1);
    HY_CHECK(hy_histogram_quantile(&h, 1) == UINT64_MAX);
}

HY_TEST(runtime_observe, what_came_between_two_histograms)
{
    hy_histogram before = HY_HISTOGRAM_INIT, now;

    put(&before, 7, 10);
    put(&before, 5000, 1);
    now = before;
    put(&now, 7, 2);
    put(&now, 90, 3);
    hy_histogram_subtract(&now, &before);
    HY_CHECK_EQ(now.count, 5);
    HY_CHECK_EQ(now.sum, 2 * 7 + 3 * 90);
    HY_CHECK_EQ(now.bucket[hyi_histogram_bucket(7)], 2);
    HY_CHECK_EQ(now.bucket[hyi_histogram_bucket(5000)], 0);
    HY_CHECK(now.max >= 90 && now.max < 90 + 90 / 4);
    hy_histogram_subtract(&now, &now);
    HY_CHECK_EQ(now.count + now.sum + now.max, 0);
    hy_histogram_subtract(NULL, &before);
    hy_histogram_subtract(&before, NULL);
    HY_CHECK_EQ(before.count, 11);
}

/* --- times ----------------------------------------------------------------
 */

static void yield_some(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        hy_fiber_yield();
}

HY_TEST(runtime_observe, each_turn_and_each_delay_counts_once)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);
    int rounds = 10;
    hy_fiber_options other = HY_FIBER_OPTIONS_INIT;

    /* One whose stack no other can take over, so that it starts from the
       worker's own. */
    other.stack_bytes = 16384;
    spawn(rt, yield_some, &rounds);
    HY_CHECK_EQ(hy_fiber_spawn(rt, yield_some, &rounds, &other, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(get(rt, HY_MEASURE_RUN).count, 22);
    HY_CHECK_EQ(get(rt, HY_MEASURE_DELAY).count, 22);
    HY_CHECK_EQ(get(rt, HY_MEASURE_WAIT).count, 0);
    HY_CHECK_EQ(get(rt, HY_MEASURE_STACK).count, 2);
    rounds = 0;
    for (int i = 0; i < 5; i++) {
        spawn(rt, yield_some, &rounds);
        HY_CHECK_EQ(hy_fiber_spawn(rt, yield_some, &rounds, &other, NULL), 0);
    }
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(get(rt, HY_MEASURE_RUN).count, 32);
    HY_CHECK_EQ(get(rt, HY_MEASURE_DELAY).count, 32);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void spin(void *arg)
{
    work_for(*(uint64_t *)arg);
}

static void spawn_then_spin(void *arg)
{
    int none = 0;
    hy_fiber f = spawn(NULL, yield_some, &none);

    work_for(*(uint64_t *)arg);
    hy_fiber_join(f, HY_FOREVER);
}

HY_TEST(runtime_observe, a_delay_begins_with_the_spawn)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);
    uint64_t span = 4 * MS;

    spawn(rt, spawn_then_spin, &span);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK(get(rt, HY_MEASURE_DELAY).max >= span * 9 / 10);
    HY_CHECK(get(rt, HY_MEASURE_RUN).max >= span * 9 / 10);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static hy_event gate;

static uint64_t wait_began;
static _Atomic uint64_t gate_opened;

static void pass_gate(void *arg)
{
    (void)arg;
    wait_began = hyi_os_now();
    hy_event_wait(&gate, HY_FOREVER);
}

static void *open_gate(void *arg)
{
    hyi_os_thread_yield();
    work_for(2 * MS);
    hy_event_set(arg);
    atomic_store(&gate_opened, hyi_os_now());
    return NULL;
}

static void start_opener(void *arg)
{
    pthread_t thread;

    HY_CHECK_EQ(pthread_create(&thread, NULL, open_gate, &gate), 0);
    while (atomic_load(&gate_opened) == 0)
        ;
    work_for(*(uint64_t *)arg);
    pthread_join(thread, NULL);
}

/* The worker looks at its inbox long after the wake: that time is delay, and
   no wait. */
HY_TEST(runtime_observe, a_wait_ends_when_another_thread_wakes)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);
    uint64_t span = 50 * MS;
    hy_histogram wait, delay;

    memset(&gate, 0, sizeof(gate));
    atomic_store(&gate_opened, 0);
    spawn(rt, pass_gate, NULL);
    spawn(rt, start_opener, &span);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    wait = get(rt, HY_MEASURE_WAIT);
    delay = get(rt, HY_MEASURE_DELAY);
    HY_CHECK_EQ(wait.count, 1);
    HY_CHECK(wait.sum >= 2 * MS * 9 / 10);
    HY_CHECK(wait.sum <= (gate_opened - wait_began) * 51 / 50);
    HY_CHECK(delay.max >= span * 9 / 10);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

struct seen {
    uint64_t run_ns, wait_ns, delay_ns;
};

static int keep_times(const hy_fiber_info *info, void *arg)
{
    struct seen *s = arg;

    if (strcmp(info->name, "subject") != 0)
        return 0;
    *s = (struct seen){info->run_ns, info->wait_ns, info->delay_ns};
    return 1;
}

static void live(void *arg)
{
    struct seen *s = arg;

    work_for(3 * MS);
    hy_fiber_yield(); /* another spins meanwhile */
    /* A part of each sleep may be over before it has begun. */
    for (int i = 0; i < 100 && s->wait_ns < 14 * MS; i++) {
        hy_fiber_sleep(hy_after(20 * MS));
        hy_fiber_each(hyi_worker_self->rt, keep_times, s);
    }
}

HY_TEST(runtime_observe, a_fibers_times_add_up_to_its_life)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    struct seen s = {0, 0, 0};
    uint64_t span = 5 * MS, begin = hyi_os_now(), whole;

    o.name = "subject";
    HY_CHECK_EQ(hy_fiber_spawn(rt, live, &s, &o, NULL), 0);
    spawn(rt, spin, &span);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    whole = hyi_os_now() - begin;
    HY_CHECK(s.run_ns >= 3 * MS * 9 / 10);
    HY_CHECK(s.delay_ns >= 5 * MS * 9 / 10);
    HY_CHECK(s.wait_ns >= 14 * MS);
    HY_CHECK(s.run_ns + s.wait_ns + s.delay_ns <= whole + whole / 50);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static __attribute__((noinline)) void use_stack(size_t bytes)
{
    char frame[512];

    __asm__ volatile("" : : "r"(frame) : "memory"); /* all of it is in use */
    if (bytes > sizeof(frame))
        use_stack(bytes - sizeof(frame));
    else
        hy_fiber_yield();
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void go_deep(void *arg)
{
    use_stack(*(size_t *)arg);
}

HY_TEST(runtime_observe, stacks_are_known_when_fibers_have_ended)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_MEASURE);
    size_t deep = 20000;
    uint64_t none = 0;
    hy_histogram h;

    spawn(rt, go_deep, &deep);
    spawn(rt, spin, &none); /* never leaves its worker */
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    h = get(rt, HY_MEASURE_STACK);
    HY_CHECK_EQ(h.count, 2);
    HY_CHECK_EQ(h.bucket[0], 1);
    HY_CHECK(h.max >= deep);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- why they wait --------------------------------------------------------
 */

static unsigned reason_index(const char *name)
{
    for (unsigned i = 0; i < HY_PARK_REASONS; i++)
        if (strcmp(hy_park_reason(i), name) == 0)
            return i;
    HY_CHECK_MSG(false, "no reason %s", name);
    return 0;
}

static void sleep_thrice(void *arg)
{
    hy_fiber f = spawn(NULL, yield_some, arg);

    for (int i = 0; i < 3; i++)
        hy_fiber_sleep(hy_after(20 * MS));
    hy_event_wait(&gate, hy_after(20 * MS));
    hy_fiber_join(f, HY_FOREVER);
}

HY_TEST(runtime_observe, waits_are_counted_by_reason_in_every_runtime)
{
    hy_runtime *rt = make(.workers = 1);
    hy_runtime_stats s;
    int rounds = 10;
    uint64_t sum = 0;

    memset(&gate, 0, sizeof(gate));
    spawn(rt, sleep_thrice, &rounds);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    s = stats_of(rt);
    HY_CHECK_EQ(s.parked[reason_index("sleep")], 3);
    HY_CHECK_EQ(s.parked[reason_index("event")], 1);
    for (unsigned i = 0; i < HY_PARK_REASONS; i++)
        sum += s.parked[i];
    HY_CHECK_EQ(sum, s.parks);
    HY_CHECK_STR(hy_park_reason(0), "");
    HY_CHECK_STR(hy_park_reason(HY_PARK_REASONS), "");
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- looking on changes nothing -------------------------------------------
 */

static struct {
    uint64_t time[4000];
    int who[4000];
    unsigned count;
    hy_mutex mutex;
} course;

static void wander(void *arg)
{
    int who = *(int *)arg;

    for (int i = 0; i < 20; i++) {
        course.who[course.count] = who;
        course.time[course.count++] = hy_now();
        if (i % 3 == who % 3)
            hy_fiber_sleep(hy_after((uint64_t)who * 100));
        else if (i % 3 == 0)
            hy_fiber_yield();
        else if (hy_mutex_lock(&course.mutex, HY_FOREVER) == 0) {
            hy_fiber_yield();
            hy_mutex_unlock(&course.mutex);
        }
    }
}

static uint64_t simulate(unsigned flags, uint64_t seed)
{
    static int numbers[] = {1, 2, 3, 4, 5, 6, 7, 8};
    hy_runtime *rt = make(.workers = 1, .flags = flags, .seed = seed);
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    memset(&course, 0, sizeof(course));
    for (size_t i = 0; i < HYI_ARRAY_COUNT(numbers); i++)
        spawn(rt, wander, &numbers[i]);
    run_to_the_end(rt);
    for (unsigned i = 0; i < course.count; i++) {
        hash = (hash ^ (uint64_t)course.who[i]) * 1099511628211u;
        hash = (hash ^ course.time[i]) * 1099511628211u;
    }
    return hash;
}

HY_TEST(runtime_observe, a_simulated_run_is_the_same_when_it_is_observed)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t plain = simulate(0, seed);

        HY_CHECK(simulate(ALL, seed) == plain);
        HY_CHECK(simulate(HY_RUNTIME_MEASURE, seed) == plain);
    }
    HY_CHECK(simulate(0, 1) != simulate(0, 2));
}

static void sleep_exactly(void *arg)
{
    (void)arg;
    hy_fiber_sleep(hy_after(7777));
}

HY_TEST(runtime_observe, a_simulated_runtime_measures_virtual_time)
{
    hy_runtime *rt = make(.workers = 1, .flags = ALL, .seed = 5);
    hy_histogram wait;

    spawn(rt, sleep_exactly, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    wait = get(rt, HY_MEASURE_WAIT);
    HY_CHECK_EQ(wait.count, 1);
    HY_CHECK(wait.sum >= 7700 && wait.sum <= 7777);
    HY_CHECK_EQ(get(rt, HY_MEASURE_RUN).count, 2);
    HY_CHECK(get(rt, HY_MEASURE_RUN).sum <= 100);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void keep_rounding(void *arg)
{
    fesetround(*(int *)arg);
    for (int i = 0; i < 3; i++) {
        hy_fiber_yield();
        HY_CHECK_EQ(fegetround(), *(int *)arg);
    }
}

HY_TEST(runtime_observe, environments_are_kept_beside_the_times)
{
    static int up = FE_UPWARD, down = FE_DOWNWARD;
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.flags = HY_FIBER_FP_ENV;
    for (unsigned flags = 0; flags <= ALL; flags += ALL) {
        hy_runtime *rt = make(.workers = 1, .flags = flags);
        int rounds = 5;

        HY_CHECK_EQ(hy_fiber_spawn(rt, keep_rounding, &up, &o, NULL), 0);
        HY_CHECK_EQ(hy_fiber_spawn(rt, keep_rounding, &down, &o, NULL), 0);
        spawn(rt, yield_some, &rounds);
        HY_CHECK_EQ(hy_runtime_run(rt), 0);
        HY_CHECK_EQ(fegetround(), FE_TONEAREST);
        HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    }
}

HY_TEST(runtime_observe, a_polled_runtime_is_observed_too)
{
    hy_runtime *rt = make(.workers = 2, .flags = ALL);
    int rounds = 10, r;

    spawn(rt, yield_some, &rounds);
    spawn(rt, yield_some, &rounds);
    while ((r = hy_runtime_poll(rt, HY_NOW)) == 1)
        ;
    HY_CHECK_EQ(r, 0);
    HY_CHECK_EQ(get(rt, HY_MEASURE_RUN).count, 22);
    HY_CHECK_EQ(get(rt, HY_MEASURE_DELAY).count, 22);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- events ---------------------------------------------------------------
 */

struct story {
    char text[4096];
    hy_fiber a, b;
    uint64_t last_ns;
    bool in_order;
};

static int tell(const hy_trace_event *e, void *arg)
{
    struct story *s = arg;
    size_t used = strlen(s->text);
    const char *who = e->fiber == s->a.id   ? "a"
                      : e->fiber == s->b.id ? "b"
                      : e->fiber == 0       ? "-"
                                            : "?";

    if (e->time_ns < s->last_ns)
        s->in_order = false;
    s->last_ns = e->time_ns;
    if (e->kind == HY_TRACE_SLEEP || e->kind == HY_TRACE_AWAKE)
        return 0;
    snprintf(s->text + used, sizeof(s->text) - used, "%s %s", who,
             hy_trace_kind_name(e->kind));
    used = strlen(s->text);
    if (e->name[0] != '\0')
        snprintf(s->text + used, sizeof(s->text) - used, " %s", e->name);
    used = strlen(s->text);
    snprintf(s->text + used, sizeof(s->text) - used,
             e->value == 0         ? "; "
             : e->value == s->a.id ? " by a; "
             : e->value == s->b.id ? " by b; "
                                   : " %llu; ",
             (unsigned long long)e->value);
    return 0;
}

static struct story *current_story;

static void second(void *arg)
{
    (void)arg;
    hy_event_set(&gate);
    HYI_TRACE("passing", 42);
    hy_fiber_yield();
}

static void first(void *arg)
{
    (void)arg;
    current_story->b = spawn(NULL, second, NULL);
    hy_event_wait(&gate, HY_FOREVER);
    hy_fiber_sleep(hy_after(20 * MS));
}

static uint64_t heard;

static void hear(void *ctx, const char *hop, uint64_t what)
{
    (void)ctx;
    if (strcmp(hop, "passing") == 0)
        heard += what;
}

HY_TEST(runtime_observe, events_tell_what_happened)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_TRACE);
    struct story s = {.in_order = true};
    uint64_t dropped = 99, begin = hy_now();
    unsigned listeners = atomic_load(&hyi_process.tracing);

    memset(&gate, 0, sizeof(gate));
    current_story = &s;
    s.last_ns = begin;
    heard = 0;
    hy_trace_set(hear, NULL);
    HY_CHECK_EQ(atomic_load(&hyi_process.tracing), listeners + 1);
    s.a = spawn(rt, first, NULL);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    hy_trace_set(NULL, NULL);
    HY_CHECK_EQ(heard, 42);
    HY_CHECK_EQ(hy_runtime_trace(rt, tell, &s, &dropped), 0);
    HY_CHECK_STR(s.text, "a spawn; a start; b spawn by a; a park event; "
                         "b start; a wake by b; b hop passing 42; a run; "
                         "a park sleep; b run; b end; a wake; a run; a end; ");
    HY_CHECK(s.in_order);
    HY_CHECK(s.last_ns <= hy_now());
    HY_CHECK_EQ(dropped, 0);
    s.text[0] = '\0';
    HY_CHECK_EQ(hy_runtime_trace(rt, tell, &s, NULL), 0);
    HY_CHECK_STR(s.text, "");
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(atomic_load(&hyi_process.tracing), listeners - 1);
}

struct tally {
    uint64_t seen, last_value, stop_after;
    bool dense; /* each value is one more than the last */
};

static int count_hops(const hy_trace_event *e, void *arg)
{
    struct tally *t = arg;

    if (e->kind != HY_TRACE_HOP)
        return 0;
    if (t->seen++ != 0 && e->value != t->last_value + 1)
        t->dense = false;
    t->last_value = e->value;
    return t->seen == t->stop_after ? 7 : 0;
}

static void hop_often(void *arg)
{
    for (uint64_t i = 1; i <= *(uint64_t *)arg; i++)
        HYI_TRACE("step", i);
}

HY_TEST(runtime_observe, the_oldest_events_are_dropped_and_counted)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_TRACE,
                          .trace_events = 50); /* 64 */
    struct tally t = {.dense = true};
    uint64_t hops = 100, dropped = 0, before, told;
    hy_runtime_stats s;

    spawn(rt, hop_often, &hops);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    s = stats_of(rt);
    before = s.events_dropped;
    HY_CHECK_EQ(before, s.events - 64);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_hops, &t, &dropped), 0);
    /* The place that is written next is not believed. */
    HY_CHECK_EQ(dropped, before + 1);
    HY_CHECK(t.dense);
    HY_CHECK_EQ(t.last_value, 100);
    HY_CHECK(t.seen >= 55 && t.seen < 64);
    told = dropped;
    HY_CHECK_EQ(stats_of(rt).events_dropped, told);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_hops, &t, &dropped), 0);
    HY_CHECK_EQ(dropped, 0);

    /* Stopped early, it goes on where it was. */
    hops = 20;
    spawn(rt, hop_often, &hops);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    t = (struct tally){.dense = true, .stop_after = 5};
    HY_CHECK_EQ(hy_runtime_trace(rt, count_hops, &t, &dropped), 7);
    HY_CHECK_EQ(t.last_value, 5);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_hops, &t, &dropped), 0);
    HY_CHECK(t.dense && t.last_value == 20);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static struct {
    hy_runtime *rt;
    atomic_bool over;
    uint64_t seen, dropped, steps;
    unsigned bad;
} reading;

static int check_event(const hy_trace_event *e, void *arg)
{
    (void)arg;
    reading.seen++;
    if (e->kind < HY_TRACE_SPAWN || e->kind > HY_TRACE_HOP || e->worker > 1 ||
        e->name == NULL || (e->kind == HY_TRACE_HOP && e->value != e->fiber))
        reading.bad++;
    return 0;
}

static void *read_on(void *arg)
{
    uint64_t dropped;
    bool last;

    (void)arg;
    do {
        last = atomic_load(&reading.over);
        if (hy_runtime_trace(reading.rt, check_event, NULL, &dropped) != 0)
            reading.bad++;
        reading.dropped += dropped;
    } while (!last);
    return NULL;
}

static void hop_by_name(void *arg)
{
    uint64_t self = hy_fiber_self().id;

    (void)arg;
    for (uint64_t i = 0; i < reading.steps; i++) {
        HYI_TRACE("self", self);
        if (i % 16 == 0)
            hy_fiber_yield();
    }
}

/* Nothing is torn, nothing lost without being counted, while two workers go
   round a small ring. */
HY_TEST(runtime_observe, events_are_read_while_they_are_written)
{
    pthread_t reader;

    memset(&reading, 0, sizeof(reading));
    reading.rt = make(.workers = 2, .flags = ALL, .trace_events = 16);
    reading.steps = HY_TEST_SANITIZER ? 2000 : 20000;
#ifdef RUNNING_ON_VALGRIND
    if (RUNNING_ON_VALGRIND)
        reading.steps = 500;
#endif
    HY_CHECK_EQ(pthread_create(&reader, NULL, read_on, NULL), 0);
    for (int i = 0; i < 8; i++)
        spawn(reading.rt, hop_by_name, NULL);
    HY_CHECK_EQ(hy_runtime_run(reading.rt), 0);
    atomic_store(&reading.over, true);
    pthread_join(reader, NULL);
    HY_CHECK_EQ(reading.bad, 0);
    HY_CHECK_EQ(reading.seen + reading.dropped, stats_of(reading.rt).events);
    HY_CHECK(reading.seen > 0);
    HY_CHECK_EQ(hy_runtime_destroy(reading.rt), 0);
}

struct spawns {
    unsigned told, started, ended;
};

static int count_spawns(const hy_trace_event *e, void *arg)
{
    struct spawns *s = arg;

    s->told += e->kind == HY_TRACE_SPAWN;
    s->started += e->kind == HY_TRACE_START;
    s->ended += e->kind == HY_TRACE_END;
    return 0;
}

static void spawn_for_all(void *arg)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    for (int i = 0; i < 30; i++) {
        o.worker = i % 3; /* any, 1, 2 */
        HY_CHECK_EQ(hy_fiber_spawn(NULL, yield_some, arg, &o, NULL), 0);
    }
}

HY_TEST(runtime_observe, a_spawn_is_told_once_wherever_the_fiber_goes)
{
    hy_runtime *rt = make(.workers = 2, .flags = HY_RUNTIME_TRACE);
    struct spawns s = {0, 0, 0};
    int rounds = 3;

    spawn(rt, spawn_for_all, &rounds);
    spawn(rt, spawn_for_all, &rounds);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_spawns, &s, NULL), 0);
    HY_CHECK_EQ(s.told, 62);
    HY_CHECK_EQ(s.ended, 62);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* Those of another size cannot take over the stack of one that has ended, and
   are put back; they start once all the same. */
HY_TEST(runtime_observe, a_start_is_told_when_it_comes)
{
    hy_runtime *rt = make(.workers = 1, .flags = HY_RUNTIME_TRACE);
    hy_fiber_options other = HY_FIBER_OPTIONS_INIT;
    struct spawns s = {0, 0, 0};
    int none = 0;

    other.stack_bytes = 16384;
    for (int i = 0; i < 5; i++) {
        spawn(rt, yield_some, &none);
        HY_CHECK_EQ(hy_fiber_spawn(rt, yield_some, &none, &other, NULL), 0);
    }
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_trace(rt, count_spawns, &s, NULL), 0);
    HY_CHECK_EQ(s.told, 10);
    HY_CHECK_EQ(s.started, 10);
    HY_CHECK_EQ(s.ended, 10);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- a tracer from outside ------------------------------------------------
 */

#if !defined(HY_HAVE_SDT)
static unsigned short hyi_tracers_switch;
#endif
static bool was_special;

static void look_at_worker(void *arg)
{
    hyi_tracers_switch = 1; /* as a tracer does */
    for (int i = 0; i < 64; i++)
        hy_fiber_yield();
    was_special = hyi_worker_self->special;
    hyi_tracers_switch = 0;
    for (int i = 0; i < 64; i++)
        hy_fiber_yield();
    *(bool *)arg = hyi_worker_self->special;
}

HY_TEST(runtime_observe, a_worker_sees_tracers_come_and_go)
{
    hy_runtime *rt = make(.workers = 1);
    int rounds = 200;
    bool still = true;

    was_special = false;
    spawn(rt, look_at_worker, &still);
    spawn(rt, yield_some, &rounds);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
#if defined(HY_HAVE_SDT)
    HY_CHECK(was_special);
#else
    HY_CHECK(!was_special);
#endif
    HY_CHECK(!still);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- bad input ------------------------------------------------------------
 */

static int busy_result;

static int read_again(const hy_trace_event *e, void *arg)
{
    (void)e;
    busy_result = hy_runtime_trace(arg, read_again, arg, NULL);
    return 1;
}

HY_TEST(runtime_observe, what_cannot_be_read_is_refused)
{
    hy_runtime *plain = make(.workers = 1),
               *rt = make(.workers = 1, .flags = ALL);
    hy_histogram h = HY_HISTOGRAM_INIT;
    int rounds = 1;

    HY_CHECK_EQ(hy_runtime_histogram_get(plain, HY_MEASURE_RUN, &h), -ENODATA);
    HY_CHECK_EQ(hy_runtime_histogram_get(NULL, HY_MEASURE_RUN, &h), -EINVAL);
    HY_CHECK_EQ(hy_runtime_histogram_get(rt, HY_MEASURE_RUN, NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_histogram_get(rt, (hy_measure)0, &h), -EINVAL);
    HY_CHECK_EQ(hy_runtime_histogram_get(rt, (hy_measure)5, &h), -EINVAL);
    h.size = 8;
    HY_CHECK_EQ(hy_runtime_histogram_get(rt, HY_MEASURE_RUN, &h), -EINVAL);
    HY_CHECK_EQ(hy_runtime_trace(plain, tell, NULL, NULL), -ENODATA);
    HY_CHECK_EQ(hy_runtime_trace(NULL, tell, NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_runtime_trace(rt, NULL, NULL, NULL), -EINVAL);
    spawn(rt, yield_some, &rounds);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_trace(rt, read_again, rt, NULL), 1);
    HY_CHECK_EQ(busy_result, -EBUSY);
    HY_CHECK_STR(hy_trace_kind_name((hy_trace_kind)0), "");
    HY_CHECK_STR(hy_trace_kind_name((hy_trace_kind)11), "");
    HY_CHECK_STR(hy_trace_kind_name(HY_TRACE_HOP), "hop");
    HY_CHECK_EQ(hy_runtime_destroy(plain), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_observe, a_runtime_without_memory_for_its_books_is_not_made)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    unsigned failed = 0;

    o.workers = 2;
    o.flags = ALL;
    o.trace_events = ((size_t)1 << 24) + 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), -EINVAL);
    o.trace_events = 1;
    for (unsigned nth = 1;; nth++) {
        int r;

        hy_fail_none();
        hy_fail_at(HY_FAIL_CALLOC, nth, ENOMEM);
        errno = 77;
        r = hy_runtime_init(&rt, &o);
        HY_CHECK_EQ(errno, 77);
        if (!hy_fail_hits()) {
            HY_CHECK_EQ(r, 0);
            break;
        }
        HY_CHECK_EQ(r, -ENOMEM);
        HY_CHECK(rt == NULL);
        failed++;
    }
    hy_fail_none();
    HY_CHECK_EQ(failed, 7); /* stacks, and three for each worker */
    HY_CHECK_EQ(atomic_load(&hyi_process.tracing), 2);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(atomic_load(&hyi_process.tracing), 0);
}
