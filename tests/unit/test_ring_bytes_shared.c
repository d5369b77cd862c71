/*
 * test_ring_bytes_shared.c - records between processes: attaching by
 * descriptor, every way in which a header can be wrong, streams with both sides
 * asleep now and then, and processes killed at any moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hyperion/byte_ring.h>

#include "arch.h"
#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "ring_layout.h"

#define PATIENCE_NS UINT64_C(20000000000)
#define STRESS_NS   UINT64_C(1000000000)

enum { LONGEST = 600 };

static hy_byte_ring *make(size_t wake_bytes, size_t wake_room)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;

    o.capacity = 1;
    o.flags = HY_RING_SHARED;
    o.wake_bytes = wake_bytes;
    o.wake_room = wake_room;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), 0);
    return ring;
}

/* Record i of a stream: its length and all that is in it follow from i. */
static size_t length_of(uint64_t i)
{
    return 8 + (size_t)((i + 1) * 0x9e3779b97f4a7c15u >> 33) % (LONGEST - 8);
}

static void write_record(void *to, uint64_t i)
{
    size_t bytes = length_of(i);

    memset(to, (int)(i & 0xff), bytes);
    memcpy(to, &i, sizeof(i));
}

static bool is_record(const void *from, size_t bytes, uint64_t *i)
{
    const unsigned char *at = from;

    if (bytes < sizeof(*i))
        return false;
    memcpy(i, from, sizeof(*i));
    if (bytes != length_of(*i))
        return false;
    for (size_t k = sizeof(*i); k < bytes; k++)
        if (at[k] != (*i & 0xff))
            return false;
    return true;
}

static int put(hy_byte_ring *ring, uint64_t i)
{
    void *span;
    int r =
        hy_byte_ring_reserve_wait(ring, LONGEST, &span, hy_after(PATIENCE_NS));

    if (r != 0)
        return r;
    write_record(span, i);
    return hy_byte_ring_commit(ring, length_of(i));
}

/* -EILSEQ for one that is not whole. */
static int take(hy_byte_ring *ring, uint64_t *i)
{
    const void *record;
    size_t bytes;
    int r =
        hy_byte_ring_peek_wait(ring, &record, &bytes, hy_after(PATIENCE_NS));

    if (r != 0)
        return r;
    if (!is_record(record, bytes, i))
        return -EILSEQ;
    hy_byte_ring_release(ring);
    return 0;
}

/* --- attaching ------------------------------------------------------------ */

HY_TEST(ring_bytes_shared, two_views_are_one_ring)
{
    hy_byte_ring *ring = make(0, 0), *other = NULL;
    const void *record;
    uint64_t i = 0, pid = 0;
    size_t bytes;
    void *span;

    HY_CHECK_EQ(hy_byte_ring_owner(ring, HY_RING_PRODUCER, &pid), -ESRCH);
    HY_CHECK_EQ(hy_byte_ring_attach(&other, hy_byte_ring_fd(ring)), 0);
    HY_CHECK(hy_byte_ring_fd(other) != hy_byte_ring_fd(ring));
    HY_CHECK(fcntl(hy_byte_ring_fd(other), F_GETFD) & FD_CLOEXEC);
    HY_CHECK_EQ(hy_byte_ring_capacity(other), hy_byte_ring_capacity(ring));
    for (uint64_t k = 0; k < 500; k++) {
        HY_CHECK_EQ(put(ring, k), 0);
        HY_CHECK_EQ(take(other, &i), 0);
        HY_CHECK_EQ(i, k);
    }
    HY_CHECK_EQ(hy_byte_ring_owner(other, HY_RING_PRODUCER, &pid), 0);
    HY_CHECK_EQ(pid, (uint64_t)getpid());
    /* The first view goes; what it published stays, what it staged was not. */
    HY_CHECK_EQ(put(ring, 500), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 8, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_stage(ring, 8), 0);
    hy_byte_ring_destroy(ring);
    HY_CHECK_EQ(hy_byte_ring_owner(other, HY_RING_CONSUMER, NULL), -ESRCH);
    HY_CHECK_EQ(take(other, &i), 0);
    HY_CHECK_EQ(i, 500);
    HY_CHECK_EQ(hy_byte_ring_peek(other, &record, &bytes), -EAGAIN);
    HY_CHECK_EQ(put(other, 501), 0);
    HY_CHECK_EQ(take(other, &i), 0);
    hy_byte_ring_destroy(other);
}

HY_TEST(ring_bytes_shared, a_side_that_was_given_up_forgets_its_span)
{
    hy_byte_ring *ring = make(0, 0);
    uint64_t i = 0;
    void *span;

    HY_CHECK_EQ(hy_byte_ring_claim(ring, HY_RING_PRODUCER), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 8, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_stage(ring, 8), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 8, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_recover(ring, HY_RING_PRODUCER), -EBUSY);
    HY_CHECK_EQ(hy_byte_ring_detach(ring, HY_RING_PRODUCER), 0);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 8), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_publish(ring), 0);
    HY_CHECK_EQ(hy_byte_ring_state(ring), -EAGAIN);
    HY_CHECK_EQ(put(ring, 3), 0);
    HY_CHECK_EQ(take(ring, &i), 0);
    HY_CHECK_EQ(i, 3);
    hy_byte_ring_destroy(ring);
}

static void check_refused(int fd, int error)
{
    hy_byte_ring *ring = NULL;

    HY_CHECK_EQ(hy_byte_ring_attach(&ring, fd), error);
    HY_CHECK(ring == NULL);
}

HY_TEST(ring_bytes_shared, what_is_no_ring_is_refused)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;
    int fd = -1;

    HY_CHECK_EQ(hy_byte_ring_attach(NULL, 0), -EINVAL);
    check_refused(-1, -EBADF);
    HY_CHECK_EQ(hyi_os_memory_file(&fd, "test", 100), 0);
    check_refused(fd, -EBADMSG);
    close(fd);
    HY_CHECK_EQ(hyi_os_memory_file(&fd, "test", 1u << 20), 0);
    check_refused(fd, -EBADMSG);
    close(fd);
    fd = open("/dev/null", O_RDWR);
    check_refused(fd, -EBADMSG);
    close(fd);
    o.capacity = 1;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), 0);
    check_refused(hy_byte_ring_fd(ring), -EPROTOTYPE);
    HY_CHECK_EQ(hy_byte_ring_claim(ring, HY_RING_PRODUCER), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_claim(NULL, HY_RING_PRODUCER), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_detach(NULL, HY_RING_PRODUCER), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_owner(NULL, HY_RING_PRODUCER, NULL), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_recover(NULL, HY_RING_PRODUCER), -EINVAL);
    hy_byte_ring_destroy(ring);
}

/* The header, through a mapping of its own. */
static hy_ring *header_of(hy_byte_ring *ring)
{
    void *p = mmap(NULL, hyi_os_page_bytes(), PROT_READ | PROT_WRITE,
                   MAP_SHARED, hy_byte_ring_fd(ring), 0);

    HY_CHECK(p != MAP_FAILED);
    return p;
}

#define CHECK_DAMAGE(field, value, error)                                      \
    do {                                                                       \
        __typeof__(h->field) whole = h->field;                                 \
        h->field = (value);                                                    \
        check_refused(hy_byte_ring_fd(ring), error);                           \
        h->field = whole;                                                      \
    } while (0)

HY_TEST(ring_bytes_shared, a_damaged_header_is_refused)
{
    hy_byte_ring *ring = make(0, 0), *other = NULL;
    hy_ring *h = header_of(ring);
    uint64_t capacity = hy_byte_ring_capacity(ring);

    CHECK_DAMAGE(version, HYI_RING_VERSION + 1, -EPROTO);
    CHECK_DAMAGE(mask, capacity, -EBADMSG);
    CHECK_DAMAGE(mask, capacity * 2 - 1, -EBADMSG);
    CHECK_DAMAGE(mask, UINT64_MAX, -EBADMSG);
    CHECK_DAMAGE(mask, 7, -EBADMSG);
    CHECK_DAMAGE(bytes, 0, -EBADMSG);
    CHECK_DAMAGE(slots, 1280, -EBADMSG);
    CHECK_DAMAGE(item_bytes, 2, -EBADMSG);
    CHECK_DAMAGE(stride, 8, -EBADMSG);
    CHECK_DAMAGE(lag, 0, -EBADMSG);
    CHECK_DAMAGE(wake_items, 0, -EBADMSG);
    CHECK_DAMAGE(wake_room, capacity + 1, -EBADMSG);
    CHECK_DAMAGE(flags, HY_RING_SHARED | HY_RING_OVERWRITE, -EBADMSG);
    CHECK_DAMAGE(flags, HY_RING_SHARED | HY_RING_LOCAL, -EBADMSG);
    CHECK_DAMAGE(magic, HYI_RING_MAGIC, -EBADMSG);
    CHECK_DAMAGE(reader, 0x1000, -EBADMSG);
    CHECK_DAMAGE(tail, capacity + 8, -ERANGE);
    CHECK_DAMAGE(tail, 12, -ERANGE);
    CHECK_DAMAGE(head, 8, -ERANGE);
    CHECK_DAMAGE(hint, 8, -ERANGE);
    CHECK_DAMAGE(final, 8, -ERANGE);
    /* A ring of records is none of items. */
    HY_CHECK_EQ(hy_ring_attach(&(hy_ring *){NULL}, h, hyi_os_page_bytes()),
                -EBADMSG);
    HY_CHECK_EQ(hy_byte_ring_attach(&other, hy_byte_ring_fd(ring)), 0);
    hy_byte_ring_destroy(other);
    munmap(h, hyi_os_page_bytes());
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes_shared, a_file_of_another_length_is_refused)
{
    hy_byte_ring *ring = make(0, 0);
    int fd = hy_byte_ring_fd(ring);
    size_t bytes = hyi_os_page_bytes() + hy_byte_ring_capacity(ring);

    HY_CHECK_EQ(ftruncate(fd, (off_t)bytes + 1), 0);
    check_refused(fd, -EBADMSG);
    HY_CHECK_EQ(ftruncate(fd, (off_t)bytes - 1), 0);
    check_refused(fd, -EBADMSG);
    HY_CHECK_EQ(ftruncate(fd, (off_t)bytes), 0);
    hy_byte_ring_destroy(ring);
}

static void check_failure(int fd, enum hy_fail_call call, unsigned nth,
                          int error)
{
    hy_byte_ring *ring = NULL;
    int r, next = dup(fd);

    close(next);
    hy_fail_at(call, nth, error);
    r = hy_byte_ring_attach(&ring, fd);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(r, -error);
    HY_CHECK(ring == NULL);
    HY_CHECK_EQ(dup(fd), next); /* nothing is left open */
    close(next);
}

HY_TEST(ring_bytes_shared, each_failing_call_of_an_attach_is_told)
{
    hy_byte_ring *ring = make(0, 0);
    int fd = hy_byte_ring_fd(ring);

    check_failure(fd, HY_FAIL_FSTAT, 1, EIO);
    check_failure(fd, HY_FAIL_PREAD, 1, EIO);
    check_failure(fd, HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM);
    check_failure(fd, HY_FAIL_MMAP, 1, ENOMEM);
    check_failure(fd, HY_FAIL_MMAP, 2, EPERM);
    check_failure(fd, HY_FAIL_MMAP, 3, EPERM);
    hy_byte_ring_destroy(ring);
}

/* --- damage by the other process ------------------------------------------ */

HY_TEST(ring_bytes_shared, damaged_indices_stop_both_sides)
{
    hy_byte_ring *ring = make(0, 0);
    hy_ring *h = header_of(ring);
    const void *record;
    size_t bytes;
    void *span;

    for (uint64_t i = 0; put(ring, i) == 0 && hy_byte_ring_used(ring) < 3000;
         i++)
        ;
    atomic_store(&h->head, (uint64_t)1 << 50);
    atomic_store(&h->hint, (uint64_t)1 << 50);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, hy_byte_ring_longest(ring), &span),
                -EBADMSG);
    atomic_store(&h->tail, (uint64_t)1 << 40);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EBADMSG);
    munmap(h, hyi_os_page_bytes());
    hy_byte_ring_destroy(ring);
}

/* --- two processes -------------------------------------------------------- */

enum { COUNT = 20000 };

static void produce(void *arg)
{
    hy_byte_ring *ring = NULL;
    uint64_t start = hyi_os_now();
    int r = 0;

    if (hy_byte_ring_attach(&ring, *(int *)arg) != 0)
        _exit(1);
    for (uint64_t i = 0; i < COUNT && r == 0; i++) {
        r = put(ring, i);
        if (i % 64 == 0 && hyi_os_now() - start > STRESS_NS)
            break;
        for (uint64_t k = i * 7919 % 8192; i % 32 == 5 && k != 0; k--)
            hy_arch_pause();
    }
    hy_byte_ring_close(ring);
    hy_byte_ring_destroy(ring);
    _exit(r == 0 ? 7 : 2);
}

static pid_t start(void (*entry)(void *), void *arg)
{
    pid_t child;

    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child == 0) {
        hy_test_expect_no_leaks();
        entry(arg);
        _exit(3);
    }
    HY_CHECK(child > 0);
    return child;
}

static int end_of(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static void check_between(size_t wake_bytes, size_t wake_room)
{
    hy_byte_ring *ring = make(wake_bytes, wake_room);
    int fd = hy_byte_ring_fd(ring), r, status;
    pid_t child = start(produce, &fd);
    uint64_t i = 0, next = 0;

    while ((r = take(ring, &i)) == 0 && i == next) {
        next++;
        for (uint64_t k = i * 104729 % 8192; i % 32 == 9 && k != 0; k--)
            hy_arch_pause();
    }
    hy_byte_ring_close(ring);
    status = end_of(child);
    HY_CHECK_MSG(r == -EPIPE, "%d after %llu", r, (unsigned long long)next);
    HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    HY_CHECK(next > 0);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes_shared, records_pass_between_processes)
{
    check_between(0, 0);
    check_between(2000, 3000);
}

/* --- killed --------------------------------------------------------------- */

static void produce_for_ever(void *arg)
{
    hy_byte_ring *ring = NULL;

    if (hy_byte_ring_attach(&ring, *(int *)arg) != 0)
        _exit(1);
    for (uint64_t i = 0;; i++)
        if (put(ring, i) != 0)
            _exit(2);
}

/* Each producer counts from 0: what one leaves is whole, and in order. */
HY_TEST(ring_bytes_shared, a_killed_producer_leaves_nothing_torn)
{
    hy_byte_ring *ring = make(0, 0);
    int fd = hy_byte_ring_fd(ring), r = 0;
    uint64_t begin = hyi_os_now(), i = 0;

    for (int round = 0; round < 40; round++) {
        pid_t child = start(produce_for_ever, &fd);
        uint64_t next = 0, enough = (uint64_t)round * 37 % 400 + 1;

        while ((r = take(ring, &i)) == 0 && i == next && next < enough)
            next++;
        HY_CHECK_EQ(r, 0);
        HY_CHECK_EQ(i, next);
        kill(child, SIGKILL);
        HY_CHECK(WIFSIGNALED(end_of(child)));
        next++;
        /* The rest, and word of its end, once. */
        while ((r = take(ring, &i)) == 0 && i == next)
            next++;
        HY_CHECK_EQ(r, -EOWNERDEAD);
        if (hyi_os_now() - begin > STRESS_NS)
            break;
    }
    hy_byte_ring_destroy(ring);
}

struct progress {
    int fd;
    _Atomic uint64_t *last; /* that a consumer has seen */
};

static void consume_for_ever(void *arg)
{
    struct progress *p = arg;
    hy_byte_ring *ring = NULL;
    const void *record;
    uint64_t i = 0, last;
    size_t bytes;

    if (hy_byte_ring_attach(&ring, p->fd) != 0)
        _exit(1);
    for (;;) {
        if (hy_byte_ring_peek_wait(ring, &record, &bytes,
                                   hy_after(PATIENCE_NS)) != 0)
            _exit(2);
        last = atomic_load(p->last);
        /* The next one, or the last one again: it was not given back. */
        if (!is_record(record, bytes, &i) || (i != last + 1 && i != last))
            _exit(3);
        atomic_store(p->last, i);
        hy_byte_ring_release(ring);
    }
}

HY_TEST(ring_bytes_shared, after_a_killed_consumer_nothing_is_lost)
{
    hy_byte_ring *ring = make(0, 0);
    _Atomic uint64_t *last =
        mmap(NULL, hyi_os_page_bytes(), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct progress p = {hy_byte_ring_fd(ring), last};
    uint64_t begin = hyi_os_now(), next = 1, i = 0;
    int r = 0, status;

    HY_CHECK(last != MAP_FAILED);
    for (int round = 0; round < 40; round++) {
        pid_t child = start(consume_for_ever, &p);
        uint64_t enough = (uint64_t)round * 53 % 400 + 50;

        for (uint64_t k = 0; k < enough && r == 0; k++) {
            r = put(ring, next);
            next += r == 0;
            if (r == -EOWNERDEAD) /* the last one's, before this one came */
                r = 0;
        }
        HY_CHECK(r == 0);
        kill(child, SIGKILL);
        status = end_of(child);
        HY_CHECK_MSG(WIFSIGNALED(status), "exit %d", WEXITSTATUS(status));
        if (hyi_os_now() - begin > STRESS_NS)
            break;
    }
    while (hy_byte_ring_used(ring) != 0) {
        HY_CHECK_EQ(take(ring, &i), 0);
        HY_CHECK(i == atomic_load(last) + 1 || i == atomic_load(last));
        atomic_store(last, i);
    }
    HY_CHECK_EQ(atomic_load(last), next - 1);
    munmap((void *)(uintptr_t)last, hyi_os_page_bytes());
    hy_byte_ring_destroy(ring);
}
