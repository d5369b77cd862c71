/*
 * test_base_fault.c - the fault registry: who answers, who is asked next, and
 * what is left behind.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "fail.h"
#include "fault.h"
#include "hy_test.h"
#include "os.h"

#define ALL (HYI_OS_READ | HYI_OS_WRITE)

static size_t page;
static char *range;
static _Atomic int answered;
static volatile struct hyi_fault seen; /* a trapped access fills it */

static void set_up(void)
{
    page = hyi_os_page_bytes();
    atomic_store(&answered, 0);
    HY_CHECK_EQ(
        hyi_os_reserve((void **)&range, 4 * page, HYI_OS_NONE, NULL, false), 0);
}

static void tear_down(void)
{
    hyi_os_release(range, 4 * page);
}

static bool open_page(void *ctx, const struct hyi_fault *fault)
{
    atomic_fetch_add(&answered, 1);
    errno = 33; /* must not reach the faulting code */
    return ctx == &answered &&
           hyi_os_protect((void *)((uintptr_t)fault->address & ~(page - 1)),
                          page, ALL) == 0;
}

static bool open_and_tell(void *ctx, const struct hyi_fault *fault)
{
    seen = *fault;
    return open_page(ctx, fault);
}

static void *handler_of(int signal)
{
    struct sigaction now;

    sigaction(signal, NULL, &now);
    return (void *)now.sa_sigaction;
}

HY_TEST(base_fault, a_fault_in_a_range_is_answered)
{
    void *before = handler_of(SIGSEGV), *before_bus = handler_of(SIGBUS);

    set_up();
    HY_CHECK_EQ(hyi_fault_attach(range, 4 * page, open_and_tell, &answered), 0);
    HY_CHECK(handler_of(SIGSEGV) != before);
    errno = 7;
    ((volatile char *)range)[page + 5] = 1;
    HY_CHECK_EQ(errno, 7);
    HY_CHECK_EQ(answered, 1);
    HY_CHECK(seen.address == range + page + 5);
    HY_CHECK(seen.signal == SIGSEGV && seen.context != NULL);
    ((volatile char *)range)[page + 6] = 1;
    HY_CHECK_EQ(answered, 1);
    HY_CHECK_EQ(((volatile char *)range)[0], 0);
    HY_CHECK_EQ(answered, 2);
    HY_CHECK(!seen.write);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK(handler_of(SIGSEGV) == before);
    HY_CHECK(handler_of(SIGBUS) == before_bus);
    tear_down();
}

#if !defined(HY_NO_ASM) && defined(__x86_64__)
HY_TEST(base_fault, the_machine_tells_a_write)
{
    set_up();
    HY_CHECK_EQ(hyi_fault_attach(range, 4 * page, open_and_tell, &answered), 0);
    ((volatile char *)range)[0] = 1;
    HY_CHECK(seen.write && seen.pc != NULL && seen.sp != NULL);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    tear_down();
}
#endif

HY_TEST(base_fault, bad_ranges_are_refused)
{
    set_up();
    HY_CHECK_EQ(hyi_fault_detach(range), -ENOENT);
    HY_CHECK_EQ(hyi_fault_attach(range, 2 * page, open_page, &answered), 0);
    HY_CHECK_EQ(hyi_fault_attach(range + page, page, open_page, NULL), -EEXIST);
    HY_CHECK_EQ(hyi_fault_attach(range + 2 * page, page, open_page, NULL), 0);
    HY_CHECK_EQ(hyi_fault_detach(range + page), -ENOENT);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK_EQ(hyi_fault_detach(range + 2 * page), 0);
    tear_down();
}

HY_TEST(base_fault, refused_calls_leave_nothing_behind)
{
    void *before = handler_of(SIGSEGV);

    set_up();
    hy_fail_at(HY_FAIL_SIGACTION, 4, EINVAL); /* install SIGBUS */
    HY_CHECK_EQ(hyi_fault_attach(range, page, open_page, NULL), -EINVAL);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK(handler_of(SIGSEGV) == before);
    HY_CHECK_EQ(hyi_fault_detach(range), -ENOENT);
    HY_CHECK_EQ(hyi_fault_attach(range, page, open_page, &answered), 0);
    ((volatile char *)range)[0] = 1;
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    tear_down();
}

/* --- the chain ------------------------------------------------------------ */

static sigjmp_buf escape;
static volatile int previous_calls;
static volatile bool previous_blocks_usr1, previous_blocks_segv;

static void previous_handler(int signal, siginfo_t *info, void *context)
{
    sigset_t mask;

    (void)signal;
    (void)info;
    (void)context;
    previous_calls++;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    previous_blocks_usr1 = sigismember(&mask, SIGUSR1);
    previous_blocks_segv = sigismember(&mask, SIGSEGV);
    siglongjmp(escape, 1);
}

static bool refuse(void *ctx, const struct hyi_fault *fault)
{
    (void)ctx;
    (void)fault;
    atomic_fetch_add(&answered, 1);
    return false;
}

HY_TEST(base_fault, what_is_not_ours_goes_to_the_previous_handler)
{
    struct sigaction host = {.sa_sigaction = previous_handler}, old, now;

    set_up();
    host.sa_flags = SA_SIGINFO;
    sigaddset(&host.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &host, &old);
    previous_calls = 0;
    HY_CHECK_EQ(hyi_fault_attach(range, page, refuse, NULL), 0);
    for (int i = 0; i < 3; i++) {
        if (sigsetjmp(escape, 1) == 0)
            ((volatile char *)range)[2 * page] = 1; /* a foreign address */
        HY_CHECK_EQ(previous_calls, 2 * i + 1);
        HY_CHECK(previous_blocks_usr1 && previous_blocks_segv);
        if (sigsetjmp(escape, 1) == 0)
            ((volatile char *)range)[0] = 1; /* ours, refused */
        HY_CHECK_EQ(previous_calls, 2 * i + 2);
        HY_CHECK_EQ(answered, i + 1);
    }
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    sigaction(SIGSEGV, &old, &now);
    HY_CHECK(now.sa_sigaction == previous_handler);
    tear_down();
}

static struct sigaction below;

static void forwarding_handler(int signal, siginfo_t *info, void *context)
{
    previous_calls++;
    below.sa_sigaction(signal, info, context);
}

HY_TEST(base_fault, a_handler_installed_on_top_stays_there)
{
    struct sigaction top = {.sa_sigaction = forwarding_handler};
    void *before = handler_of(SIGSEGV);

    set_up();
    previous_calls = 0;
    HY_CHECK_EQ(hyi_fault_attach(range, page, open_page, &answered), 0);
    top.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &top, &below);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK(handler_of(SIGSEGV) == (void *)forwarding_handler);
    HY_CHECK_EQ(hyi_fault_attach(range, page, open_page, &answered), 0);
    ((volatile char *)range)[0] = 1; /* through the one above */
    HY_CHECK_EQ(previous_calls, 1);
    HY_CHECK_EQ(answered, 1);
    sigaction(SIGSEGV, &below, NULL);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK(handler_of(SIGSEGV) == before);
    tear_down();
}

/* --- what ends the process ------------------------------------------------ */

static void no_core(void)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL); /* test runners and sanitizers have their own */
}

static void touch_foreign(void *arg)
{
    no_core();
    if (hyi_fault_attach(range, page, open_page, &answered) == 0)
        *(volatile char *)arg = 1;
}

static void raise_it(void *arg)
{
    (void)arg;
    no_core();
    if (hyi_fault_attach(range, page, open_page, &answered) == 0)
        raise(SIGSEGV);
}

static bool touch_itself(void *ctx, const struct hyi_fault *fault)
{
    (void)fault;
    ((volatile char *)ctx)[0] = 1;
    return true;
}

/* The thread sanitizer blocks every signal in a handler, so that a second fault
 * ends the process before anybody is asked. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define NESTED_SIGNAL SIGSEGV
#else
#define NESTED_SIGNAL SIGKILL
#endif

/* By a signal that nothing blocks: valgrind gives exits a status of its own. */
static void leave(int signal)
{
    (void)signal;
    raise(SIGKILL);
}

static void recurse(void *arg)
{
    no_core();
    signal(SIGSEGV, leave);
    if (hyi_fault_attach(range, page, touch_itself, arg) == 0)
        ((volatile char *)arg)[0] = 1;
}

static void ignore_it(void *arg)
{
    no_core();
    signal(SIGSEGV, SIG_IGN);
    if (hyi_fault_attach(range, page, open_page, &answered) != 0)
        return;
    raise(SIGSEGV); /* ignored */
    *(volatile char *)arg = 1;
}

HY_TEST(base_fault, the_default_action_is_kept)
{
    int status;

    set_up();
    status = hy_test_child(touch_foreign, range + 2 * page);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = hy_test_child(raise_it, NULL);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = hy_test_child(recurse, range);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == NESTED_SIGNAL);
    status = hy_test_child(ignore_it, range + 2 * page);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    tear_down();
}

/* --- threads -------------------------------------------------------------- */

static _Atomic bool stop;

static bool slow(void *ctx, const struct hyi_fault *fault)
{
    _Atomic uint32_t never = 0;

    atomic_fetch_add((_Atomic int *)ctx, 1);
    hyi_os_futex_wait(&never, 0, hyi_os_now() + 20000000, false);
    atomic_fetch_add((_Atomic int *)ctx, 1);
    return hyi_os_protect((void *)((uintptr_t)fault->address & ~(page - 1)),
                          page, ALL) == 0;
}

static void *touch_one(void *arg)
{
    *(volatile char *)arg = 1;
    return NULL;
}

HY_TEST(base_fault, detach_waits_for_those_inside)
{
    static _Atomic int steps;
    pthread_t thread;

    set_up();
    atomic_store(&steps, 0);
    HY_CHECK_EQ(hyi_fault_attach(range, page, slow, &steps), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&thread, touch_one, range), 0);
    while (atomic_load(&steps) == 0)
        ;
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK_EQ(atomic_load(&steps), 2);
    pthread_join(thread, NULL);
    tear_down();
}

/* --- fork ----------------------------------------------------------------- */

static void detach_in_child(void *arg)
{
    alarm(20); /* it would wait for ever */
    if (hyi_fault_detach(arg) != 0)
        _exit(1);
}

HY_TEST(base_fault, a_child_does_not_wait_for_threads_that_it_has_not)
{
    static _Atomic int steps;
    pthread_t thread;

    set_up();
    atomic_store(&steps, 0);
    HY_CHECK_EQ(hyi_fault_attach(range, page, slow, &steps), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&thread, touch_one, range), 0);
    while (atomic_load(&steps) == 0)
        ;
    HY_CHECK_EQ(hy_test_child(detach_in_child, range), 0);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(atomic_load(&steps), 2);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    tear_down();
}

static void *handler_before;

static void touch_ranges(void *arg)
{
    char *base = arg;

    if (hyi_fault_detach(base) != -ENOENT)
        _exit(1);
    if (handler_of(SIGSEGV) == handler_before)
        _exit(2);
    /* Other memory may be there. */
    if (hyi_fault_attach(base, page, open_page, &answered) != 0)
        _exit(3);
    *(volatile char *)base = 1;
    *(volatile char *)(base + page) = 1;
    if (atomic_load(&answered) != 2)
        _exit(4);
    if (hyi_fault_detach(base) != 0 || hyi_fault_detach(base + page) != 0)
        _exit(5);
    if (handler_of(SIGSEGV) != handler_before)
        _exit(6);
}

static void look_for_handlers(void *arg)
{
    (void)arg;
    if (handler_of(SIGSEGV) != handler_before)
        _exit(1);
}

HY_TEST(base_fault, what_is_left_to_the_parent_is_not_a_childs)
{
    set_up();
    handler_before = handler_of(SIGSEGV);
    HY_CHECK_EQ(hyi_fault_attach_unforked(range, page, open_page, &answered),
                0);
    HY_CHECK_EQ(hy_test_child(look_for_handlers, NULL), 0);
    HY_CHECK_EQ(hyi_fault_attach(range + page, page, open_page, &answered), 0);
    HY_CHECK_EQ(hy_test_child(touch_ranges, range), 0);
    *(volatile char *)range = 1;
    HY_CHECK_EQ(atomic_load(&answered), 1);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    HY_CHECK_EQ(hyi_fault_detach(range + page), 0);
    tear_down();
}

static void *attach_for_ever(void *arg)
{
    while (!atomic_load(&stop)) {
        if (hyi_fault_attach_unforked(arg, page, open_page, &answered) != 0)
            return arg;
        hyi_fault_detach(arg);
    }
    return NULL;
}

static void attach_once(void *arg)
{
    if (hyi_fault_attach(arg, page, open_page, &answered) != 0)
        _exit(1);
}

/* A fork waits for the lock, so it comes right after some call that held it:
   whatever that was, the child has the whole range or nothing of it. */
HY_TEST(base_fault, a_fork_between_two_calls_leaves_no_range_to_the_child)
{
    pthread_t thread;
    void *refused = NULL;
    int status = 0;

    set_up();
    atomic_store(&stop, false);
    HY_CHECK_EQ(hyi_os_thread_start(&thread, attach_for_ever, range), 0);
    for (int i = 0; i < 300 && status == 0; i++)
        status = hy_test_child(attach_once, range);
    atomic_store(&stop, true);
    pthread_join(thread, &refused);
    HY_CHECK_MSG(status == 0, "child: %x", (unsigned)status);
    HY_CHECK(refused == NULL);
    tear_down();
}

static void *fault_for_ever(void *arg)
{
    while (!atomic_load(&stop)) {
        *(volatile char *)arg = 1;
        hyi_os_protect(arg, page, HYI_OS_NONE);
    }
    return NULL;
}

HY_TEST(base_fault, ranges_come_and_go_under_faults)
{
    pthread_t thread;

    set_up();
    atomic_store(&stop, false);
    HY_CHECK_EQ(hyi_fault_attach(range, page, open_page, &answered), 0);
    HY_CHECK_EQ(hyi_os_thread_start(&thread, fault_for_ever, range), 0);
    for (int i = 0; i < 2000; i++) {
        char *other = range + (1 + i % 3) * page;

        HY_CHECK_EQ(hyi_fault_attach(other, page, open_page, &answered), 0);
        *(volatile char *)other = 1;
        hyi_os_protect(other, page, HYI_OS_NONE);
        HY_CHECK_EQ(hyi_fault_detach(other), 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(hyi_fault_detach(range), 0);
    tear_down();
}

static void *prepare(void *arg)
{
    stack_t now, small = {0};
    char *own = malloc(32 << 10);
    int r = hyi_fault_thread_prepare();

    (void)arg;
    sigaltstack(NULL, &now);
    if (r == 0 && (now.ss_size < (64 << 10) || (now.ss_flags & SS_DISABLE)))
        r = -1;
    memset(now.ss_sp, 1, now.ss_size);
    small.ss_sp = own;
    small.ss_size = 32 << 10;
    sigaltstack(&small, NULL);
    if (r == 0)
        r = hyi_fault_thread_prepare(); /* larger again */
    sigaltstack(NULL, &now);
    if (r == 0 && now.ss_size < (64 << 10))
        r = -2;
    free(own);
    return (void *)(intptr_t)r;
}

static void *prepare_without_memory(void *arg)
{
    stack_t none = {.ss_flags = SS_DISABLE}, now;
    int r;

    sigaltstack(&none, NULL); /* a sanitizer may have given one */
    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM);
    r = hyi_fault_thread_prepare();
    hy_fail_none();
    sigaltstack(NULL, &now);
    (void)arg;
    return (void *)(intptr_t)(now.ss_flags & SS_DISABLE ? r : -1);
}

HY_TEST(base_fault, a_thread_gets_an_alternate_stack)
{
    pthread_t thread;
    void *result;

    for (int i = 0; i < 3; i++) {
        HY_CHECK_EQ(hyi_os_thread_start(&thread, prepare, NULL), 0);
        pthread_join(thread, &result);
        HY_CHECK_EQ((intptr_t)result, 0);
    }
    HY_CHECK_EQ(hyi_os_thread_start(&thread, prepare_without_memory, NULL), 0);
    pthread_join(thread, &result);
    HY_CHECK_EQ((intptr_t)result, -ENOMEM);
}
