/*
 * test_runtime_dense.c - small stacks in huge pages: what they hold, that an
 * overflow is found before anybody else runs, that memory comes and goes by the
 * huge page, and what is refused.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <hyperion/fiber.h>
#include <hyperion/runtime.h>
#include <hyperion/sync.h>

#include "annotate.h"
#include "core.h"
#include "fail.h"
#include "runtime_test.h"
#include "os.h"
#include "turn.h"

enum { HUGE = HY_FIBER_HUGE_STACK, BLOCK = 2 << 20, MANY = 2000 };

static int report_pipe[2];

static hy_runtime *make_dense(size_t keep_bytes)
{
    return make(.workers = 1, .report = {report_fatal, &report_pipe[1]},
                .stack_keep_bytes = keep_bytes);
}

static int spawn_sized(hy_runtime *rt, void (*entry)(void *), void *arg,
                       unsigned flags, size_t bytes, const char *name)
{
    hy_fiber_options o = HY_FIBER_OPTIONS_INIT;

    o.flags = flags;
    o.stack_bytes = bytes;
    o.name = name;
    return hy_fiber_spawn(rt, entry, arg, &o, NULL);
}

/* False where they are switched off, and then for good. */
static bool has_huge_pages(void)
{
    hy_runtime *rt = make_dense(0);
    int r = spawn_sized(rt, nothing, NULL, HUGE, 0, NULL);

    HY_CHECK(r == 0 || r == -ENOTSUP);
    run_to_the_end(rt);
    return r == 0;
}

/* --- what they hold ---------------------------------------------------------
 */

/* But for what a yield takes: on portable stacks a ucontext_t or two, and more
   where a sanitizer looks on. More fibers are ready than their ring has room
   for at first, and no malloc is made here. */
static void use_all_of_it(void *arg)
{
    bool portable = HY_ARCH_STACK_BYTES_LEAST > 4096;
    size_t bytes = hyi_stack_class_bytes(hyi_fiber_running()->class);
    volatile char *p;

    HY_CHECK(bytes >= *(size_t *)arg);
    bytes -= portable ? 10 << 10 : HYI_NOTES ? 7 << 8 : 1 << 10;
    p = __builtin_alloca(bytes);
    for (size_t i = 0; i < bytes; i += 256)
        p[i] = 1;
    hy_fiber_yield();
    for (size_t i = 0; i < bytes; i += 256)
        HY_CHECK(p[i] == 1);
}

HY_TEST(runtime_dense, any_size_is_usable)
{
    static size_t sizes[] = {4 << 10, 6 << 10, 8 << 10, 16 << 10, 64 << 10};
    static size_t given = 16 << 10;
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make_dense(0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int k = 0; k < 40; k++)
            HY_CHECK_EQ(
                spawn_sized(rt, use_all_of_it, &sizes[i], HUGE, sizes[i], NULL),
                0);
    HY_CHECK_EQ(spawn_sized(rt, use_all_of_it, &given, HUGE, 0, NULL), 0);
    HY_CHECK_EQ(spawn_sized(rt, nothing, NULL, HUGE, 4095, NULL), -EINVAL);
    HY_CHECK_EQ(spawn_sized(rt, nothing, NULL, HUGE, 65537, NULL), -EINVAL);
    run_to_the_end(rt);
}

/* The ring of those that are ready has room for 64 at first. */
enum { CROWD = 200 };

static hy_event crowd_may_go;
static int crowd_waits, crowd_went;

static void wait_in_crowd(void *arg)
{
    int me = crowd_waits++;

    (void)arg;
    HY_CHECK_EQ(hy_event_wait(&crowd_may_go, HY_FOREVER), 0);
    HY_CHECK_EQ(crowd_went, me);
    crowd_went++;
    hy_fiber_yield();
}

static void wake_crowd(void *arg)
{
    (void)arg;
    while (crowd_waits < CROWD)
        hy_fiber_yield();
    hy_fail_from(HY_FAIL_MALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_event_set(&crowd_may_go), 0);
    for (int i = 0; i < 10; i++)
        HY_CHECK_EQ(hy_fiber_spawn(NULL, nothing, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_fail_hits(), 0);
    hy_fail_none();
}

/* What malloc takes is up to the host, and no such stack has it to spare. */
HY_TEST(runtime_dense, waking_and_spawning_there_needs_no_malloc)
{
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make_dense(0);
    crowd_may_go = (hy_event){{0}};
    crowd_waits = crowd_went = 0;
    for (int i = 0; i < CROWD; i++)
        HY_CHECK_EQ(spawn_sized(rt, wait_in_crowd, NULL, HUGE, 0, NULL), 0);
    HY_CHECK_EQ(spawn_sized(rt, wake_crowd, NULL, HUGE, 0, NULL), 0);
    run_to_the_end(rt);
    HY_CHECK_EQ(crowd_went, CROWD);
}

static void look_at_myself(void *arg)
{
    hy_fiber_yield();
    *(size_t *)arg = 1;
}

static int see_bytes(const hy_fiber_info *info, void *arg)
{
    if (info->state == HY_FIBER_READY)
        *(size_t *)arg = info->stack_bytes;
    return 0;
}

static void look_at_others(void *arg)
{
    HY_CHECK_EQ(hy_fiber_each(hyi_worker_self->rt, see_bytes, arg), 0);
}

HY_TEST(runtime_dense, they_are_told_of)
{
    size_t seen = 0, done = 0;
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make_dense(0);
    HY_CHECK_EQ(spawn_sized(rt, look_at_myself, &done, HUGE, 16 << 10, "small"),
                0);
    HY_CHECK_EQ(spawn_sized(rt, look_at_others, &seen, 0, 0, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(done, 1);
    HY_CHECK_EQ(seen, 16 << 10);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void keep_environment(void *arg)
{
    for (int i = 0; i < 10; i++)
        hy_fiber_yield();
    count_up(arg);
}

/* What lies at the top of a stack is kept as elsewhere. */
HY_TEST(runtime_dense, with_times_and_environments)
{
    atomic_int count = 0;
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make(.workers = 2, .flags = HY_RUNTIME_MEASURE);
    for (int i = 0; i < 100; i++)
        HY_CHECK_EQ(spawn_sized(rt, keep_environment, &count,
                                HUGE | (i % 2 ? HY_FIBER_FP_ENV : 0), 4 << 10,
                                NULL),
                    0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 100);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- overflow ---------------------------------------------------------------
 */

static void exit_on_fault(int sig)
{
    (void)sig;
    _exit(42); /* the process's own handler */
}

#if !defined(HYI_ASAN) && !defined(HYI_TSAN)

enum { YIELDS, TAKES_TURNS, PARKS, ENDS, IS_BELOW, WAYS };

static bool is_over; /* it has overflowed: nobody else may run */

enum { BEYOND = 1024 }; /* the end of the stack */

/* Calls itself until it is that far beyond; there it may yield. */
static __attribute__((noinline)) int descend(const char *low, int yields)
{
    volatile char block[48];

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)i;
    if ((uintptr_t)block > (uintptr_t)low - BEYOND)
        block[0] = (char)descend(low, yields);
    else if (yields)
        hy_fiber_yield();
    return block[0];
}

static void overflow(void *arg)
{
    const char *low = atomic_load(&hyi_fiber_running()->stack)->low;

    for (int i = 0; i < 10 && *(int *)arg == TAKES_TURNS; i++)
        hy_fiber_yield();
    is_over = true;
    switch (*(int *)arg) {
    case YIELDS:
    case TAKES_TURNS:
        descend(low, 0);
        hy_fiber_yield();
        break;
    case PARKS:
        descend(low, 0);
        hy_fiber_sleep(hy_after(SECOND));
        break;
    case IS_BELOW:
        descend(low, 1);
        break;
    default:
        descend(low, 0);
        return;
    }
    report_fatal(&report_pipe[1], HY_REPORT_FATAL, "went on");
}

static void bystander(void *arg)
{
    while (!is_over)
        hy_fiber_yield();
    if (*(int *)arg >= 0)
        report_fatal(&report_pipe[1], HY_REPORT_FATAL, "ran on");
}

static int way, none = -1;

static void overflow_in_a_child(void *arg)
{
    struct sigaction own = {.sa_handler = exit_on_fault,
                            .sa_flags = SA_ONSTACK};
    hy_runtime *rt;

    if (arg != NULL) {
        sigaction(SIGSEGV, &own, NULL);
        sigaction(SIGBUS, &own, NULL);
    } else {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
    }
    rt = make_dense(0);
    /* A stack below, whose top may be overwritten. */
    spawn_sized(rt, bystander, &none, HUGE, 4 << 10, NULL);
    spawn_sized(rt, bystander, &none, HUGE, 4 << 10, NULL);
    spawn_sized(rt, overflow, &way, HUGE, 4 << 10, "small");
    spawn_sized(rt, bystander, &way, HUGE, 4 << 10, NULL);
    hy_runtime_run(rt);
}

HY_TEST(runtime_dense, an_overflow_is_found_before_others_run)
{
    if (!has_huge_pages())
        return;
#if defined(RUNNING_ON_VALGRIND)
    if (RUNNING_ON_VALGRIND)
        return; /* it takes the overflow itself for an error */
#endif
    for (way = YIELDS; way < WAYS; way++)
        for (int handled = 0; handled < 2; handled++) {
            char text[128] = "";
            int status;

            HY_CHECK_EQ(pipe(report_pipe), 0);
            status = hy_test_child(overflow_in_a_child, handled ? &way : NULL);
            if (handled)
                HY_CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 42,
                             "way %d, status %#x", way, (unsigned)status);
            else
                HY_CHECK_MSG(WIFSIGNALED(status), "way %d, status %#x", way,
                             (unsigned)status);
            HY_CHECK(read(report_pipe[0], text, sizeof(text) - 1) > 0);
            HY_CHECK_MSG(strcmp(text, "stack overflow in fiber \"small\"") == 0,
                         "way %d: %s", way, text);
            close(report_pipe[0]);
            close(report_pipe[1]);
        }
}

#endif

/* --- canaries, bit by bit ---------------------------------------------------
 */

static int nth_byte;

/* Of the line right below the stack. */
static void damage(void *arg)
{
    const struct hyi_stack *stack = atomic_load(&hyi_fiber_running()->stack);

    (void)arg;
    stack->low[-1 - nth_byte] ^= 16;
}

static void damage_in_a_child(void *arg)
{
    struct sigaction own = {.sa_handler = exit_on_fault,
                            .sa_flags = SA_ONSTACK};
    hy_runtime *rt;

    (void)arg;
    sigaction(SIGSEGV, &own, NULL);
    sigaction(SIGBUS, &own, NULL);
    rt = make_dense(0);
    spawn_sized(rt, damage, NULL, HUGE, 8 << 10, "damaged");
    hy_runtime_run(rt);
}

/* One in some hundred thousand of all stacks ends there. */
HY_TEST(runtime_dense, a_canary_at_4_gib_is_looked_at_too)
{
    struct hyi_fiber f = {.class = HYI_STACK_DENSE,
                          .flags = HYI_FIBER_CANARY,
                          .top = 1u << HYI_STACK_DENSE_LOG2_MIN};
    struct hyi_turn turn;

    hyi_turn_begin(&turn, &f);
    HY_CHECK_EQ(hyi_dense_low(&f), 0);
    HY_CHECK(hyi_turn_end_of_stack(&turn) != 0);
    f.flags = 0;
    hyi_turn_begin(&turn, &f);
    HY_CHECK_EQ(hyi_turn_end_of_stack(&turn), 0);
}

HY_TEST(runtime_dense, each_byte_of_a_canary_counts)
{
    if (!has_huge_pages())
        return;
    for (nth_byte = 0; nth_byte < HYI_STACK_CANARY_BYTES; nth_byte += 9) {
        char text[128] = "";
        int status;

        HY_CHECK_EQ(pipe(report_pipe), 0);
        status = hy_test_child(damage_in_a_child, NULL);
        HY_CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 42,
                     "byte %d, status %#x", nth_byte, (unsigned)status);
        HY_CHECK(read(report_pipe[0], text, sizeof(text) - 1) > 0);
        HY_CHECK_STR(text, "stack overflow in fiber \"damaged\"");
        close(report_pipe[0]);
        close(report_pipe[1]);
    }
}

/* And whoever gets the stack next has a canary as good as new. */
HY_TEST(runtime_dense, nobody_looks_when_unguarded)
{
    atomic_int count = 0;
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make_dense(0);
    nth_byte = 3;
    HY_CHECK_EQ(
        spawn_sized(rt, damage, NULL, HUGE | HY_FIBER_UNGUARDED, 0, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 1);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- memory -----------------------------------------------------------------
 */

/* Does the system give huge pages, and tell of them? */
static bool sees_huge_pages(void)
{
    void *p;
    char *block;
    bool seen;

    HY_CHECK_EQ(
        hyi_os_reserve(&p, 2 * BLOCK, HYI_OS_READ | HYI_OS_WRITE, NULL, false),
        0);
    block = (char *)p + (BLOCK - (uintptr_t)p % BLOCK) % BLOCK;
    hyi_os_huge(block, BLOCK);
    *(volatile char *)block = 1;
    seen = hyi_os_huge_bytes(block, BLOCK) == BLOCK;
    HY_CHECK_EQ(hyi_os_release(p, 2 * BLOCK), 0);
    return seen;
}

static atomic_int go, ended;

static void wait_for_go(void *arg)
{
    (void)arg;
    while (atomic_load(&go) == 0)
        hy_fiber_sleep(hy_after(1000000));
}

/* The first waits, the others end at once: then all blocks but its own are free
   and above the watermark. */
static void burst(hy_runtime *rt)
{
    HY_CHECK_EQ(spawn_sized(rt, wait_for_go, NULL, HUGE, 16 << 10, NULL), 0);
    for (int i = 0; i < MANY; i++)
        HY_CHECK_EQ(
            spawn_sized(rt, keep_environment, &ended, HUGE, 16 << 10, NULL), 0);
}

static void settle(hy_runtime *rt, uint64_t most)
{
    hy_deadline until = hy_after(60 * SECOND);

    while (stats_of(rt).huge_stack_bytes > most && hy_now() < until)
        hy_runtime_poll(rt, hy_after(1000000));
}

HY_TEST(runtime_dense, memory_comes_and_goes_by_the_page)
{
    bool seen;
    hy_runtime *rt;
    hy_runtime_stats s;

    if (!has_huge_pages())
        return;
    seen = sees_huge_pages();
    rt = make_dense((size_t)127 * (16 << 10)); /* as many as a block has */
    atomic_store(&go, 0);
    atomic_store(&ended, 0);
    burst(rt);
    HY_CHECK_EQ(stats_of(rt).huge_stack_bytes, 0); /* not before they run */
    HY_CHECK_EQ(hy_runtime_poll(rt, HY_NOW), 1);
    s = stats_of(rt);
    HY_CHECK_EQ(s.huge_stack_bytes, (uint64_t)(MANY / 127 + 1) * BLOCK);
    HY_CHECK(s.huge_page_bytes <= s.huge_stack_bytes);
    HY_CHECK(!seen || s.huge_page_bytes >= s.huge_stack_bytes / 2);
    HY_CHECK_EQ(s.guards_installed + s.guards_protected, 0);
    /* One block is in use, one makes up the watermark, and the worker keeps 64
       stacks, of two. */
    settle(rt, 4 * BLOCK);
    s = stats_of(rt);
    HY_CHECK_MSG(s.huge_stack_bytes <= 4 * BLOCK,
                 "%llu bytes, %llu stacks kept, %llu trimmed, %llu live",
                 (unsigned long long)s.huge_stack_bytes,
                 (unsigned long long)s.stacks_kept,
                 (unsigned long long)s.stacks_trimmed,
                 (unsigned long long)(s.spawned - s.ended));
    s = stats_of(rt);
    HY_CHECK(s.stacks_trimmed >= MANY - 4 * 127);
    HY_CHECK(s.stacks_kept <= 4 * 127);
    HY_CHECK_EQ(hy_runtime_trim(rt), 0);
    HY_CHECK(stats_of(rt).huge_stack_bytes <= 3 * BLOCK);
    /* What was given back is as good as new. */
    HY_CHECK_EQ(atomic_load(&ended), MANY);
    burst(rt);
    while (atomic_load(&ended) != 2 * MANY)
        hy_runtime_poll(rt, HY_NOW);
    atomic_store(&go, 1);
    while (hy_runtime_poll(rt, HY_FOREVER) != 0)
        continue;
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

/* --- refusals ---------------------------------------------------------------
 */

HY_TEST(runtime_dense, what_is_refused)
{
    atomic_int count = 0;
    hy_runtime *rt;

    if (!has_huge_pages())
        return;
    rt = make_dense(0);
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, 0, 0, NULL), 0);
    hy_fail_at(HY_FAIL_OPEN, 1, ENOENT); /* nobody tells whether there are */
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), -ENOTSUP);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    hy_fail_at(HY_FAIL_MADVISE, 1, EINVAL);
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), -ENOTSUP);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    hy_fail_from(HY_FAIL_MMAP, 1, ENOMEM);
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), -ENOMEM);
    HY_CHECK(hy_fail_hits() > 1); /* it tried smaller ones */
    hy_fail_none();
    hy_fail_from(HY_FAIL_MPROTECT, 1, ENOMEM);
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), -ENOMEM);
    hy_fail_none();
    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM); /* a smaller segment will do */
    HY_CHECK_EQ(spawn_sized(rt, count_up, &count, HUGE, 0, NULL), 0);
    hy_fail_none();
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(count, 2);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}
