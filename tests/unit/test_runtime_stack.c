/*
 * test_runtime_stack.c - stacks: guards, overflow reports, what happens when
 * memory, guards or mappings are refused.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <hyperion/context.h>
#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "annotate.h"
#include "arch.h"
#include "core.h"
#include "fail.h"
#include "runtime_test.h"
#include "os.h"

enum { MANY = 5000 };

static int report_pipe[2];

static hy_runtime *make_reporting(void)
{
    return make(.workers = 1, .report = {report_fatal, &report_pipe[1]});
}

/* --- overflow ---------------------------------------------------------------
 */

static __attribute__((noinline)) int descend(volatile int depth)
{
    volatile char block[512];

    block[0] = (char)depth;
    return depth == 0 ? block[0] : descend(depth - 1) + block[0];
}

static volatile int bottom;
static size_t frame_bytes; /* not 0: each frame has so many, and switches */

static __attribute__((noinline)) int descend_and_yield(volatile int depth)
{
    volatile char *block = __builtin_alloca(frame_bytes);

    block[0] = (char)depth;
    hy_fiber_yield();
    return depth == 0 ? block[0] : descend_and_yield(depth - 1) + block[0];
}

static void overflow(void *arg)
{
    (void)arg;
    bottom = frame_bytes == 0 ? descend(1 << 20) : descend_and_yield(1 << 20);
}

static void on_fault(int sig)
{
    (void)sig;
    _exit(42); /* the process's own handler */
}

static void overflow_in_a_child(void *arg)
{
    struct sigaction own = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    hy_runtime *rt;

    if (arg != NULL) {
        sigaction(SIGSEGV, &own, NULL);
        sigaction(SIGBUS, &own, NULL);
    } else {
        signal(SIGSEGV, SIG_DFL);
    }
    rt = make_reporting();
    hy_fiber_spawn(rt, frame_bytes == 0 ? nothing : yield_for_ever, NULL, NULL,
                   NULL);
    o.name = "deep";
    hy_fiber_spawn(rt, overflow, NULL, &o, NULL);
    hy_fiber_spawn(rt, nothing, NULL, NULL, NULL);
    hy_runtime_run(rt);
}

HY_TEST(runtime_stack, an_overflow_is_reported_and_passed_on)
{
    char text[128] = "";
    int status;

#if defined(RUNNING_ON_VALGRIND)
    if (RUNNING_ON_VALGRIND)
        return; /* it pushes its frame onto the guard, and dies */
#endif
    HY_CHECK_EQ(pipe(report_pipe), 0);
    status = hy_test_child(overflow_in_a_child, &status);
    HY_CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %#x",
                 (unsigned)status);
    HY_CHECK(read(report_pipe[0], text, sizeof(text) - 1) > 0);
    HY_CHECK_STR(text, "stack overflow in fiber \"deep\"");
#if !defined(HYI_ASAN) && !defined(HYI_TSAN)
    status = hy_test_child(overflow_in_a_child, NULL);
    HY_CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
                 "status %#x", (unsigned)status);
#endif
    close(report_pipe[0]);
    close(report_pipe[1]);
}

/* Under a tool memory is not what it is, and a burst takes its time. */
static bool is_watched(void)
{
#if defined(RUNNING_ON_VALGRIND)
    if (RUNNING_ON_VALGRIND)
        return true;
#endif
    return HY_TEST_SANITIZER;
}

/* Wherever the stack ends: in a frame of the fiber, or in the switch. */
HY_TEST(runtime_stack, an_overflow_by_a_fiber_that_switches_is_reported)
{
    char text[128];
    int status;

    if (is_watched())
        return;
    for (frame_bytes = 32; frame_bytes < 1024; frame_bytes += 176) {
        memset(text, 0, sizeof(text));
        HY_CHECK_EQ(pipe(report_pipe), 0);
        status = hy_test_child(overflow_in_a_child, &status);
        HY_CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 42,
                     "status %#x", (unsigned)status);
        HY_CHECK(read(report_pipe[0], text, sizeof(text) - 1) > 0);
        HY_CHECK_STR(text, "stack overflow in fiber \"deep\"");
        close(report_pipe[0]);
        close(report_pipe[1]);
    }
    frame_bytes = 0;
}

/* --- many -------------------------------------------------------------------
 */

static void park_for_ever(void *arg)
{
    (void)arg;
    hy_fiber_sleep(HY_FOREVER);
}

static void count_stop(void *arg)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    size_t maps = hyi_os_map_count();

    HY_CHECK_EQ(hy_runtime_stats_get(arg, &s), 0);
    HY_CHECK(s.stacks >= MANY);
    HY_CHECK_EQ(s.guards_installed + s.guards_protected, s.stacks);
    HY_CHECK(s.guards_protected > 0 || s.stack_maps <= 4);
    HY_CHECK(s.guards_protected > 0 || maps < 500 || HY_TEST_SANITIZER);
    hy_runtime_stop(arg);
}

HY_TEST(runtime_stack, each_of_many_has_a_guard)
{
    hy_runtime *rt = make_reporting();

    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, park_for_ever, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_stop, rt, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void use_all_of_it(void *arg)
{
    size_t bytes = *(size_t *)arg - 1024;
    volatile char *p = __builtin_alloca(bytes);

    for (size_t i = 0; i < bytes; i += 512)
        p[i] = 1;
}

HY_TEST(runtime_stack, any_size_is_usable)
{
    size_t sizes[] = {8 << 10, 20 << 10, 64 << 10, 1 << 20, 8 << 20};
    hy_runtime *rt = make_reporting();

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

        o.stack_bytes = sizes[i];
        HY_CHECK_EQ(hy_fiber_spawn(rt, use_all_of_it, &sizes[i], &o, NULL), 0);
        o.flags = HY_FIBER_UNGUARDED;
        HY_CHECK_EQ(hy_fiber_spawn(rt, use_all_of_it, &sizes[i], &o, NULL), 0);
    }
    run_to_the_end(rt);
}

/* --- in which order ---------------------------------------------------------
 */

enum { IN_ORDER = 5 };

static hy_event may_end[IN_ORDER];
static const struct hyi_stack *stack_had[IN_ORDER];

static void have_a_stack(void *which)
{
    int i = (int)(intptr_t)which;

    stack_had[i] = atomic_load(&hyi_fiber_running()->stack);
    HY_CHECK_EQ(hy_event_wait(&may_end[i], HY_FOREVER), 0);
}

/* Ends them in the order of their digits. */
static void end_all(const hy_fiber *f, const char *order)
{
    for (; *order != '\0'; order++) {
        HY_CHECK_EQ(hy_event_set(&may_end[*order - '0']), 0);
        HY_CHECK_EQ(hy_fiber_join(f[*order - '0'], HY_FOREVER), 0);
        HY_CHECK_EQ(hy_event_reset(&may_end[*order - '0']), 0);
    }
}

static void begin_all(hy_fiber *f)
{
    for (intptr_t i = 0; i < IN_ORDER; i++)
        f[i] = spawn(NULL, have_a_stack, (void *)i);
    hy_fiber_yield();
}

static void take_stacks_in_turn(void *order)
{
    const struct hyi_stack *before[IN_ORDER];
    hy_fiber f[IN_ORDER];

    begin_all(f);
    memcpy(before, stack_had, sizeof(before));
    end_all(f, order);
    begin_all(f);
    for (int i = 0; i < IN_ORDER; i++)
        HY_CHECK(stack_had[i] ==
                 before[((const char *)order)[IN_ORDER - 1 - i] - '0']);
    end_all(f, "01234");
}

/* Whose memory is the warmest: last in, first out. */
HY_TEST(runtime_stack, what_was_freed_last_is_taken_first)
{
    char orders[3][8] = {"01234", "43210", "20413"};

    for (int i = 0; i < 3; i++) {
        hy_runtime *rt = make_reporting();

        spawn(rt, take_stacks_in_turn, orders[i]);
        run_to_the_end(rt);
    }
}

/* --- memory -----------------------------------------------------------------
 */

static uint64_t resident_bytes(void)
{
    struct hyi_os_usage u;

    hyi_os_usage(&u);
    return u.resident_bytes;
}

/* A slot, and a descriptor, but no page of a stack. */
HY_TEST(runtime_stack, an_unstarted_fiber_touches_no_stack)
{
    hy_runtime *rt = make_reporting();
    uint64_t before = resident_bytes(), after;
    hy_runtime_stats s;

    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    after = resident_bytes();
    if (!is_watched())
        HY_CHECK_MSG(after < before + (uint64_t)MANY * 1024, "%llu bytes each",
                     (unsigned long long)(after - before) / MANY);
    s = stats_of(rt);
    HY_CHECK(s.stacks >= MANY && s.stacks < 5 * MANY);
    HY_CHECK(s.stack_maps > 1); /* as they were needed */
    HY_CHECK_EQ(s.stacks_kept, 0);
    run_to_the_end(rt);
}

static hy_event all_have_begun;
static int yet_to_begin;

/* One worker runs them all. */
static void wait_for_the_others(void *arg)
{
    (void)arg;
    if (--yet_to_begin == 0)
        HY_CHECK_EQ(hy_event_set(&all_have_begun), 0);
    HY_CHECK_EQ(hy_event_wait(&all_have_begun, HY_FOREVER), 0);
}

static void spawn_all(void *arg)
{
    HY_CHECK_EQ(hy_event_reset(&all_have_begun), 0);
    yet_to_begin = *(int *)arg;
    for (int i = yet_to_begin; i > 0; i--)
        HY_CHECK_EQ(hy_fiber_spawn(NULL, wait_for_the_others, NULL, NULL, NULL),
                    0);
}

/* All of them have a stack at once, and end. */
static void burst(hy_runtime *rt, int count)
{
    uint64_t most = stats_of(rt).ended + (uint64_t)count + 1;
    static int spawned;

    spawned = count;
    HY_CHECK_EQ(hy_fiber_spawn(rt, spawn_all, &spawned, NULL, NULL), 0);
    AWAIT(stats_of(rt).ended == most);
}

static void settle(hy_runtime *rt, uint64_t kept)
{
    AWAIT(stats_of(rt).stacks_kept <= kept);
}

/* Else 100,000 fibers cannot have guards. */
static bool has_installed_guards(void)
{
    hy_runtime *rt = make_reporting();
    bool has;

    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    has = stats_of(rt).guards_installed != 0;
    run_to_the_end(rt);
    return has;
}

/* Is given back by a worker that is idle, and only then, down to the watermark:
   which is in bytes of stacks. */
HY_TEST(runtime_stack, memory_is_given_back_after_a_burst)
{
    bool small = HY_ARCH_THREADS || is_watched() || !has_installed_guards();
    int count = small ? 3000 : 100000, keep = small ? 500 : 1024;
    hy_runtime *rt =
        make(.workers = 1, .stack_keep_bytes = small ? 500 * 65536 : 0);
    uint64_t before, most, after;
    hy_runtime_stats s;

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    burst(rt, 1);
    before = resident_bytes();
    burst(rt, count);
    most = resident_bytes();
    settle(rt, (uint64_t)keep);
    after = resident_bytes();
    s = stats_of(rt);
    HY_CHECK_EQ(s.stacks_kept, keep);
    HY_CHECK(s.stacks_trimmed >= (uint64_t)(count - keep - 64));
    HY_CHECK(s.stacks_trimmed <= (uint64_t)(count + 1 - keep));
    HY_CHECK(s.stacks >= (uint64_t)count);
    if (!small) /* what is left are slots, descriptors and page tables */
        HY_CHECK_MSG(before + (uint64_t)count * 1024 > after,
                     "%llu, then %llu, then %llu bytes",
                     (unsigned long long)before, (unsigned long long)most,
                     (unsigned long long)after);
    burst(rt, count); /* what was given back can be had again */
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_stack, a_watermark_keeps_what_it_says)
{
    hy_runtime *rt = make(.workers = 1, .stack_keep_bytes = SIZE_MAX);

    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    burst(rt, 3000);
    hy_fiber_sleep(hy_after(20000000));
    HY_CHECK(stats_of(rt).stacks_kept > 3000 - 65);
    HY_CHECK_EQ(stats_of(rt).stacks_trimmed, 0);
    HY_CHECK_EQ(hy_runtime_trim(rt), 0);
    HY_CHECK_EQ(stats_of(rt).stacks_kept, 0);
    HY_CHECK(stats_of(rt).stacks_trimmed > 3000 - 65);
    burst(rt, 3000);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* A polled runtime has nobody who sleeps: each call that finds nothing to do
   gives a few back. */
HY_TEST(runtime_stack, polls_give_memory_back)
{
    hy_runtime *rt = make(.workers = 1, .stack_keep_bytes = 100 * 65536);
    int count = 1000, calls = 0;

    HY_CHECK_EQ(hy_fiber_spawn(rt, spawn_all, &count, NULL, NULL), 0);
    while (hy_runtime_poll(rt, HY_NOW) != 0)
        continue;
    HY_CHECK(stats_of(rt).stacks_kept > 800);
    while (stats_of(rt).stacks_kept > 100 && calls++ < 1000)
        HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    HY_CHECK_EQ(stats_of(rt).stacks_kept, 100);
    HY_CHECK(calls > 10);
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 0);
    HY_CHECK_EQ(stats_of(rt).stacks_kept, 100);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void note_frame(void *arg)
{
    char here;

    *(char **)arg = &here - (uintptr_t)&here % 8;
}

/* The stack that was given back last is the first to be used again. */
HY_TEST(runtime_stack, last_in_first_out)
{
    hy_runtime *rt = make_reporting();
    char *first = NULL, *next = NULL;

    HY_CHECK_EQ(hy_fiber_spawn(rt, note_frame, &first, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_fiber_spawn(rt, note_frame, &next, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK(first != NULL && first == next);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- refusals ---------------------------------------------------------------
 */

HY_TEST(runtime_stack, no_memory_for_a_stack)
{
    hy_runtime *rt = make_reporting();
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    atomic_int count = 0;
    hy_fiber out = {77};

    HY_CHECK_EQ(hy_fiber_spawn(rt, count_up, &count, NULL, NULL), 0);
    hy_fail_from(HY_FAIL_MMAP, 1, ENOMEM);
    o.stack_bytes = 1 << 20;
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_up, &count, &o, &out), -ENOMEM);
    HY_CHECK(hy_fail_hits() > 0);
    HY_CHECK_EQ(out.id, 77);
    hy_fail_none();
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    o.name = "named";
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_up, &count, &o, &out), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_up, &count, &o, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 2);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(runtime_stack, no_memory_for_the_first_fiber)
{
    hy_runtime *rt = make_reporting();

    hy_fail_from(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), -ENOMEM);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
}

/* A refused large segment is tried smaller. */
HY_TEST(runtime_stack, a_smaller_segment_will_do)
{
    hy_runtime *rt = make_reporting();

    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    rt = make_reporting();
    /* The table exists already: the first mmap is the segment's. */
    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    hy_fail_none();
    run_to_the_end(rt);
}

static unsigned long spawn_without_guard_advice(hy_runtime *rt, int *result)
{
    unsigned long spawned = 0;

    hy_fail_from(HY_FAIL_MADVISE, 1, EINVAL);
    hy_fail_syscall(SYS_process_madvise, 1, EINVAL);
    while (spawned < 40000 &&
           (*result = hy_fiber_spawn(rt, nothing, NULL, NULL, NULL)) == 0) {
        spawned++;
        if (spawned % 64 == 0)
            hy_fail_syscall(SYS_process_madvise, 1, EINVAL);
    }
    hy_fail_none();
    return spawned;
}

HY_TEST(runtime_stack, guards_by_protection_stop_before_the_mappings_do)
{
    hy_runtime *rt = make_reporting();
    hy_runtime_stats s = {.size = sizeof(s)};
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;
    size_t limit = hyi_os_map_limit();
    int result = 0;
    unsigned long spawned;

    if (limit < 5000 || limit > 70000)
        return; /* 40,000 fibers would not reach it */
#if defined(RUNNING_ON_VALGRIND)
    if (RUNNING_ON_VALGRIND)
        return; /* it has a limit of its own, and dies there */
#endif
    spawned = spawn_without_guard_advice(rt, &result);
    HY_CHECK_EQ(result, -EAGAIN);
    HY_CHECK(spawned > limit / 5 && spawned < limit / 2);
    HY_CHECK(hyi_os_map_count() <= limit / 5 * 4 + 8);
    HY_CHECK_EQ(hy_runtime_stats_get(rt, &s), 0);
    HY_CHECK(s.guards_protected >= spawned);
    o.flags = HY_FIBER_UNGUARDED;
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, &o, NULL), 0);
    run_to_the_end(rt);
}

HY_TEST(runtime_stack, a_guard_that_is_refused_refuses_the_fiber)
{
    hy_runtime *rt = make_reporting();

    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    rt = make_reporting();
    hy_fail_from(HY_FAIL_MADVISE, 1, EINVAL);
    hy_fail_syscall(SYS_process_madvise, 1, EINVAL);
    hy_fail_from(HY_FAIL_MPROTECT, 1, ENOMEM);
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), -ENOMEM);
    hy_fail_none();
    HY_CHECK_EQ(hy_fiber_spawn(rt, nothing, NULL, NULL, NULL), 0);
    run_to_the_end(rt);
}

HY_TEST(runtime_stack, other_refusals)
{
    hy_runtime *rt = NULL;
    hy_fiber_options last = HY_FIBER_OPTIONS_INIT;
    atomic_int count = 0;

    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_runtime_init(&rt, NULL), -ENOMEM);
    hy_fail_none();
    HY_CHECK(rt == NULL);
    rt = make(.workers = 3);
    last.worker = 3; /* the one whose thread is refused */
    HY_CHECK_EQ(hy_fiber_spawn(rt, count_up, &count, &last, NULL), 0);
    errno = 17;
    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 2, EAGAIN);
    HY_CHECK_EQ(hy_runtime_run(rt), -EAGAIN);
    hy_fail_at(HY_FAIL_PTHREAD_CREATE, 3, EAGAIN);
    HY_CHECK_EQ(hy_runtime_start(rt), -EAGAIN);
    hy_fail_none();
    hy_fail_at(HY_FAIL_EVENTFD, 1, EMFILE);
    HY_CHECK_EQ(hy_runtime_fd(rt), -EMFILE);
    hy_fail_none();
    HY_CHECK_EQ(errno, 17);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- raw contexts -----------------------------------------------------------
 */

static hy_context outer, inner;

static void generate(void *arg, void *value)
{
    int *count = arg;

    for (;;) {
        ++*count;
        value = hy_context_switch(&inner, &outer, value);
    }
}

HY_TEST(runtime_stack, raw_contexts)
{
    static char stack[32 << 10];
    int count = 0, token;

    HY_CHECK_EQ(hy_context_make(NULL, stack, sizeof(stack), generate, &count),
                -EINVAL);
    HY_CHECK_EQ(hy_context_make(&inner, NULL, sizeof(stack), generate, NULL),
                -EINVAL);
    HY_CHECK_EQ(hy_context_make(&inner, stack, 100, generate, &count), -EINVAL);
    HY_CHECK_EQ(hy_context_make(&inner, stack, sizeof(stack), NULL, &count),
                -EINVAL);
#if !defined(HYI_ASAN) && !defined(HYI_TSAN)
    HY_CHECK_EQ(hy_context_make(&inner, stack, sizeof(stack), generate, &count),
                0);
    for (int i = 0; i < 3; i++)
        HY_CHECK(hy_context_switch(&outer, &inner, &token) == &token);
    HY_CHECK_EQ(count, 3);
#else
    (void)token;
    (void)outer;
#endif
}
