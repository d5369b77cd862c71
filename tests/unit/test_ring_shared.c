/*
 * test_ring_shared.c - a ring between processes: payload, sleep and wake, whose
 * a side is, and what the next owner of a side finds when the last one was
 * killed at each step that matters.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include <hyperion/ring.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "park.h"
#include "process.h"
#include "ring_layout.h"

/* Long against any scheduling delay, short against a test's patience. */
#define PATIENCE_NS UINT64_C(20000000000)

enum { BOTH = HY_RING_PRODUCER | HY_RING_CONSUMER };

/* What processes tell one another beside the ring. */
struct board {
    _Atomic int step, result;
    _Atomic uint64_t count;
};

struct area {
    hy_ring *ring;
    struct board *board;
    uint64_t count;
};

static struct board *make_board(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    HY_CHECK(p != MAP_FAILED);
    return p;
}

static hy_ring *make(size_t item_bytes, size_t capacity, unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = NULL;

    o.item_bytes = item_bytes;
    o.capacity = capacity;
    o.flags = HY_RING_SHARED | flags;
    HY_CHECK_EQ(hy_ring_create(&ring, &o), 0);
    return ring;
}

static struct area make_area(size_t capacity, uint64_t count)
{
    struct area a = {make(8, capacity, 0), make_board(), count};

    return a;
}

static void end_area(struct area *a)
{
    hy_ring_destroy(a->ring);
    munmap(a->board, 4096);
}

static hy_ring_stats stats_of(const hy_ring *ring)
{
    hy_ring_stats s = {.size = sizeof(s)};

    hy_ring_stats_get(ring, &s);
    return s;
}

static uint64_t scramble(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15u + 1;
}

/* A child that runs beside; its end is waited for with end_of. */
static pid_t start(void (*function)(struct area *), struct area *a)
{
    pid_t child;

    fflush(stdout);
    fflush(stderr);
    child = fork();
    HY_CHECK(child >= 0);
    if (child == 0) {
        hy_test_expect_no_leaks();
        function(a);
        _exit(0);
    }
    return child;
}

static int end_of(pid_t child)
{
    int status = -1;

    while (waitpid(child, &status, 0) < 0)
        ;
    return status;
}

static void wait_for(const _Atomic int *step, int value)
{
    uint64_t until = hyi_os_now() + PATIENCE_NS;

    while (atomic_load(step) != value && hyi_os_now() < until)
        sched_yield();
}

static void wait_for_sleeper(const _Atomic uintptr_t *word)
{
    static const _Atomic uint32_t never = 0;
    uint64_t until = hyi_os_now() + PATIENCE_NS;

    while ((atomic_load(word) & HYI_RING_SLEEPS) == 0 && hyi_os_now() < until)
        sched_yield();
    /* From the bit to the system call. */
    hyi_os_futex_wait(&never, 0, hyi_os_now() + 2000000, false);
}

/* --- moving items --------------------------------------------------------- */

static void push_count(struct area *a)
{
    int r = 0;

    for (uint64_t i = 0; i < a->count && r == 0; i++) {
        uint64_t item = scramble(i);

        r = hy_ring_push_wait(a->ring, &item, hy_after(PATIENCE_NS));
    }
    hy_ring_close(a->ring);
    atomic_store(&a->board->result, r);
}

static void check_transfer(size_t capacity, uint64_t count)
{
    struct area a = make_area(capacity, count);
    pid_t child = start(push_count, &a);
    uint64_t item = 0, i = 0;
    hy_ring_stats s;
    int r;

    while ((r = hy_ring_pop_wait(a.ring, &item, hy_after(PATIENCE_NS))) == 0 &&
           item == scramble(i))
        i++;
    HY_CHECK_EQ(end_of(child), 0);
    HY_CHECK_EQ(r, -EPIPE);
    HY_CHECK_EQ(atomic_load(&a.board->result), 0);
    HY_CHECK_EQ(i, count);
    s = stats_of(a.ring);
    HY_CHECK_EQ(s.fenced, 1);
    HY_CHECK_EQ(s.pushed, count);
    HY_CHECK(s.push_wakes <= s.pop_parks);
    HY_CHECK(s.pop_wakes <= s.push_parks);
    end_area(&a);
}

HY_TEST(ring_shared, a_child_s_items_arrive_in_order)
{
    check_transfer(1, 3000);
    check_transfer(64, 30000);
}

/* Each item finds the consumer asleep: one park, one wake, and no wake while
 * nobody sleeps. */
static void pop_until_closed(struct area *a)
{
    uint64_t item, i = 0;
    int r;

    while ((r = hy_ring_pop_wait(a->ring, &item, HY_FOREVER)) == 0 &&
           item == scramble(i))
        i++;
    atomic_store(&a->board->count, i);
    atomic_store(&a->board->result, r);
}

HY_TEST(ring_shared, there_is_one_wake_for_each_sleep_and_none_else)
{
    struct area a = make_area(256, 0);
    pid_t child = start(pop_until_closed, &a);
    uint64_t item, n = 0;
    hy_ring_stats s;

    for (; n < 20; n++) {
        wait_for_sleeper(&a.ring->reader);
        item = scramble(n);
        HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    }
    wait_for_sleeper(&a.ring->reader);
    s = stats_of(a.ring);
    /* One that was just looking around took itself out. */
    HY_CHECK(s.push_wakes <= 20 && s.push_wakes >= 15);
    HY_CHECK(s.pop_parks >= 21);
    hy_ring_close(a.ring);
    HY_CHECK_EQ(end_of(child), 0);
    HY_CHECK_EQ(atomic_load(&a.board->result), -EPIPE);
    HY_CHECK_EQ(atomic_load(&a.board->count), n);
    /* Nobody sleeps: nobody is woken. */
    end_area(&a);
    a = make_area(64, 0);
    for (int round = 0; round < 100; round++) {
        for (n = 0; n < 64; n++)
            HY_CHECK_EQ(hy_ring_push(a.ring, &n), 0);
        for (n = 0; n < 64; n++)
            HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    }
    s = stats_of(a.ring);
    HY_CHECK_EQ(s.push_wakes + s.pop_wakes + s.push_parks + s.pop_parks, 0);
    HY_CHECK_EQ(atomic_load(&a.ring->reader_bell), 0);
    end_area(&a);
}

HY_TEST(ring_shared, nothing_in_it_is_an_address)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *here = NULL, *there = NULL;
    size_t bytes = 0, page = hyi_os_page_bytes(), got;
    void *one, *two;
    uint64_t item = 7;
    int fd;

    o.item_bytes = 8;
    o.capacity = 16;
    o.flags = HY_RING_SHARED;
    HY_CHECK_EQ(hy_ring_placement(&bytes, &o), 0);
    bytes = (bytes + page - 1) / page * page;
    HY_CHECK_EQ(hyi_os_memory_file(&fd, "ring", bytes), 0);
    HY_CHECK_EQ(hyi_os_map_file(&one, fd, 0, bytes, 3, true), 0);
    HY_CHECK_EQ(hyi_os_map_file(&two, fd, 0, bytes, 3, true), 0);
    HY_CHECK_EQ(hy_ring_init(&here, one, bytes, &o), 0);
    HY_CHECK_EQ(hy_ring_attach(&there, two, bytes), 0);
    HY_CHECK_EQ(hy_ring_push(here, &item), 0);
    HY_CHECK_EQ(hy_ring_push(here, &item), 0);
    item = 0;
    HY_CHECK_EQ(hy_ring_pop(there, &item), 0);
    HY_CHECK_EQ(item, 7);
    HY_CHECK(hy_ring_peek(there, &got) != NULL && got == 1);
    hy_ring_release(there, 1);
    HY_CHECK_EQ(hy_ring_state(here), -EAGAIN);
    hy_ring_destroy(here);
    HY_CHECK_EQ(hy_ring_attach(&there, two, bytes), -EBADMSG);
    munmap(one, bytes);
    munmap(two, bytes);
    close(fd);
}

/* --- whose a side is ------------------------------------------------------ */

static void own_until_told(struct area *a)
{
    uint64_t item = 1;

    atomic_store(&a->board->result, hy_ring_push(a->ring, &item));
    atomic_store(&a->board->step, 1);
    wait_for(&a->board->step, 2);
    hy_ring_detach(a->ring, HY_RING_PRODUCER);
    atomic_store(&a->board->step, 3);
    wait_for(&a->board->step, 4);
}

HY_TEST(ring_shared, a_second_producer_is_refused_and_loses_nothing)
{
    struct area a = make_area(4, 0);
    pid_t child = start(own_until_told, &a);
    uint64_t item = 2, pid = 0;

    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_CONSUMER, &pid), -ESRCH);
    wait_for(&a.board->step, 1);
    HY_CHECK_EQ(atomic_load(&a.board->result), 0);
    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_PRODUCER, &pid), 0);
    HY_CHECK_EQ(pid, child);
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), -EBUSY);
    HY_CHECK_EQ(hy_ring_push_wait(a.ring, &item, HY_FOREVER), -EBUSY);
    HY_CHECK_EQ(hy_ring_push_n(a.ring, &item, 1), 0);
    HY_CHECK(hy_ring_reserve(a.ring, 1, NULL) == NULL);
    hy_ring_commit(a.ring, 1);
    HY_CHECK_EQ(hy_ring_claim(a.ring, BOTH), -EBUSY);
    HY_CHECK_EQ(hy_ring_recover(a.ring, HY_RING_PRODUCER), -EBUSY);
    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_CONSUMER, &pid), -ESRCH);
    HY_CHECK_EQ(hy_ring_count(a.ring), 1);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(item, 1);
    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_CONSUMER, &pid), 0);
    HY_CHECK_EQ(pid, getpid());
    HY_CHECK_EQ(hy_ring_recover(a.ring, HY_RING_CONSUMER), -EBUSY);
    atomic_store(&a.board->step, 2);
    wait_for(&a.board->step, 3);
    item = 3;
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    atomic_store(&a.board->step, 4);
    HY_CHECK_EQ(end_of(child), 0);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(item, 3);
    end_area(&a);
}

static void take_from_parent(struct area *a)
{
    uint64_t item = 9;
    size_t n = 1;
    int r = hy_ring_pop(a->ring, &item);

    if (r == -EBUSY && hy_ring_pop_n(a->ring, &item, 1) == 0 &&
        hy_ring_peek(a->ring, &n) == NULL && n == 0)
        hy_ring_release(a->ring, 1);
    atomic_store(&a->board->result, r);
}

HY_TEST(ring_shared, a_child_is_not_its_parent)
{
    struct area a = make_area(4, 0);
    uint64_t item = 1;
    size_t n;

    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    HY_CHECK(hy_ring_peek(a.ring, &n) != NULL);
    HY_CHECK_EQ(end_of(start(take_from_parent, &a)), 0);
    HY_CHECK_EQ(atomic_load(&a.board->result), -EBUSY);
    HY_CHECK_EQ(hy_ring_count(a.ring), 1);
    HY_CHECK_EQ(hy_ring_detach(a.ring, BOTH), 0);
    HY_CHECK_EQ(end_of(start(take_from_parent, &a)), 0);
    HY_CHECK_EQ(atomic_load(&a.board->result), 0);
    end_area(&a);
}

HY_TEST(ring_shared, bad_calls_are_named)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    hy_ring *ring = make(8, 4, 0), *own = NULL;

    o.item_bytes = o.capacity = 8;
    HY_CHECK_EQ(hy_ring_create(&own, &o), 0);
    HY_CHECK_EQ(hy_ring_claim(NULL, BOTH), -EINVAL);
    HY_CHECK_EQ(hy_ring_claim(ring, 0), -EINVAL);
    HY_CHECK_EQ(hy_ring_claim(ring, 4), -EINVAL);
    HY_CHECK_EQ(hy_ring_claim(own, BOTH), -EINVAL);
    HY_CHECK_EQ(hy_ring_detach(own, BOTH), -EINVAL);
    HY_CHECK_EQ(hy_ring_detach(ring, 0), -EINVAL);
    HY_CHECK_EQ(hy_ring_owner(ring, BOTH, NULL), -EINVAL);
    HY_CHECK_EQ(hy_ring_owner(own, HY_RING_PRODUCER, NULL), -EINVAL);
    HY_CHECK_EQ(hy_ring_recover(ring, BOTH), -EINVAL);
    HY_CHECK_EQ(hy_ring_recover(own, HY_RING_PRODUCER), -EINVAL);
    HY_CHECK_EQ(hy_ring_recover(ring, HY_RING_PRODUCER), 0);
    HY_CHECK_EQ(hy_ring_claim(ring, BOTH), 0);
    HY_CHECK_EQ(hy_ring_claim(ring, BOTH), 0);
    hy_ring_destroy(ring);
    hy_ring_destroy(own);
    hy_fail_at(HY_FAIL_MMAP, 1, ENOMEM);
    o.flags = HY_RING_SHARED;
    errno = 77;
    own = NULL;
    HY_CHECK_EQ(hy_ring_create(&own, &o), -ENOMEM);
    HY_CHECK_EQ(errno, 77);
    HY_CHECK(own == NULL);
    hy_fail_none();
}

/* A process whose number means nothing here is never taken for dead. */
HY_TEST(ring_shared, an_owner_of_another_space_is_left_alone_until_recovered)
{
    hy_ring *ring = make(8, 4, 0);
    uint64_t item = 1, pid = 0;

    if (ring->space == 0) /* this system does not tell */
        return;
    atomic_store(&ring->producer.owner, HYI_RING_FOREIGN | UINT32_MAX);
    HY_CHECK_EQ(hy_ring_push(ring, &item), -EBUSY);
    HY_CHECK_EQ(hy_ring_owner(ring, HY_RING_PRODUCER, &pid), -EXDEV);
    HY_CHECK_EQ(hy_ring_recover(ring, HY_RING_PRODUCER), 0);
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    HY_CHECK_EQ(hy_ring_detach(ring, BOTH), 0);
    /* This process is the foreign one. */
    ring->space++;
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    HY_CHECK(atomic_load(&ring->producer.owner) & HYI_RING_FOREIGN);
    HY_CHECK_EQ(hy_ring_owner(ring, HY_RING_PRODUCER, &pid), 0);
    HY_CHECK_EQ(hy_ring_recover(ring, HY_RING_PRODUCER), -EBUSY);
    hy_ring_destroy(ring);
}

/* The number of an ended process is another's now. */
HY_TEST(ring_shared, a_number_used_again_is_another_process)
{
    hy_ring *ring = make(8, 4, 0);
    uint64_t item = 1, self;

    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    self = atomic_load(&ring->producer.owner);
    if (self >> 22 == 0) /* starts are not told */
        return;
    atomic_store(&ring->producer.owner, self ^ (uint64_t)1 << 30);
    HY_CHECK_EQ(hy_ring_owner(ring, HY_RING_PRODUCER, NULL), -EOWNERDEAD);
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    HY_CHECK_EQ(atomic_load(&ring->producer.owner), self);
    /* Of one that could not say when it started the number alone counts. */
    atomic_store(&ring->producer.owner, self & 0x3fffff);
    HY_CHECK_EQ(hy_ring_owner(ring, HY_RING_PRODUCER, NULL), 0);
    hy_ring_destroy(ring);
}

/* --- killed in the middle ------------------------------------------------- */

/* As far as a push of three came, with the fourth half written; and asleep. */
static void die_pushing(struct area *a)
{
    uint64_t item = scramble(0);
    size_t got;
    uint64_t *span;

    hy_ring_push(a->ring, &item);
    span = hy_ring_reserve(a->ring, 3, &got);
    span[0] = 0xdead;
    a->ring->producer.tail += 3; /* before it is published */
    atomic_store(&a->ring->producer.busy, 1);
    atomic_fetch_or(&a->ring->writer, HYI_RING_SLEEPS);
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, what_a_killed_push_had_not_published_never_was)
{
    struct area a = make_area(8, 0);
    uint64_t item = 5, pid = 0;
    pid_t child = start(die_pushing, &a);

    HY_CHECK_EQ(WTERMSIG(end_of(child)), SIGKILL);
    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_PRODUCER, &pid), -EOWNERDEAD);
    HY_CHECK_EQ(pid, child);
    HY_CHECK_EQ(hy_ring_count(a.ring), 1);
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    HY_CHECK_EQ(atomic_load(&a.ring->writer), 0);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(item, scramble(0));
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(item, 5);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), -EAGAIN);
    for (uint64_t i = 0; i < 8; i++)
        HY_CHECK_EQ(hy_ring_push(a.ring, &i), 0);
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), -EAGAIN);
    end_area(&a);
}

/* Two of four popped, but not given back; a span of the others; asleep. */
static void die_popping(struct area *a)
{
    size_t count;

    hy_ring_peek(a->ring, &count);
    a->ring->consumer.head += 2;
    atomic_store(&a->ring->consumer.busy, 1);
    atomic_fetch_or(&a->ring->reader, HYI_RING_SLEEPS);
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, what_a_killed_pop_had_not_given_back_comes_again)
{
    struct area a = make_area(4, 0);
    uint64_t item;

    for (uint64_t i = 0; i < 4; i++) {
        item = scramble(i);
        HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    }
    HY_CHECK_EQ(WTERMSIG(end_of(start(die_popping, &a))), SIGKILL);
    hy_ring_release(a.ring, 4); /* not this process's span */
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), -EAGAIN);
    for (uint64_t i = 0; i < 4; i++) {
        HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
        HY_CHECK_EQ(item, scramble(i));
    }
    HY_CHECK_EQ(atomic_load(&a.ring->reader), 0);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), -EAGAIN);
    end_area(&a);
}

/* The push that ended the stream was refused: it does not come back. */
HY_TEST(ring_shared, what_was_refused_by_a_close_stays_refused)
{
    struct area a = make_area(4, 0);
    uint64_t item = 1;

    HY_CHECK_EQ(hy_ring_claim(a.ring, BOTH), 0);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), -EAGAIN);
    hy_ring_close(a.ring);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), -EPIPE);
    /* A push that was on its way published behind the end. */
    atomic_store(&a.ring->tail, 1);
    HY_CHECK_EQ(hy_ring_detach(a.ring, BOTH), 0);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), -EPIPE);
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), -EPIPE);
    end_area(&a);
}

static void close_by_half(struct area *a)
{
    atomic_fetch_or(&a->ring->reader, HYI_RING_CLOSED);
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, a_close_that_was_killed_is_ended_by_who_finds_it)
{
    struct area a = make_area(4, 0);
    uint64_t item = 1;

    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    HY_CHECK_EQ(WTERMSIG(end_of(start(close_by_half, &a))), SIGKILL);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, hy_after(PATIENCE_NS)), 0);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, hy_after(PATIENCE_NS)), -EPIPE);
    end_area(&a);
}

static void overwrite_and_die(struct area *a)
{
    for (uint64_t i = 0; i < 5; i++)
        hy_ring_push(a->ring, &i);
    /* The sixth, half written. */
    *(_Atomic uint64_t *)(void *)hyi_ring_slot(a->ring, 5) = 11;
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, an_overwriting_producer_is_followed_by_another)
{
    struct area a = {make(8, 4, HY_RING_OVERWRITE), make_board(), 0};
    uint64_t item = 0;

    HY_CHECK_EQ(WTERMSIG(end_of(start(overwrite_and_die, &a))), SIGKILL);
    /* 0 was dropped, 1 was under the sixth. */
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(item, 2);
    item = 5;
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    for (uint64_t i = 3; i <= 5; i++) {
        HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
        HY_CHECK_EQ(item, i);
    }
    HY_CHECK_EQ(stats_of(a.ring).lost, 2);
    end_area(&a);
}

/* --- who sleeps while the other dies -------------------------------------- */

static void push_one_and_die(struct area *a)
{
    uint64_t item = 4;

    wait_for_sleeper(&a->ring->reader);
    hy_ring_push(a->ring, &item);
    wait_for_sleeper(&a->ring->reader);
    kill(getpid(), SIGKILL);
}

static void push_one(struct area *a)
{
    uint64_t item = 6;

    hy_ring_push(a->ring, &item);
}

HY_TEST(ring_shared, a_sleeper_learns_once_that_its_partner_died)
{
    struct area a = make_area(1, 0);
    pid_t child = start(push_one_and_die, &a);
    hy_deadline soon = hy_after(PATIENCE_NS);
    uint64_t item = 0;

    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, soon), 0);
    HY_CHECK_EQ(item, 4);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, soon), -EOWNERDEAD);
    HY_CHECK_EQ(atomic_load(&a.ring->reader), 0);
    HY_CHECK_EQ(hy_ring_owner(a.ring, HY_RING_PRODUCER, NULL), -ESRCH);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, hy_after(30000000)),
                -ETIMEDOUT);
    HY_CHECK_EQ(WTERMSIG(end_of(child)), SIGKILL);
    child = start(push_one, &a);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, soon), 0);
    HY_CHECK_EQ(item, 6);
    HY_CHECK(hy_now() < soon);
    HY_CHECK_EQ(end_of(child), 0);
    end_area(&a);
}

static void pop_none_and_die(struct area *a)
{
    hy_ring_claim(a->ring, HY_RING_CONSUMER);
    atomic_store(&a->board->step, 1);
    wait_for_sleeper(&a->ring->writer);
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, a_producer_without_room_learns_it_too)
{
    struct area a = make_area(1, 0);
    pid_t child = start(pop_none_and_die, &a);
    uint64_t item = 0;

    wait_for(&a.board->step, 1);
    HY_CHECK_EQ(hy_ring_push(a.ring, &item), 0);
    HY_CHECK_EQ(hy_ring_push_wait(a.ring, &item, hy_after(PATIENCE_NS)),
                -EOWNERDEAD);
    HY_CHECK_EQ(WTERMSIG(end_of(child)), SIGKILL);
    HY_CHECK_EQ(hy_ring_pop(a.ring, &item), 0);
    HY_CHECK_EQ(hy_ring_push_wait(a.ring, &item, HY_FOREVER), 0);
    end_area(&a);
}

/* Published, the sleeper's bit taken out, and killed before the bell. */
static void push_without_a_wake(struct area *a)
{
    uint64_t item = 8;

    hy_ring_claim(a->ring, HY_RING_PRODUCER);
    wait_for_sleeper(&a->ring->reader);
    memcpy(hyi_ring_slot(a->ring, 0), &item, 8);
    atomic_store(&a->ring->tail, 1);
    atomic_fetch_and(&a->ring->reader, HYI_RING_CLOSED);
    kill(getpid(), SIGKILL);
}

HY_TEST(ring_shared, a_wake_that_died_with_its_process_is_made_up_for)
{
    struct area a = make_area(4, 0);
    pid_t child = start(push_without_a_wake, &a);
    hy_deadline soon = hy_after(PATIENCE_NS);
    uint64_t item = 0;

    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, soon), 0);
    HY_CHECK_EQ(item, 8);
    HY_CHECK(hy_now() < soon);
    HY_CHECK_EQ(WTERMSIG(end_of(child)), SIGKILL);
    end_area(&a);
}

/* --- many producers --------------------------------------------------------
 */

static void die_in_a_turn(struct area *a)
{
    uint64_t item = 1;

    hy_ring_push_mp(a->ring, &item);
    a->ring->producer.lock = 1;
    a->ring->producer.crowd = 1;
    a->ring->many.front = 1;
    kill(getpid(), SIGKILL);
}

static void *push_beside(void *arg)
{
    struct area *a = arg;

    for (uint64_t i = 0; i < a->count; i++)
        if (hy_ring_push_mp_wait(a->ring, &i, hy_after(PATIENCE_NS)) != 0)
            atomic_store(&a->board->result, 1);
    return NULL;
}

HY_TEST(ring_shared, many_producers_of_one_process_follow_a_killed_one)
{
    enum { THREADS = 3, ITEMS = 2000 };
    struct area a = make_area(4, ITEMS);
    uint64_t item = 0, sum = 0;
    pthread_t t[THREADS];
    int r = 0;

    HY_CHECK_EQ(WTERMSIG(end_of(start(die_in_a_turn, &a))), SIGKILL);
    for (int i = 0; i < THREADS; i++)
        HY_CHECK_EQ(hyi_os_thread_start(&t[i], push_beside, &a), 0);
    for (int i = 0; i < THREADS * ITEMS + 1 && r == 0; i++) {
        r = hy_ring_pop_wait(a.ring, &item, hy_after(PATIENCE_NS));
        sum += item;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    HY_CHECK_EQ(r, 0);
    HY_CHECK_EQ(atomic_load(&a.board->result), 0);
    HY_CHECK_EQ(sum, 1 + (uint64_t)THREADS * ITEMS * (ITEMS - 1) / 2);
    end_area(&a);
}

/* --- within one process --------------------------------------------------- */

struct mapped {
    hy_ring *ring;
    _Atomic int is_in;
};

static void *push_through_the_other(void *arg)
{
    struct mapped *m = arg;
    uint64_t item = 2;

    if (hy_ring_push_mp(m->ring, &item) == 0)
        atomic_store(&m->is_in, 1);
    return NULL;
}

/* At two addresses: who waits for its turn at one is woken from the other. */
HY_TEST(ring_shared, producers_of_two_mappings_wake_one_another)
{
    enum { BYTES = 4096 };
    hy_ring_options o = HY_RING_OPTIONS_INIT;
    struct mapped m = {NULL, 0};
    hy_ring *ring = NULL;
    void *at[2];
    uint64_t item = 1, until = hy_after(PATIENCE_NS);
    pthread_t t;
    int fd;

    HY_CHECK_EQ(hyi_os_memory_file(&fd, "two", BYTES), 0);
    for (int i = 0; i < 2; i++) {
        at[i] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        HY_CHECK(at[i] != MAP_FAILED);
    }
    o.item_bytes = sizeof(item);
    o.capacity = 8;
    o.flags = HY_RING_SHARED;
    HY_CHECK_EQ(hy_ring_init(&ring, at[0], BYTES, &o), 0);
    HY_CHECK_EQ(hy_ring_attach(&m.ring, at[1], BYTES), 0);
    HY_CHECK_EQ(hy_ring_claim(ring, BOTH), 0);
    atomic_store(&ring->producer.lock, hyi_process_forks() * 2 + 1);
    HY_CHECK_EQ(hyi_os_thread_start(&t, push_through_the_other, &m), 0);
    while (atomic_load(&ring->producer.crowd) == 0 && hy_now() < until)
        sched_yield();
    nanosleep(&(struct timespec){0, 20000000}, NULL); /* by then it sleeps */
    atomic_store(&ring->producer.lock, 0);
    HY_CHECK_EQ(hy_ring_push_mp(ring, &item), 0);
    until = hy_after(PATIENCE_NS / 10);
    while (atomic_load(&m.is_in) == 0 && hy_now() < until)
        sched_yield();
    HY_CHECK_EQ(atomic_load(&m.is_in), 1);
    pthread_join(t, NULL);
    HY_CHECK_EQ(hy_ring_count(ring), 2);
    hy_ring_destroy(ring);
    munmap(at[0], BYTES);
    munmap(at[1], BYTES);
    hyi_os_file_close(fd);
}

static void *pop_in_thread(void *arg)
{
    struct area *a = arg;

    pop_until_closed(a);
    return NULL;
}

HY_TEST(ring_shared, threads_of_one_process_may_have_a_side_each)
{
    struct area a = make_area(8, 0);
    uint64_t item, n;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_in_thread, &a), 0);
    for (n = 0; n < 20000; n++) {
        item = scramble(n);
        if (hy_ring_push_wait(a.ring, &item, hy_after(PATIENCE_NS)) != 0)
            break;
    }
    hy_ring_close(a.ring);
    pthread_join(t, NULL);
    HY_CHECK_EQ(n, 20000);
    HY_CHECK_EQ(atomic_load(&a.board->count), n);
    HY_CHECK_EQ(atomic_load(&a.board->result), -EPIPE);
    end_area(&a);
}

HY_TEST(ring_shared, a_second_sleeper_of_a_side_is_refused)
{
    struct area a = make_area(8, 0);
    uint64_t item;
    pthread_t t;

    HY_CHECK_EQ(hyi_os_thread_start(&t, pop_in_thread, &a), 0);
    wait_for_sleeper(&a.ring->reader);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, HY_FOREVER), -EBUSY);
    HY_CHECK_EQ(hy_ring_pop_wait(a.ring, &item, HY_NOW), -ETIMEDOUT);
    hy_ring_close(a.ring);
    pthread_join(t, NULL);
    HY_CHECK_EQ(atomic_load(&a.board->result), -EPIPE);
    end_area(&a);
}

HY_TEST(ring_shared, a_push_in_the_middle_of_another_is_refused)
{
    hy_ring *ring = make(8, 4, 0);
    uint64_t item = 1;

    HY_CHECK_EQ(hy_ring_claim(ring, BOTH), 0);
    if (HY_DEBUG == 0) { /* it is for debug builds to find */
        hy_ring_destroy(ring);
        return;
    }
    atomic_store(&ring->producer.busy, 1);
    HY_CHECK_EQ(hy_ring_push(ring, &item), -EBUSY);
    HY_CHECK_EQ(hy_ring_push_n(ring, &item, 1), 0);
    atomic_store(&ring->producer.busy, 0);
    HY_CHECK_EQ(hy_ring_push(ring, &item), 0);
    atomic_store(&ring->consumer.busy, 1);
    HY_CHECK_EQ(hy_ring_pop(ring, &item), -EBUSY);
    HY_CHECK_EQ(hy_ring_pop_n(ring, &item, 1), 0);
    atomic_store(&ring->consumer.busy, 0);
    HY_CHECK_EQ(hy_ring_pop(ring, &item), 0);
    hy_ring_destroy(ring);
}
