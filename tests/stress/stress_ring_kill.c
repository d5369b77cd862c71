/*
 * stress_ring_kill.c - a ring between two processes that are killed, one or the
 * other, at any moment, and replaced: at a random time, and every second one at
 * a random instruction after that.
 *
 *      stress_ring_kill [KILLS [SEED]]        200 kills; for longer by hand
 *
 *      supervisor --SIGKILL--> producer ==ring==> consumer <--SIGKILL--
 * supervisor
 *                                  \___ board ___/
 *
 * Each item is its number, scrambled words, and their sum. The sides tell the
 * board, after each call that returned, what it did; a replacement compares
 * that with what the ring says. What must hold at each replacement:
 *      - what a push reported is in, and at most one call's items more;
 *      - what a pop reported does not come again, and at most one call's items
 *        are gone with the consumer, or, of a span that was not released, come
 *        again;
 *      - every item that comes is the next one, whole;
 *      - no side sleeps for ever.
 */
#include <errno.h>
#include <hyperion/ring.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ring_layout.h"

enum { WORDS = 5, CAPACITY = 16, BATCH = 7, KILLS = 200, AIM_STEPS = 3000 };
#define PATIENCE_NS UINT64_C(10000000000)

struct item {
    uint64_t word[WORDS];
};

/* One writer each, but for line. */
struct board {
    _Atomic int line; /* of the first thing that was wrong; 0: nothing */
    _Atomic long long got;
    _Atomic int stop;
    _Atomic uint64_t reported; /* items pushed, by calls that returned */
    _Atomic uint64_t taken;    /* items popped, likewise */
    _Atomic uint64_t seen;     /* of these, or of a span: looked at */
    _Atomic uint64_t unreported_pushes, unreported_pops, again, told;
};

static hy_ring *ring;
static struct board *board;
static uint64_t stepped; /* instructions */
static uint64_t between; /* kills with the index moved and not published */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void expect_at(int good, long long got, int line)
{
    int none = 0;

    if (good)
        return;
    if (atomic_compare_exchange_strong(&board->line, &none, line))
        atomic_store(&board->got, got);
    _exit(1);
}

#define EXPECT(good, got) expect_at((good), (long long)(got), __LINE__)

static void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store(counter, atomic_load(counter) + by);
}

static hy_ring_stats stats_of_ring(void)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    return s;
}

static void fill(struct item *item, uint64_t number)
{
    uint64_t sum = item->word[0] = number;

    for (int i = 1; i < WORDS - 1; i++)
        sum += item->word[i] = (number + (uint64_t)i) * 0x9e3779b97f4a7c15u;
    item->word[WORDS - 1] = sum;
}

static void check(const struct item *item, uint64_t number)
{
    struct item wanted;

    fill(&wanted, number);
    EXPECT(item->word[0] == number, item->word[0] - number);
    EXPECT(memcmp(item, &wanted, sizeof(wanted)) == 0, number);
}

/* Of a call that waited. */
static int is_over(int r, hy_deadline until)
{
    EXPECT(r == 0 || r == -EOWNERDEAD || r == -EPIPE, r);
    EXPECT(hy_now() < until, r);
    if (r == -EOWNERDEAD)
        count(&board->told, 1);
    return r == 0;
}

/* --- the producer --------------------------------------------------------- */

static uint64_t push_span(uint64_t next, size_t want)
{
    size_t got;
    struct item *span = hy_ring_reserve(ring, want, &got);

    for (size_t i = 0; i < got; i++)
        fill(&span[i], next + i);
    hy_ring_commit(ring, got);
    return got;
}

/* One way of pushing; returns how many went in. */
static uint64_t push_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    struct item items[BATCH];
    size_t want = 1 + (size_t)(way >> 8) % BATCH;

    if (way % 4 == 0)
        return push_span(next, want);
    for (size_t i = 0; i < want; i++)
        fill(&items[i], next + i);
    if (way % 4 == 1)
        return hy_ring_push_n(ring, items, want);
    if (way % 8 == 2)
        return hy_ring_push_mp_n(ring, items, want);
    if (way % 16 != 3)
        return hy_ring_push(ring, items) == 0;
    return (uint64_t)is_over(hy_ring_push_wait(ring, items, until), until);
}

static void produce(uint64_t seed)
{
    uint64_t next, reported = atomic_load(&board->reported);
    int r = hy_ring_claim(ring, HY_RING_PRODUCER);

    EXPECT(r == 0, r);
    next = stats_of_ring().pushed;
    EXPECT(next - reported <= BATCH, next - reported);
    count(&board->unreported_pushes, next != reported);
    for (;;) {
        atomic_store(&board->reported, next);
        if (atomic_load(&board->stop))
            break;
        next += push_somehow(random_next(&seed), next);
    }
    hy_ring_close(ring);
}

/* --- the consumer --------------------------------------------------------- */

static uint64_t pop_span(uint64_t next)
{
    size_t count_of = 0;
    const struct item *span = hy_ring_peek(ring, &count_of);

    if (count_of > BATCH)
        count_of = BATCH;
    for (size_t i = 0; i < count_of; i++) {
        check(&span[i], next + i);
        atomic_store(&board->seen, next + i + 1);
    }
    hy_ring_release(ring, count_of);
    return count_of;
}

/* One way of popping; returns how many came out. */
static uint64_t pop_somehow(uint64_t way, uint64_t next)
{
    hy_deadline until = hy_after(PATIENCE_NS);
    struct item items[BATCH];
    uint64_t n;

    if (way % 4 == 0)
        return pop_span(next);
    if (way % 4 == 1)
        n = hy_ring_pop_n(ring, items, 1 + (size_t)(way >> 8) % BATCH);
    else if (way % 16 != 3)
        n = hy_ring_pop(ring, items) == 0;
    else
        n = (uint64_t)is_over(hy_ring_pop_wait(ring, items, until), until);
    for (uint64_t i = 0; i < n; i++)
        check(&items[i], next + i);
    return n;
}

static void consume(uint64_t seed)
{
    uint64_t next, taken = atomic_load(&board->taken), seen;
    struct item item;
    int r = hy_ring_claim(ring, HY_RING_CONSUMER);

    EXPECT(r == 0, r);
    next = stats_of_ring().popped;
    EXPECT(next - taken <= BATCH, next - taken);
    count(&board->unreported_pops, next != taken);
    seen = atomic_load(&board->seen);
    if (seen > next) {
        EXPECT(seen - next <= BATCH, seen - next);
        count(&board->again, seen - next);
    }
    do {
        atomic_store(&board->taken, next);
        next += pop_somehow(random_next(&seed), next);
    } while (hy_ring_state(ring) != -EPIPE);
    while ((r = hy_ring_pop(ring, &item)) == 0)
        check(&item, next++);
    EXPECT(r == -EPIPE, r);
    atomic_store(&board->taken, next);
}

/* --- the supervisor ------------------------------------------------------- */

static pid_t start(int side, uint64_t seed)
{
    pid_t child = fork();

    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        (side == 0 ? produce : consume)(seed);
        _exit(0);
    }
    return child;
}

/* How a child ended; 0 is well. */
static int end_of(pid_t child, const char *who)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0)
        ;
    if (atomic_load(&board->line) != 0)
        printf("%s: line %d, got %lld\n", who, atomic_load(&board->line),
               atomic_load(&board->got));
    return status;
}

/* The state of a traced child that has stopped; false when it does not soon: it
 * waits in the kernel. */
static int has_stopped(pid_t child)
{
    hy_deadline until = hy_after(20000000);
    int status, r;

    while ((r = waitpid(child, &status, WNOHANG | __WALL)) == 0 &&
           hy_now() < until)
        sched_yield();
    return r == child && WIFSTOPPED(status);
}

/* The side, which has stopped, is between its own index and the published. */
static int is_between(int side)
{
    return side == 0 ? ring->producer.tail != atomic_load(&ring->tail)
                     : ring->consumer.head != atomic_load(&ring->head);
}

/*
 * On by so many instructions, so that those are hit, too, between which no time
 * passes; or, every second time, until it is where least of all it should be
 * killed. Does nothing where processes may not be traced.
 */
static void step(pid_t child, int side, uint64_t steps)
{
    int aims = steps % 2 == 0;

    if (aims)
        steps = AIM_STEPS;
    if (ptrace(PTRACE_SEIZE, child, NULL, NULL) != 0 ||
        ptrace(PTRACE_INTERRUPT, child, NULL, NULL) != 0)
        return;
    for (uint64_t i = 0; i < steps && has_stopped(child); i++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
            return;
        stepped++;
        if (aims && is_between(side)) {
            between++;
            return;
        }
    }
}

static void sleep_ns(uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

    nanosleep(&ts, NULL);
}

/* Kills one side, and starts another; now and then late, so that the survivor
 * learns of it. 0, or 1 when something was wrong. */
static int kill_one(pid_t child[2], uint64_t random)
{
    int side = (int)(random >> 60) % 2, status;

    sleep_ns((random >> 8) % 400000);
    if ((random >> 40) % 2 == 0)
        step(child[side], side, (random >> 44) % 512);
    kill(child[side], SIGKILL);
    status = end_of(child[side], side == 0 ? "producer" : "consumer");
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        return 1;
    if ((random >> 32) % 128 == 0)
        sleep_ns(40000000);
    child[side] = start(side, random | 1);
    return 0;
}

static int make(void)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;

    o.item_bytes = sizeof(struct item);
    o.capacity = CAPACITY;
    o.flags = HY_RING_SHARED;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -ENOMEM : hy_ring_create(&ring, &o);
}

static void report(unsigned long kills, uint64_t took_ns)
{
    hy_ring_stats s = stats_of_ring();

    printf("%lu kills in %.1f s: %llu items, none torn, lost, or twice;\n"
           "%llu pushes and %llu pops were killed between their end and their "
           "report, %llu items of spans came again;\n"
           "%llu single steps, %llu kills before the index was published;\n"
           "a death was told %llu times; sleeps %llu and "
           "%llu, wakes %llu and "
           "%llu\n",
           kills, (double)took_ns / 1e9, (unsigned long long)s.pushed,
           (unsigned long long)board->unreported_pushes,
           (unsigned long long)board->unreported_pops,
           (unsigned long long)board->again, (unsigned long long)stepped,
           (unsigned long long)between, (unsigned long long)board->told,
           (unsigned long long)s.push_parks, (unsigned long long)s.pop_parks,
           (unsigned long long)s.push_wakes, (unsigned long long)s.pop_wakes);
}

int main(int argc, char **argv)
{
    unsigned long kills = argc > 1 ? strtoul(argv[1], NULL, 10) : KILLS, i;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 88172645463325;
    uint64_t start_ns = hy_now(), pushed;
    pid_t child[2];
    int bad = 0;

    if (make() != 0)
        return 2;
    child[0] = start(0, 3);
    child[1] = start(1, 5);
    for (i = 0; i < kills && bad == 0 && atomic_load(&board->line) == 0; i++)
        bad = kill_one(child, random_next(&seed));
    atomic_store(&board->stop, 1);
    if (bad != 0 || atomic_load(&board->line) != 0) {
        printf("after %lu kills\n", i);
        kill(child[0], SIGKILL);
        kill(child[1], SIGKILL);
    }
    bad |= end_of(child[0], "producer") | end_of(child[1], "consumer");
    pushed = stats_of_ring().pushed;
    if (bad == 0 && atomic_load(&board->taken) != pushed) {
        printf("%llu pushed, %llu popped\n", (unsigned long long)pushed,
               (unsigned long long)atomic_load(&board->taken));
        bad = 1;
    }
    if (bad == 0)
        report(kills, hy_now() - start_ns);
    hy_ring_destroy(ring);
    return bad != 0;
}
