/*
 * ring_attach.c - finding a ring in memory, and believing nothing of it before
 * it was checked.
 *
 *      magic | version | mask, item, stride, bytes, lag, marks, slots | flags
 *        -> words (closed, sleeps) -> hint <= head <= tail <= head + capacity
 *
 * Both sides may be at work meanwhile. So head is read on both sides of tail:
 * at the moment when tail was read, head lay between the two.
 *
 * Invariant: an accepted ring's slots lie inside the memory given, whatever its
 * indices are; what is not checked (the sides' own lines) is made anew before
 * it is used, or is the work of this process. Upstream: ring.h. Downstream:
 * ring_layout.h.
 */
#include "ring_layout.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "options.h"

enum { KNOWN = HY_RING_SHARED | HY_RING_OVERWRITE | HY_RING_LOCAL };

/* Each check returns 0, or its error with *why saying it in words. */
static int refuse(const char **why, const char *words, int error)
{
    *why = words;
    return error;
}

static int check_memory(const hy_ring *ring, size_t bytes, const char **why)
{
    if (bytes < sizeof(*ring))
        return refuse(why, "ring: the memory is too short for any ring",
                      -EBADMSG);
    /* Acquire: pairs with the release in hyi_ring_fill. */
    if (atomic_load_explicit(&ring->magic, memory_order_acquire) !=
        HYI_RING_MAGIC)
        return refuse(why, "ring: none is there, or none yet", -EBADMSG);
    if (ring->version != HYI_RING_VERSION || ring->slots != sizeof(*ring))
        return refuse(why, "ring: made by another version of the library",
                      -EPROTO);
    return 0;
}

static int check_sizes(const hy_ring *ring, size_t bytes, const char **why)
{
    uint64_t capacity = ring->mask + 1;
    size_t room = SIZE_MAX / 2 - sizeof(*ring);

    if ((ring->flags & ~(unsigned)KNOWN) != 0 ||
        (ring->flags & (HY_RING_SHARED | HY_RING_LOCAL)) ==
            (HY_RING_SHARED | HY_RING_LOCAL))
        return refuse(why, "ring: damaged: flags that no ring has", -EBADMSG);
    if (!hyi_is_power_of_two(capacity) || capacity > room)
        return refuse(why, "ring: damaged: capacity is no power of two",
                      -EBADMSG);
    if (ring->item_bytes == 0 || ring->item_bytes > room ||
        ring->stride != hyi_ring_stride(ring->item_bytes, ring->flags) ||
        ring->stride > room / capacity)
        return refuse(why, "ring: damaged: items do not fit their slots",
                      -EBADMSG);
    if (ring->bytes != hyi_ring_bytes(ring->stride, capacity) ||
        ring->lag != hyi_ring_lag(capacity) || ring->run > capacity ||
        ring->wake_items - 1 >= capacity || ring->wake_room - 1 >= capacity)
        return refuse(why, "ring: damaged: sizes do not fit one another",
                      -EBADMSG);
    if (ring->bytes > bytes)
        return refuse(why, "ring: larger than the memory given", -ENOSPC);
    return 0;
}

/* A quick side is used before it is looked at whose it is. As bytes: no bool
 * may be read that is none. */
static bool is_any_quick(const hy_ring *ring)
{
    unsigned char quick[2];

    memcpy(&quick[0], &ring->producer.quick, 1);
    memcpy(&quick[1], &ring->consumer.quick, 1);
    return (quick[0] | quick[1]) != 0;
}

/* Of a ring that is not shared the words hold addresses of this process. */
int hyi_ring_check_words(const hy_ring *ring, const char **why)
{
    uintptr_t none = ~(HYI_RING_CLOSED | HYI_RING_SLEEPS);

    if (hyi_ring_is_shared(ring) && is_any_quick(ring))
        return refuse(why, "ring: damaged: a side that is none of a shared one",
                      -EBADMSG);
    if (hyi_ring_is_shared(ring) &&
        (((atomic_load_explicit(&ring->reader, memory_order_relaxed) |
           atomic_load_explicit(&ring->writer, memory_order_relaxed)) &
          none) != 0))
        return refuse(why, "ring: damaged: a word with bits that none has",
                      -EBADMSG);
    return 0;
}

/* Acquires order the loads: each index is not older than the one before. */
static uint64_t look(const _Atomic uint64_t *index)
{
    return atomic_load_explicit(index, memory_order_acquire);
}

/* Decided by a consumer it is head, by a producer tail; neither moves after. */
static int check_end(const hy_ring *ring, uint64_t final, uint64_t tail,
                     uint64_t head, const char **why)
{
    if (final == HYI_RING_UNDECIDED)
        return 0;
    if (final != head && final != tail)
        return refuse(why, "ring: its end is neither head nor tail", -ERANGE);
    if (!hyi_ring_is_closed(ring))
        return refuse(why, "ring: damaged: it has an end and is not closed",
                      -EBADMSG);
    return 0;
}

int hyi_ring_check_indices(const hy_ring *ring, const char **why)
{
    uint64_t hint = look(&ring->hint), before = look(&ring->head);
    uint64_t final = look(&ring->final), tail = look(&ring->tail);
    uint64_t after = look(&ring->head), capacity = ring->mask + 1;

    if (before < hint || after < before)
        return refuse(why, "ring: hint is beyond head", -ERANGE);
    if (tail < before)
        return refuse(why, "ring: head is beyond tail", -ERANGE);
    if ((ring->flags & HY_RING_OVERWRITE) == 0 && tail > after &&
        tail - after > capacity)
        return refuse(why, "ring: tail is beyond head + capacity", -ERANGE);
    return check_end(ring, final, tail, after, why);
}

static int check(const hy_ring *ring, size_t bytes, const char **why)
{
    int r = check_memory(ring, bytes, why);

    if (r == 0)
        r = check_sizes(ring, bytes, why);
    if (r == 0)
        r = hyi_ring_check_words(ring, why);
    return r != 0 ? r : hyi_ring_check_indices(ring, why);
}

static int check_shape(const hy_ring *ring, const hy_ring_options *o,
                       const char **why)
{
    if (o->item_bytes != 0 && o->item_bytes != ring->item_bytes)
        return refuse(why, "ring: items of another size", -EMSGSIZE);
    if (o->capacity != 0 &&
        hyi_power_of_two_ceil(o->capacity) != ring->mask + 1)
        return refuse(why, "ring: of another capacity", -EDOM);
    if (o->flags != ring->flags)
        return refuse(why, "ring: made with other flags", -EPROTOTYPE);
    return 0;
}

static bool is_place(const void *memory)
{
    return memory != NULL && hyi_is_aligned((uintptr_t)memory, HYI_LINE_BYTES);
}

int hy_ring_attach(hy_ring **out, void *memory, size_t bytes)
{
    const char *why;
    int r;

    if (out == NULL || !is_place(memory))
        return -EINVAL;
    r = check(memory, bytes, &why);
    if (r == 0)
        *out = memory;
    return r;
}

int hy_ring_attach_as(hy_ring **out, void *memory, size_t bytes,
                      const hy_ring_options *expected)
{
    hy_ring_options o;
    const char *why;
    int r;

    if (out == NULL || expected == NULL || !is_place(memory))
        return -EINVAL;
    r = hyi_options_read(&o, sizeof(o), expected);
    if (r != 0)
        return r;
    r = check(memory, bytes, &why);
    if (r == 0)
        r = check_shape(memory, &o, &why);
    if (r == 0)
        *out = memory;
    else if (o.report.write != NULL)
        o.report.write(o.report.ctx, HY_REPORT_ERROR, why);
    return r;
}
