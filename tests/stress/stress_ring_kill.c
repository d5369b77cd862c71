/*
 * stress_ring_kill.c - a ring between two processes that are killed, one or the
 * other, at any moment, and replaced: at a random time, and every second one at
 * a random instruction after that.
 *
 *      stress_ring_kill [items|records [KILLS [SEED]]]
 *
 *                 ________________ supervisor ________________
 *      SIGKILL   v                                            v   SIGKILL
 *             producer ========= ring of a kind =========> consumer
 *                 \_________________ board _________________/
 *
 * 200 kills; for longer by hand. Each item follows from its number. The sides
 * tell the board, after each call that returned, what it did; a replacement
 * compares that with what the ring says. What must hold at each replacement:
 *      - what a push reported is in, and at most one call's items more;
 *      - what a pop reported does not come again, and at most one call's items
 *        are gone with the consumer, or, of a span that was not released, come
 *        again;
 *      - every item that comes is the next one, whole;
 *      - no side sleeps for ever.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ring_kill.h"
#include "ring_layout.h"

enum { KILLS = 200, AIM_STEPS = 3000 };

struct board *board;

static const struct kind *kind = &kill_items;
static const hy_ring *ring;
static uint64_t stepped; /* instructions */
static uint64_t between; /* kills with the index moved and not published */

/* --- both sides ----------------------------------------------------------- */

uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void expect_at(int good, long long got, const char *file, int line)
{
    int none = 0;

    if (good)
        return;
    if (atomic_compare_exchange_strong(&board->line, &none, line)) {
        atomic_store(&board->file, file);
        atomic_store(&board->got, got);
    }
    _exit(1);
}

void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store(counter, atomic_load(counter) + by);
}

int is_over(int r, hy_deadline until)
{
    EXPECT(r == 0 || r == -EOWNERDEAD || r == -EPIPE, r);
    EXPECT(hy_now() < until, r);
    if (r == -EOWNERDEAD)
        count(&board->told, 1);
    return r == 0;
}

void check_pushed(uint64_t in)
{
    uint64_t reported = atomic_load(&board->reported);

    EXPECT(in - reported <= BATCH, in - reported);
    count(&board->unreported_pushes, in != reported);
}

void check_popped(uint64_t out)
{
    uint64_t taken = atomic_load(&board->taken);
    uint64_t seen = atomic_load(&board->seen);

    EXPECT(out - taken <= BATCH, out - taken);
    count(&board->unreported_pops, out != taken);
    if (seen > out) {
        EXPECT(seen - out <= BATCH, seen - out);
        count(&board->again, seen - out);
    }
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
        (side == 0 ? kind->produce : kind->consume)(seed);
        _exit(0);
    }
    return child;
}

/* How a child ended; 0 is well. One that ended while it was stepped is gone. */
static int end_of(pid_t child, const char *who)
{
    int status = 0, r;

    do
        r = waitpid(child, &status, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        status = -1;
    if (atomic_load(&board->line) != 0)
        printf("%s: %s:%d, got %lld\n", who, atomic_load(&board->file),
               atomic_load(&board->line), atomic_load(&board->got));
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

static void report(unsigned long kills, uint64_t took_ns)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    printf("%lu kills in %.1f s: %llu %s, none torn, lost, or twice;\n"
           "%llu pushes and %llu pops were killed between their end and their "
           "report, %llu %s of spans came again;\n"
           "%llu single steps, %llu kills before the index was published;\n"
           "a death was told %llu times; sleeps %llu and %llu, wakes %llu and "
           "%llu\n",
           kills, (double)took_ns / 1e9, (unsigned long long)board->taken,
           kind->items, (unsigned long long)board->unreported_pushes,
           (unsigned long long)board->unreported_pops,
           (unsigned long long)board->again, kind->items,
           (unsigned long long)stepped, (unsigned long long)between,
           (unsigned long long)board->told, (unsigned long long)s.push_parks,
           (unsigned long long)s.pop_parks, (unsigned long long)s.push_wakes,
           (unsigned long long)s.pop_wakes);
}

/* All that went in came out. */
static int check_end(void)
{
    uint64_t taken = atomic_load(&board->taken);
    uint64_t tail = atomic_load(&ring->tail);

    if (kind->index_of(taken) == tail)
        return 0;
    printf("%llu popped, at %llu of %llu\n", (unsigned long long)taken,
           (unsigned long long)kind->index_of(taken), (unsigned long long)tail);
    return 1;
}

static int kill_many(unsigned long kills, uint64_t seed)
{
    uint64_t start_ns = hy_now();
    pid_t child[2] = {start(0, 3), start(1, 5)};
    unsigned long i;
    int bad = 0;

    for (i = 0; i < kills && bad == 0 && atomic_load(&board->line) == 0; i++)
        bad = kill_one(child, random_next(&seed));
    atomic_store(&board->stop, 1);
    if (bad != 0 || atomic_load(&board->line) != 0) {
        printf("after %lu kills\n", i);
        kill(child[0], SIGKILL);
        kill(child[1], SIGKILL);
    }
    bad |= end_of(child[0], "producer") | end_of(child[1], "consumer");
    if (bad == 0)
        bad = check_end();
    if (bad == 0)
        report(kills, hy_now() - start_ns);
    return bad != 0;
}

int main(int argc, char **argv)
{
    unsigned long kills = argc > 2 ? strtoul(argv[2], NULL, 10) : KILLS;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 88172645463325;
    int bad;

    if (argc > 1 && strcmp(argv[1], kill_records.name) == 0)
        kind = &kill_records;
    else if (argc > 1 && strcmp(argv[1], kill_items.name) != 0)
        return 2;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ring = board == MAP_FAILED ? NULL : kind->make();
    if (ring == NULL)
        return 2;
    bad = kill_many(kills, seed);
    kind->destroy();
    return bad;
}
