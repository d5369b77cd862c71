/*
 * test_ring_bytes.c - one thread: records of every length at every place, in
 * one piece across the end of the ring, staged and peeked in batches; bad
 * input, damage, and each system call that can fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <hyperion/byte_ring.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "process.h"
#include "ring_layout.h"

static hy_byte_ring *make(size_t capacity)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;

    o.capacity = capacity;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), 0);
    return ring;
}

/* The page before the data, as the layout has it. */
static hy_ring *header_of(hy_byte_ring *ring)
{
    const void *record;
    void *span;
    size_t bytes;

    if (hy_byte_ring_peek(ring, &record, &bytes) != 0) {
        HY_CHECK_EQ(hy_byte_ring_reserve(ring, 8, &span), 0);
        hy_byte_ring_abort(ring);
        record = span;
    }
    return (hy_ring *)(void *)(((uintptr_t)record &
                                ~(hy_byte_ring_capacity(ring) - 1)) -
                               hyi_os_page_bytes());
}

/* Its content tells where it should be. */
static void fill(unsigned char *record, size_t bytes, uint64_t number)
{
    for (size_t i = 0; i < bytes; i++)
        record[i] = (unsigned char)(number * 31 + i * 7 + (i >> 8));
}

static bool is_filled(const unsigned char *record, size_t bytes,
                      uint64_t number)
{
    for (size_t i = 0; i < bytes; i++)
        if (record[i] != (unsigned char)(number * 31 + i * 7 + (i >> 8)))
            return false;
    return true;
}

static int push(hy_byte_ring *ring, size_t bytes, uint64_t number)
{
    void *span;
    int r = hy_byte_ring_reserve(ring, bytes, &span);

    if (r != 0)
        return r;
    fill(span, bytes, number);
    return hy_byte_ring_commit(ring, bytes);
}

static void check_peek(hy_byte_ring *ring, size_t expected, uint64_t number)
{
    const void *record = NULL;
    size_t bytes = 0;

    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), 0);
    HY_CHECK_EQ(bytes, expected);
    HY_CHECK_EQ((uintptr_t)record % 8, 0);
    HY_CHECK(is_filled(record, bytes, number));
}

static void check_pop(hy_byte_ring *ring, size_t expected, uint64_t number)
{
    check_peek(ring, expected, number);
    hy_byte_ring_release(ring);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

HY_TEST(ring_bytes, records_of_any_length_come_out_in_order)
{
    hy_byte_ring *ring = make(1);
    size_t capacity = hy_byte_ring_capacity(ring), lengths[4096];
    uint64_t state = 4711, next = 0, taken = 0, used = 0;
    const void *record;
    size_t bytes;

    HY_CHECK_EQ(capacity, hyi_os_page_bytes());
    HY_CHECK_EQ(hy_byte_ring_longest(ring), capacity - 8);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EAGAIN);
    HY_CHECK_EQ(hy_byte_ring_state(ring), -EAGAIN);
    while (taken < 20000) {
        size_t longest = random_next(&state) % 8 == 0 ? capacity / 2 : 300;

        bytes = (size_t)(random_next(&state) % longest);
        if (used + 8 + (bytes + 7) / 8 * 8 <= capacity) {
            HY_CHECK_EQ(push(ring, bytes, next), 0);
            lengths[next++ % 4096] = bytes;
            used += 8 + (bytes + 7) / 8 * 8;
        } else { /* full is exact */
            HY_CHECK_EQ(push(ring, bytes, next), -EAGAIN);
        }
        HY_CHECK_EQ(hy_byte_ring_used(ring), used);
        for (uint64_t n = random_next(&state) % 3; n != 0 && taken < next;
             n--) {
            bytes = lengths[taken % 4096];
            check_pop(ring, bytes, taken++);
            used -= 8 + (bytes + 7) / 8 * 8;
        }
    }
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, the_longest_record_at_every_place)
{
    hy_byte_ring *ring = make(1);
    size_t longest = hy_byte_ring_longest(ring);
    void *span;

    HY_CHECK_EQ(hy_byte_ring_reserve(ring, longest + 1, &span), -EMSGSIZE);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, SIZE_MAX, &span), -EMSGSIZE);
    for (size_t at = 0; at <= longest; at += 8 * 13) {
        HY_CHECK_EQ(push(ring, longest, at), 0);
        HY_CHECK_EQ(push(ring, 0, at), -EAGAIN);
        check_pop(ring, longest, at);
        HY_CHECK_EQ(push(ring, 8 * 12 - 3, at), 0);
        check_pop(ring, 8 * 12 - 3, at);
    }
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, commit_may_be_shorter_and_abort_is_nothing)
{
    hy_byte_ring *ring = make(4096);
    void *span = NULL, *again = NULL;

    HY_CHECK_EQ(hy_byte_ring_commit(ring, 0), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 100, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 101), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_state(ring), -EAGAIN);
    hy_byte_ring_abort(ring);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 1), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 100, &again), 0);
    HY_CHECK(again == span);
    fill(again, 10, 5);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 10), 0);
    HY_CHECK_EQ(hy_byte_ring_used(ring), 24);
    HY_CHECK_EQ(push(ring, 0, 6), 0);
    HY_CHECK_EQ(hy_byte_ring_used(ring), 32);
    check_pop(ring, 10, 5);
    check_pop(ring, 0, 6);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, push_and_pop_copy)
{
    hy_byte_ring *ring = make(4096);
    unsigned char in[100], out[101];
    size_t bytes = 7;

    memset(out, '.', sizeof(out));
    fill(in, 100, 1);
    HY_CHECK_EQ(hy_byte_ring_pop(ring, out, 100, &bytes), -EAGAIN);
    HY_CHECK_EQ(bytes, 7);
    HY_CHECK_EQ(hy_byte_ring_push(ring, in, 100), 0);
    HY_CHECK_EQ(hy_byte_ring_push(ring, NULL, 0), 0);
    HY_CHECK_EQ(hy_byte_ring_push(ring, in, 8192), -EMSGSIZE);
    /* Too small a buffer: the size is told, and nothing is lost. */
    HY_CHECK_EQ(hy_byte_ring_pop(ring, out, 99, &bytes), -ENOBUFS);
    HY_CHECK_EQ(bytes, 100);
    HY_CHECK_EQ(out[0], '.');
    bytes = 0;
    hy_byte_ring_release(ring); /* nothing is peeked */
    HY_CHECK_EQ(hy_byte_ring_pop_wait(ring, NULL, 0, &bytes, HY_NOW), -ENOBUFS);
    HY_CHECK_EQ(bytes, 100);
    HY_CHECK_EQ(hy_byte_ring_pop(ring, out, 100, &bytes), 0);
    HY_CHECK(is_filled(out, 100, 1));
    HY_CHECK_EQ(out[100], '.');
    HY_CHECK_EQ(hy_byte_ring_pop(ring, NULL, 0, &bytes), 0);
    HY_CHECK_EQ(bytes, 0);
    HY_CHECK_EQ(hy_byte_ring_pop_wait(ring, out, 1, &bytes, HY_NOW),
                -ETIMEDOUT);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, staged_records_appear_together)
{
    hy_byte_ring *ring = make(4096);
    hy_byte_ring_stats s = {.size = sizeof(s)};
    const void *record;
    void *span;
    size_t bytes;

    for (uint64_t i = 0; i < 3; i++) {
        HY_CHECK_EQ(hy_byte_ring_reserve(ring, 50, &span), 0);
        fill(span, 20 + i, i);
        HY_CHECK_EQ(hy_byte_ring_stage(ring, 20 + i), 0);
        HY_CHECK_EQ(hy_byte_ring_state(ring), -EAGAIN);
    }
    HY_CHECK_EQ(hy_byte_ring_stage(ring, 0), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_stats_get(ring, &s), 0);
    HY_CHECK_EQ(s.pushed, 0);
    HY_CHECK_EQ(hy_byte_ring_publish(ring), 0);
    HY_CHECK_EQ(hy_byte_ring_publish(ring), 0);
    HY_CHECK_EQ(hy_byte_ring_stats_get(ring, &s), 0);
    HY_CHECK_EQ(s.pushed, 3);
    HY_CHECK_EQ(s.pushed_bytes, 3 * 32);
    check_pop(ring, 20, 0);
    /* A commit takes what is staged along; an abort leaves it. */
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 9, &span), 0);
    fill(span, 9, 3);
    HY_CHECK_EQ(hy_byte_ring_stage(ring, 9), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 9, &span), 0);
    hy_byte_ring_abort(ring);
    HY_CHECK_EQ(push(ring, 4, 4), 0);
    check_pop(ring, 21, 1);
    check_pop(ring, 22, 2);
    check_pop(ring, 9, 3);
    check_pop(ring, 4, 4);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EAGAIN);
    hy_byte_ring_destroy(ring);
}

/* Or both sides would wait for ever. */
HY_TEST(ring_bytes, what_is_staged_is_published_before_full_is_reported)
{
    hy_byte_ring *ring = make(1);
    size_t half = hy_byte_ring_capacity(ring) / 2 - 8;
    void *span;

    for (uint64_t i = 0; i < 2; i++) {
        HY_CHECK_EQ(hy_byte_ring_reserve(ring, half, &span), 0);
        fill(span, half, i);
        HY_CHECK_EQ(hy_byte_ring_stage(ring, half), 0);
    }
    HY_CHECK_EQ(hy_byte_ring_state(ring), -EAGAIN);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 0, &span), -EAGAIN);
    check_pop(ring, half, 0);
    check_pop(ring, half, 1);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, several_are_read_in_place_and_given_back_at_once)
{
    hy_byte_ring *ring = make(4096);
    hy_byte_ring_stats s = {.size = sizeof(s)};
    const void *record = NULL;
    size_t bytes = 0;

    for (uint64_t i = 0; i < 5; i++)
        HY_CHECK_EQ(push(ring, 10 * i, i), 0);
    check_peek(ring, 0, 0);
    for (uint64_t i = 1; i < 4; i++) {
        HY_CHECK_EQ(hy_byte_ring_next(ring, &record, &bytes), 0);
        HY_CHECK_EQ(bytes, 10 * i);
        HY_CHECK(is_filled(record, bytes, i));
    }
    hy_byte_ring_release(ring);
    hy_byte_ring_release(ring);
    HY_CHECK_EQ(hy_byte_ring_stats_get(ring, &s), 0);
    HY_CHECK_EQ(s.popped, 4);
    HY_CHECK_EQ(hy_byte_ring_used(ring), 48);
    /* The first one without a peek, too. */
    HY_CHECK_EQ(hy_byte_ring_next(ring, &record, &bytes), 0);
    HY_CHECK(bytes == 40 && is_filled(record, bytes, 4));
    HY_CHECK_EQ(hy_byte_ring_next(ring, &record, &bytes), -EAGAIN);
    HY_CHECK_EQ(push(ring, 3, 5), 0);
    HY_CHECK_EQ(hy_byte_ring_next(ring, &record, &bytes), 0);
    HY_CHECK(bytes == 3 && is_filled(record, bytes, 5));
    check_peek(ring, 40, 4); /* the oldest again, and alone */
    hy_byte_ring_release(ring);
    check_pop(ring, 3, 5);
    HY_CHECK_EQ(hy_byte_ring_used(ring), 0);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, closed_refuses_and_drains)
{
    hy_byte_ring *ring = make(4096);
    const void *record;
    size_t bytes;
    void *span;

    HY_CHECK_EQ(push(ring, 11, 1), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 5, &span), 0);
    HY_CHECK_EQ(hy_byte_ring_stage(ring, 5), 0);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 5, &span), 0);
    hy_byte_ring_close(ring);
    hy_byte_ring_close(ring);
    HY_CHECK_EQ(hy_byte_ring_state(ring), -EPIPE);
    check_pop(ring, 11, 1);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EPIPE);
    /* The end is decided: what was reserved and staged has missed it. */
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 5), -EPIPE);
    HY_CHECK_EQ(hy_byte_ring_push(ring, "x", 1), -EPIPE);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 1, &span), -EPIPE);
    HY_CHECK_EQ(hy_byte_ring_push_wait(ring, "x", 1, HY_FOREVER), -EPIPE);
    HY_CHECK_EQ(hy_byte_ring_peek_wait(ring, &record, &bytes, HY_FOREVER),
                -EPIPE);
    HY_CHECK_EQ(hy_byte_ring_pop(ring, NULL, 0, &bytes), -EPIPE);
    hy_byte_ring_destroy(ring);

    /* A commit to a closed ring whose end is not decided yet is in. */
    ring = make(4096);
    HY_CHECK_EQ(hy_byte_ring_reserve(ring, 5, &span), 0);
    fill(span, 5, 2);
    hy_byte_ring_close(ring);
    HY_CHECK_EQ(hy_byte_ring_commit(ring, 5), 0);
    check_pop(ring, 5, 2);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EPIPE);
    hy_byte_ring_destroy(ring);
}

/* --- bad input ------------------------------------------------------------ */

HY_TEST(ring_bytes, options_are_checked)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;
    hy_byte_ring_stats s = {0};

    HY_CHECK_EQ(hy_byte_ring_create(NULL, &o), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_create(&ring, NULL), -EINVAL);
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.capacity = SIZE_MAX;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EOVERFLOW);
    o.capacity = SIZE_MAX / 4;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EOVERFLOW);
    o.capacity = SIZE_MAX / 8; /* more than any machine has */
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -ENOMEM);
    o.capacity = 4096;
    o.flags = HY_RING_OVERWRITE;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.flags = HY_RING_SHARED | HY_RING_LOCAL;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.flags = 1u << 20;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.flags = 0;
    o.wake_bytes = 2 * hyi_os_page_bytes();
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.wake_bytes = 0;
    o.wake_room = SIZE_MAX;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    o.wake_room = 0;
    o.size = 4;
    HY_CHECK_EQ(hy_byte_ring_create(&ring, &o), -EINVAL);
    HY_CHECK(ring == NULL);
    hy_byte_ring_destroy(NULL);

    ring = make(3 * hyi_os_page_bytes());
    HY_CHECK_EQ(hy_byte_ring_capacity(ring), 4 * hyi_os_page_bytes());
    HY_CHECK_EQ(hy_byte_ring_stats_get(ring, &s), -EINVAL);
    HY_CHECK(fcntl(hy_byte_ring_fd(ring), F_GETFD) & FD_CLOEXEC);
    hy_byte_ring_destroy(ring);
}

static size_t open_files(void)
{
    size_t n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Each call that making one takes fails once; nothing is left behind. */
static void check_failure(enum hy_fail_call call, unsigned nth, int error,
                          int expected)
{
    hy_byte_ring_options o = HY_BYTE_RING_OPTIONS_INIT;
    hy_byte_ring *ring = NULL;
    size_t files = open_files();
    int r;

    o.capacity = 4096;
    errno = 55;
    hy_fail_at(call, nth, error);
    r = hy_byte_ring_create(&ring, &o);
    HY_CHECK_EQ(errno, 55);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(r, expected);
    HY_CHECK(ring == NULL || expected == 0);
    hy_byte_ring_destroy(ring);
    HY_CHECK_EQ(open_files(), files);
}

HY_TEST(ring_bytes, each_failing_call_is_told)
{
    check_failure(HY_FAIL_ALIGNED_ALLOC, 1, ENOMEM, -ENOMEM);
#ifdef __linux__
    check_failure(HY_FAIL_MEMFD_CREATE, 1, EPERM, -EPERM);
    check_failure(HY_FAIL_MEMFD_CREATE, 1, ENOSYS, -ENOSYS);
    check_failure(HY_FAIL_MEMFD_CREATE, 1, EMFILE, -EMFILE);
    check_failure(HY_FAIL_FALLOCATE, 1, ENOSPC, -ENOSPC);
    check_failure(HY_FAIL_FALLOCATE, 1, EINTR, 0);
    check_failure(HY_FAIL_FALLOCATE, 1, EOPNOTSUPP, 0);
    check_failure(HY_FAIL_MADVISE, 1, EINVAL, -EINVAL);
#endif
    check_failure(HY_FAIL_FTRUNCATE, 1, EFBIG, -EFBIG);
    check_failure(HY_FAIL_MMAP, 1, ENOMEM, -ENOMEM);
    check_failure(HY_FAIL_MMAP, 2, ENOMEM, -ENOMEM);
    check_failure(HY_FAIL_MMAP, 3, EAGAIN, -EAGAIN);
}

/* --- damage --------------------------------------------------------------- */

HY_TEST(ring_bytes, a_damaged_length_is_found)
{
    static const uint64_t bad[] = {UINT64_MAX, UINT64_MAX - 7, 1u << 30, 25,
                                   (uint64_t)1 << 63};
    hy_byte_ring *ring = make(4096);
    const void *record = NULL;
    unsigned char out[64];
    size_t bytes = 3;

    HY_CHECK_EQ(push(ring, 4, 0), 0);
    HY_CHECK_EQ(push(ring, 24, 1), 0);
    check_pop(ring, 4, 0);
    check_peek(ring, 24, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t *length;

        HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), 0);
        length = (uint64_t *)(uintptr_t)record - 1;
        *length = bad[i];
        record = NULL;
        HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EBADMSG);
        HY_CHECK_EQ(hy_byte_ring_next(ring, &record, &bytes), -EBADMSG);
        HY_CHECK_EQ(hy_byte_ring_pop(ring, out, 64, &bytes), -EBADMSG);
        HY_CHECK_EQ(hy_byte_ring_peek_wait(ring, &record, &bytes, HY_FOREVER),
                    -EBADMSG);
        hy_byte_ring_release(ring);
        HY_CHECK(record == NULL && bytes == 24);
        *length = 24;
    }
    check_pop(ring, 24, 1);
    hy_byte_ring_destroy(ring);
}

HY_TEST(ring_bytes, damaged_indices_are_found)
{
    hy_byte_ring *ring = make(4096);
    hy_ring *header = header_of(ring);
    const void *record;
    size_t bytes;

    HY_CHECK_EQ(atomic_load(&header->magic), HYI_RING_MAGIC_BYTES);
    atomic_store(&header->tail, (uint64_t)1 << 40);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EBADMSG);
    atomic_store(&header->tail, 12);
    header->consumer.seen = 0;
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EBADMSG);
    atomic_store(&header->tail, 0);
    header->consumer.seen = 0;
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &record, &bytes), -EAGAIN);
    hy_byte_ring_destroy(ring);
}

/* --- fork ----------------------------------------------------------------- */

static const void *child_looks_at, *not_for_children;

/* Some emulators let a child have what it should not. */
static void destroy_in_child(void *arg)
{
    hy_byte_ring *ring = *(hy_byte_ring **)arg;
    bool has_it = hyi_os_is_mapped(child_looks_at, 1) &&
                  !hyi_os_is_mapped(not_for_children, 1);

    hy_byte_ring_destroy(ring);
    _exit(!has_it && hyi_process_forks() == 1 ? 7 : 8);
}

HY_TEST(ring_bytes, a_child_can_do_no_harm_to_its_parent)
{
    hy_byte_ring *ring = make(4096);
    size_t bytes, page = hyi_os_page_bytes();
    void *other;
    int status;

    HY_CHECK_EQ(
        hyi_os_reserve(&other, page, HYI_OS_READ | HYI_OS_WRITE, NULL, false),
        0);
    HY_CHECK_EQ(madvise(other, page, MADV_DONTFORK), 0);
    not_for_children = other;
    HY_CHECK_EQ(push(ring, 100, 1), 0);
    HY_CHECK_EQ(hy_byte_ring_peek(ring, &child_looks_at, &bytes), 0);
    child_looks_at = (const void *)((uintptr_t)child_looks_at &
                                    ~(uintptr_t)(hyi_os_page_bytes() - 1));
    HY_CHECK(hyi_os_is_mapped(child_looks_at, 1));
    status = hy_test_child(destroy_in_child, &ring);
    HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    check_pop(ring, 100, 1);
    HY_CHECK_EQ(push(ring, 100, 2), 0);
    check_pop(ring, 100, 2);
    hy_byte_ring_destroy(ring);
    hyi_os_release(other, page);
}
