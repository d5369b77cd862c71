/*
 * test_runtime_inline.c - the inline switch: bad input, many contexts in any
 * order, and unwinding at every instruction of it.
 *
 * The unwinding tests interrupt a ping-pong and walk the stack from the signal
 * handler. On whose stack the handler's frame lies, and which functions the
 * walk finds, must agree:
 *
 *      stack pointer in the context's stack  ->  pong in the walk, which ends
 *                                                where the context began
 *      elsewhere                             ->  ping in the walk, pong not
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/time.h>
#include <ucontext.h>

#include <hyperion/inline/context.h>

#include "annotate.h"
#include "arch.h"
#include "hy_test.h"

enum { STACK_BYTES = 64 << 10, MANY = 64 };

static char stacks[MANY][STACK_BYTES] __attribute__((aligned(64)));

/* valgrind takes a jump to a stack that it does not know for an overflow. */
static void *stack_of(int nth)
{
#if defined(VALGRIND_STACK_REGISTER)
    static char known[MANY];

    if (!known[nth]) {
        known[nth] = 1;
        VALGRIND_STACK_REGISTER(stacks[nth], stacks[nth] + STACK_BYTES);
    }
#endif
    return stacks[nth];
}

static void never(void *arg, void *value)
{
    (void)arg;
    (void)value;
    abort();
}

HY_TEST(inline, bad_input_is_refused)
{
    hy_inline_context c = {NULL, NULL, NULL, &c};
    char *s = (char *)stack_of(0);

    HY_CHECK_EQ(hy_inline_context_make(NULL, s, STACK_BYTES, never, NULL),
                -EINVAL);
    HY_CHECK_EQ(hy_inline_context_make(&c, NULL, STACK_BYTES, never, NULL),
                -EINVAL);
    HY_CHECK_EQ(hy_inline_context_make(&c, s, STACK_BYTES, NULL, NULL),
                -EINVAL);
    HY_CHECK_EQ(hy_inline_context_make(&c, s, 2047, never, NULL), -EINVAL);
    HY_CHECK_EQ(hy_inline_context_prepare(&c, s, STACK_BYTES, never, NULL, 0),
                -EPROTO);
    HY_CHECK_EQ(
        hy_inline_context_prepare(&c, s, STACK_BYTES, never, NULL, 0x102),
        -EPROTO);
#if !HY_INLINE_CONTEXT_NATIVE
    HY_CHECK_EQ(hy_inline_context_prepare(&c, s, STACK_BYTES, never, NULL,
                                          HY_INLINE_CONTEXT_LAYOUT_JUMP),
                -EPROTO);
#endif
    HY_CHECK(c.sp == NULL && c.ip == NULL && c.fp == NULL && c.bp == &c);
}

static hy_inline_context home;
static hy_context outer_home;

static void add_up_outside(void *arg, void *value)
{
    hy_inline_context *c = (hy_inline_context *)arg;
    uintptr_t sum = 0;

    for (;;) {
        sum += (uintptr_t)value;
        value =
            hy_context_switch((hy_context *)&c->sp, &outer_home, (void *)sum);
    }
}

/* What a file does that was compiled with HY_NO_ASM, in any library. */
HY_TEST(inline, the_outer_layout_is_known_everywhere)
{
    hy_inline_context c;
    void *value = NULL;

    HY_CHECK_EQ(hy_inline_context_prepare(&c, stack_of(0), STACK_BYTES,
                                          add_up_outside, &c,
                                          HY_INLINE_CONTEXT_LAYOUT_OUTER),
                0);
    for (uintptr_t i = 1; i <= 10; i++)
        value = hy_context_switch(&outer_home, (hy_context *)&c.sp, (void *)i);
    HY_CHECK_EQ((uintptr_t)value, 55);
}

/* --- many contexts, any order --------------------------------------------- */

static struct walker {
    hy_inline_context context;
    uint64_t state; /* what its function keeps in variables, once more */
    uint64_t steps;
    int wrong;
} walkers[MANY];

static uint64_t next(uint64_t x)
{
    return x * 6364136223846793005u + 1442695040888963407u;
}

/* Goes to that context, or home, at one of three places. */
static void *go(struct walker *me, struct walker *to, void *value)
{
    if (to == me)
        return value;
    switch (me->steps++ % 3) {
    case 0:
        return hy_inline_context_switch(&me->context, &to->context, value);
    case 1:
        return hy_inline_context_switch(&me->context, &to->context, value);
    default:
        return hy_inline_context_switch(&me->context, &home, value);
    }
}

static __attribute__((noinline)) void *deeper(struct walker *me, int depth,
                                              void *value)
{
    volatile uint64_t mark = me->state ^ (uint64_t)depth;

    if (depth == 0)
        value = go(me, &walkers[me->state >> 58], value);
    else
        value = deeper(me, depth - 1, value);
    me->wrong |= mark != (me->state ^ (uint64_t)depth);
    return value;
}

static void walk(void *arg, void *value)
{
    struct walker *me = (struct walker *)arg;
    uint64_t state = me->state;
    double sum = 0;

    for (uint64_t round = 0;; round++) {
        state = next(state);
        me->state = state;
        value = deeper(me, (int)(state >> 40 & 7), value);
        sum += 0.5;
        me->wrong |= state != me->state || sum != (double)(round + 1) / 2;
        me->wrong |= value != &home;
    }
}

HY_TEST(inline, contexts_run_in_any_order)
{
    uint64_t steps = 0, state = 1;

    for (int i = 0; i < MANY; i++) {
        walkers[i] = (struct walker){.state = (uint64_t)i};
        HY_CHECK_EQ(hy_inline_context_make(&walkers[i].context, stack_of(i),
                                           STACK_BYTES, walk, &walkers[i]),
                    0);
    }
    for (int i = 0; i < 2000; i++) {
        state = next(state);
        HY_CHECK(hy_inline_context_switch(&home, &walkers[state >> 58].context,
                                          &home) == &home);
    }
    for (int i = 0; i < MANY; i++) {
        HY_CHECK_MSG(!walkers[i].wrong, "context %d", i);
        steps += walkers[i].steps;
    }
    HY_CHECK(steps > 2000);
}

/* --- unwinding ------------------------------------------------------------ */

/* TSan hands signals over late; musl's programs come without an unwinder. */
#if HY_INLINE_CONTEXT_NATIVE && defined(__GLIBC__) && !defined(HYI_TSAN)

#if defined(RUNNING_ON_VALGRIND)
#define IS_EMULATED (RUNNING_ON_VALGRIND != 0)
#else
#define IS_EMULATED 0
#endif

#include <unwind.h>

static hy_inline_context there;
static void (*volatile ping)(int rounds);
static void (*volatile pong)(void *arg, void *value);

/* What one walk saw. */
struct sight {
    uintptr_t at;                /* the interrupted instruction */
    int at_ping, at_pong;        /* it lies in ping, in pong */
    int ping, pong, first, more; /* frames besides that one */
};

static uintptr_t first; /* where a made context begins */
static struct {
    uint64_t walks, blind, wrong;
} seen;

static _Unwind_Reason_Code look(struct _Unwind_Context *c, void *arg)
{
    struct sight *s = (struct sight *)arg;
    uintptr_t start = _Unwind_GetRegionStart(c);
    int before = 0;
    uintptr_t ip = _Unwind_GetIPInfo(c, &before);

    if (ip == 0)
        return _URC_NO_REASON;
    if (ip == s->at && before) {
        s->at_ping = start == (uintptr_t)ping;
        s->at_pong = start == (uintptr_t)pong;
        s->first = start == first;
        return _URC_NO_REASON;
    }
    s->more += s->first;
    s->ping += start == (uintptr_t)ping;
    s->pong += start == (uintptr_t)pong;
    s->first += start == first;
    return s->ping != 0 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

/* Checks one interruption; at and sp: of the interrupted code. */
static void walk_from(uintptr_t at, uintptr_t sp)
{
    int on_stack =
        sp >= (uintptr_t)stacks[0] && sp <= (uintptr_t)stacks[0] + STACK_BYTES;
    struct sight s = {.at = at};

    _Unwind_Backtrace(look, &s);
    seen.walks++;
    if (on_stack && s.at_ping && s.ping + s.pong + s.first == 0)
        seen.blind++;
    else if (!on_stack && s.at_pong && s.ping + s.pong == 0)
        seen.blind++;
    else if (on_stack)
        seen.wrong += s.first != 1 || s.more || s.ping || s.pong > 1;
    else
        seen.wrong += s.first || s.pong || (s.at_pong && !s.ping);
}

static void walk_here(const ucontext_t *u)
{
#if defined(__x86_64__)
    walk_from((uintptr_t)u->uc_mcontext.gregs[REG_RIP],
              (uintptr_t)u->uc_mcontext.gregs[REG_RSP]);
#else
    struct hy_arch_fault f;
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    hy_arch_fault_read(&f, &info, u);
    walk_from((uintptr_t)f.pc, (uintptr_t)f.sp);
#endif
}

static volatile int stepping;

/* The processor traps after each instruction from here on. */
static inline __attribute__((always_inline)) void step_begin(void)
{
#if defined(__x86_64__)
    if (stepping)
        __asm__ volatile("subq $128, %%rsp\n"
                         "pushfq\n"
                         "orl $0x100, (%%rsp)\n"
                         "popfq\n"
                         "addq $128, %%rsp\n" ::
                             : "cc", "memory");
#endif
}

static void ping_plain(int rounds)
{
    step_begin();
    for (int i = 0; i < rounds; i++)
        hy_inline_context_switch(&home, &there, NULL);
    stepping = 0;
}

static void pong_plain(void *arg, void *value)
{
    (void)arg;
    (void)value;
    for (;;)
        hy_inline_context_switch(&there, &home, NULL);
}

/* Frames that are found by the frame pointer, and the base pointer in use. */
static void ping_moving(int rounds)
{
    _Alignas(64) volatile char aligned[64];
    volatile char *block = __builtin_alloca((size_t)rounds);

    aligned[0] = 1;
    step_begin();
    for (int i = 0; i < rounds; i++) {
        hy_inline_context_switch(&home, &there, NULL);
        block[i] = aligned[0];
    }
    stepping = 0;
}

static void pong_moving(void *arg, void *value)
{
    _Alignas(64) volatile char aligned[64];
    volatile char *block = __builtin_alloca((size_t)arg);

    (void)value;
    aligned[0] = 1;
    for (size_t i = 0;; i++) {
        hy_inline_context_switch(&there, &home, NULL);
        block[i % (size_t)arg] = aligned[0];
    }
}

static void interrupt_with(int signal,
                           void (*handler)(int, siginfo_t *, void *),
                           struct sigaction *before)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_sigaction = handler;
    sa.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(signal, &sa, before);
    memset(&seen, 0, sizeof(seen));
}

static void play(int moving, int rounds)
{
    ping = moving ? ping_moving : ping_plain;
    pong = moving ? pong_moving : pong_plain;
    HY_CHECK_EQ(hy_inline_context_make(&there, stack_of(0), STACK_BYTES, pong,
                                       (void *)100),
                0);
    first = (uintptr_t)there.ip;
    ping(rounds);
}

static void on_timer(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    walk_here((const ucontext_t *)context);
}

HY_TEST(inline, stacks_unwind_when_signals_arrive)
{
    struct itimerval often = {{0, 100}, {0, 100}},
                     never_again = {{0, 0}, {0, 0}};
    struct sigaction before;
    uint64_t until = 300;

    if (IS_EMULATED) /* has signal frames of its own */
        return;
    interrupt_with(SIGALRM, on_timer, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 100000 && seen.walks < until; i++)
        play(i & 1, 1000);
    setitimer(ITIMER_REAL, &never_again, NULL);
    sigaction(SIGALRM, &before, NULL);
    HY_CHECK(seen.walks > 0);
    HY_CHECK_EQ(seen.wrong, 0);
#if defined(__x86_64__)
    HY_CHECK_EQ(seen.blind, 0);
#endif
}

#if defined(__x86_64__)

static void on_step(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = (ucontext_t *)context;

    (void)signal;
    (void)info;
    if (stepping)
        walk_here(u);
    else
        u->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
}

HY_TEST(inline, stacks_unwind_at_every_instruction)
{
    struct sigaction before;

    if (IS_EMULATED) /* does not trap */
        return;
    interrupt_with(SIGTRAP, on_step, &before);
    for (int moving = 0; moving < 2; moving++) {
        stepping = 1;
        play(moving, 10);
        HY_CHECK(seen.walks > 100);
        HY_CHECK_EQ(seen.wrong, 0);
        HY_CHECK_EQ(seen.blind, 0);
    }
    sigaction(SIGTRAP, &before, NULL);
}

#endif
#endif
