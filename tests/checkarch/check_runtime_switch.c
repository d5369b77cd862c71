/*
 * check_runtime_switch.c - hy_arch_switch and hy_arch_hop keep every register
 * that a called function must keep, each on its own, over many switches between
 * contexts that all fill them differently; a made context starts aligned, with
 * its arguments; values travel; and
 * hy_context_switch_fp_env keeps the rounding mode besides.
 */
#include <fenv.h>
#include <hyperion/context.h>
#include <stdint.h>

#include "annotate.h"
#include "arch.h"
#include "hy_test.h"

enum { REGISTERS = 19, CONTEXTS = 3, ROUNDS = 50, STACK_BYTES = 64 << 10 };

typedef void check_function(void **from, void *to, const uint64_t *in,
                            uint64_t *out);
check_function check_switch, check_hop;

struct flow {
    void *sp;
    uint64_t seed;
    int wrong; /* registers that came back changed, one bit each */
};

static struct flow flow[CONTEXTS], home;
static char stacks[CONTEXTS][STACK_BYTES] __attribute__((aligned(64)));
static int misaligned, wrong_argument;
static check_function *check = check_switch;

/* Switches with all registers full of values of the caller's own. */
static void probe(struct flow *me, struct flow *to)
{
    uint64_t in[REGISTERS], out[REGISTERS] = {0};
    int known = sizeof(void *) == 8 ? REGISTERS : 0;

#if defined(__x86_64__)
    known = 6;
#endif
    for (int i = 0; i < REGISTERS; i++) {
        me->seed = me->seed * 6364136223846793005u + 1442695040888963407u;
        in[i] = me->seed;
    }
    check(&me->sp, to->sp, in, out);
    for (int i = 0; i < known; i++)
        if (in[i] != out[i])
            me->wrong |= 1 << i;
}

static void go_round(void *arg, void *value)
{
    struct flow *me = arg;
    int index = (int)(me - flow);
    /* Its address shows whether the stack is aligned as the compiler needs. */
    _Alignas(16) volatile char here[16];

    misaligned |= ((uintptr_t)here & 15) != 0;
    wrong_argument |= value != NULL;
    for (;;)
        probe(me, index + 1 < CONTEXTS ? &flow[index + 1] : &home);
}

HY_TEST(check_switch, every_register_is_kept)
{
    struct hyi_stack_note notes[CONTEXTS];

    home.seed = 1;
    for (int i = 0; i < CONTEXTS; i++) {
        hyi_note_create(&notes[i], stacks[i], STACK_BYTES);
        flow[i].seed = (uint64_t)i + 2;
        flow[i].sp =
            hy_arch_context_make(stacks[i], STACK_BYTES, go_round, &flow[i]);
    }
    for (int i = 0; i < ROUNDS; i++)
        probe(&home, &flow[0]);
    HY_CHECK_EQ(home.wrong, 0);
    for (int i = 0; i < CONTEXTS; i++) {
        hyi_note_destroy(&notes[i]);
        HY_CHECK_EQ(flow[i].wrong, 0);
    }
    HY_CHECK_EQ(misaligned, 0);
    HY_CHECK_EQ(wrong_argument, 0);
}

/* Hops: a stack begins with a call of main, and ends by its return. */
static int beginning;

static void *hop_main(void)
{
    struct flow *me = &flow[beginning];
    _Alignas(16) volatile char here[16];

    misaligned |= ((uintptr_t)here & 15) != 0;
    for (int i = 0; i < ROUNDS; i++)
        probe(me, &home);
    return home.sp;
}

HY_TEST(check_switch, every_register_is_kept_over_hops)
{
    check = check_hop;
    for (beginning = 0; beginning < CONTEXTS; beginning++) {
        struct flow *f = &flow[beginning];

        *f = (struct flow){.seed = (uint64_t)beginning + 2};
        HY_CHECK(hy_arch_hop_prepare(stacks[beginning] + STACK_BYTES));
        hy_arch_hop(&home.sp, stacks[beginning] + STACK_BYTES, hop_main);
        for (int i = 0; i < ROUNDS; i++)
            probe(&home, f);
        HY_CHECK_EQ(f->wrong, 0);
    }
    check = check_switch;
    HY_CHECK_EQ(home.wrong, 0);
    HY_CHECK_EQ(misaligned, 0);
}

static void *main_sp, *echo_sp;

static void echo(void *arg, void *value)
{
    for (;;)
        value = hy_arch_switch(
            &echo_sp, main_sp,
            (void *)((uintptr_t)value + (uintptr_t) * (const int *)arg));
}

HY_TEST(check_switch, values_travel)
{
    static char stack[STACK_BYTES] __attribute__((aligned(64)));
    struct hyi_stack_note note;
    int step = 3;
    char *value = NULL;

    hyi_note_create(&note, stack, sizeof(stack));
    echo_sp = hy_arch_context_make(stack, STACK_BYTES, echo, &step);
    for (int i = 0; i < 10; i++)
        value = hy_arch_switch(&main_sp, echo_sp, value);
    hyi_note_destroy(&note);
    HY_CHECK_EQ((intptr_t)value, 30);
}

/* Uneven ends of a stack are evened. */
HY_TEST(check_switch, any_stack_end_will_do)
{
    static char stack[STACK_BYTES + 64] __attribute__((aligned(64)));
    struct hyi_stack_note note;

    hyi_note_create(&note, stack, sizeof(stack));
    for (int skew = 0; skew < 64; skew += 7) {
        flow[0].seed = 9;
        flow[0].sp = hy_arch_context_make(stack, STACK_BYTES + (size_t)skew,
                                          go_round, &flow[CONTEXTS - 1]);
        probe(&home, &flow[0]);
        HY_CHECK_EQ(misaligned, 0);
    }
    hyi_note_destroy(&note);
}

static hy_context env_home, env_there;

/* How 1/3 and -1/3 come out, in SSE and in x87: different for each rounding. */
static int rounding_of_results(void)
{
    volatile double one = 1, minus = -1, three = 3;
    volatile long double wide = 1;
    int up = one / three > 0.33333333333333331,
        down = minus / three < -0.33333333333333331;

    if (up && !down)
        return wide / three * three > 1 ? FE_UPWARD : -1;
    if (!up && down)
        return wide / three * three < 1 ? FE_DOWNWARD : -1;
    return -1;
}

/* Valgrind keeps the mode and rounds to nearest: there the mode alone counts.
 */
static bool results_follow;

static int rounding_now(void)
{
    int mode = fegetround();

    return !results_follow || rounding_of_results() == mode ? mode : -1;
}

static void round_up(void *arg, void *value)
{
    int *wrong = (int *)arg;

    (void)value;
    fesetround(FE_UPWARD);
    for (;;) {
        hy_context_switch_fp_env(&env_there, &env_home, NULL);
        *wrong += rounding_now() != FE_UPWARD;
    }
}

HY_TEST(check_switch, rounding_is_kept_where_wanted)
{
    static char stack[STACK_BYTES] __attribute__((aligned(64)));
    int before = fegetround(), wrong = 0, mine = 0;
    struct hyi_stack_note note;

    HY_CHECK_EQ(
        hy_context_make(&env_there, stack, STACK_BYTES, round_up, &wrong), 0);
    hyi_note_create(&note, stack, sizeof(stack));
    fesetround(FE_UPWARD);
    results_follow = rounding_of_results() == FE_UPWARD;
    fesetround(FE_DOWNWARD);
    for (int i = 0; i < 10; i++) {
        hy_context_switch_fp_env(&env_home, &env_there, NULL);
        mine += rounding_now() != FE_DOWNWARD;
    }
    hy_context_switch(&env_home, &env_there,
                      NULL); /* the plain one resumes it */
    fesetround(before);
    hyi_note_destroy(&note);
    HY_CHECK_EQ(wrong, 0);
    HY_CHECK_EQ(mine, 0);
}
