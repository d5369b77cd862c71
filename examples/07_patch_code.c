/*
 * 07_patch_code.c - a branch that costs nothing until it is switched on.
 *
 * A loop adds up orders; an audit that is off by default sits in the middle of
 * it. The program times the loop with the audit as a patch site, as a test of
 * a variable, and not there at all; then it switches the audit while another
 * thread runs the loop, and shows how long that took.
 */
#include <hyperion/hyperion.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ORDERS = 4096, ROUNDS = 400 };

HY_PATCH_DEFINE(audit, 0); /* at file scope; HY_PATCH_DECLARE elsewhere */

static volatile int audit_variable;
static uint32_t orders[ORDERS];
static _Atomic uint64_t audited;
static atomic_int started, stop;

__attribute__((noinline)) static void write_record(uint32_t order)
{
    if (order != 0)
        atomic_fetch_add_explicit(&audited, 1, memory_order_relaxed);
}

#define LOOP(name, condition)                                                  \
    __attribute__((noinline)) static uint64_t name(void)                       \
    {                                                                          \
        uint64_t sum = 0;                                                      \
                                                                               \
        for (int i = 0; i < ORDERS; i++) {                                     \
            sum = (sum ^ orders[i]) * 3;                                       \
            if (condition)                                                     \
                write_record(orders[i]);                                       \
        }                                                                      \
        return sum;                                                            \
    }

LOOP(with_site, HY_PATCH_IF(audit))
LOOP(with_variable, __builtin_expect(audit_variable, 0))
LOOP(without, 0)

/* The least time of one pass through the loop body, in nanoseconds. */
static double time_of(uint64_t (*loop)(void))
{
    uint64_t best = UINT64_MAX;
    volatile uint64_t sink;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = hy_now(), took;

        sink = loop();
        took = hy_now() - start;
        best = took < best ? took : best;
    }
    (void)sink;
    return (double)best / ORDERS;
}

static void *run(void *arg)
{
    (void)arg;
    atomic_store(&started, 1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        with_site();
    return NULL;
}

int main(void)
{
    static const char *const ways[] = {"load and branch", "store", "remap"};
    hy_patch_stats stats = {.size = sizeof(stats)};
    pthread_t thread;
    int r = 0;

    for (int i = 0; i < ORDERS; i++)
        orders[i] = (uint32_t)i + 1;
    printf("code is rewritten by: %s\n", ways[hy_patch_caps()]);
    printf("no audit     %.2f ns an order\n", time_of(without));
    printf("site, off    %.2f\n", time_of(with_site));
    printf("variable     %.2f\n", time_of(with_variable));

    if (pthread_create(&thread, NULL, run, NULL) != 0)
        return 1;
    while (!atomic_load(&started))
        ;
    for (int i = 1; i <= 1000 && r == 0; i++) {
        r = hy_patch_switch(&audit, i & 1);
        with_site();
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    if (r != 0) {
        fprintf(stderr, "hy_patch_switch: error %d\n", r);
        return 1;
    }
    hy_patch_stats_get(&stats);
    printf("switched %llu times under a running thread, %llu orders audited; "
           "the last switch took %.1f us\n",
           (unsigned long long)stats.switches, (unsigned long long)audited,
           (double)stats.switch_last_ns / 1000);
    return 0;
}
