/*
 * test_ring_attach.c - attaching to what is no ring, or one that is damaged, of
 * another version, of another shape, or larger than its memory: each a named
 * error; and headers damaged at random, of which none that is accepted makes a
 * push or a pop leave the memory.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include <hyperion/ring.h>

#include "hy_test.h"
#include "os.h"
#include "ring_layout.h"

enum { CAPACITY = 16, BOTH = HY_RING_PRODUCER | HY_RING_CONSUMER };

/* A ring that ends where its memory does, between two pages that trap. */
struct place {
    char *mapping;
    size_t mapped, bytes;
    hy_ring *ring;
};

static hy_ring_options shape(unsigned flags)
{
    hy_ring_options o = HY_RING_OPTIONS_INIT;

    o.item_bytes = 24;
    o.capacity = CAPACITY;
    o.flags = HY_RING_SHARED | flags;
    return o;
}

static struct place make(unsigned flags)
{
    hy_ring_options o = shape(flags);
    size_t page = hyi_os_page_bytes(), inner;
    struct place p;

    HY_CHECK_EQ(hy_ring_placement(&p.bytes, &o), 0);
    inner = (p.bytes + page - 1) / page * page;
    p.mapped = inner + 2 * page;
    p.mapping =
        mmap(NULL, p.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HY_CHECK(p.mapping != MAP_FAILED);
    HY_CHECK_EQ(mprotect(p.mapping + page, inner, PROT_READ | PROT_WRITE), 0);
    HY_CHECK_EQ(
        hy_ring_init(&p.ring, p.mapping + page + inner - p.bytes, p.bytes, &o),
        0);
    return p;
}

static void end(struct place *p)
{
    munmap(p->mapping, p->mapped);
}

/* With two items in, of seven pushed. */
static void use(struct place *p)
{
    uint64_t item[3] = {1, 2, 3};

    for (int i = 0; i < 7; i++)
        HY_CHECK_EQ(hy_ring_push(p->ring, item), 0);
    for (int i = 0; i < 5; i++)
        HY_CHECK_EQ(hy_ring_pop(p->ring, item), 0);
    HY_CHECK_EQ(hy_ring_detach(p->ring, BOTH), 0);
}

static int attach(struct place *p)
{
    hy_ring *again = NULL;
    int r = hy_ring_attach(&again, p->ring, p->bytes);

    HY_CHECK(again == (r == 0 ? p->ring : NULL));
    return r;
}

HY_TEST(ring_attach, a_sound_ring_is_found_as_it_was)
{
    struct place p = make(0);
    uint64_t item[3];

    HY_CHECK_EQ(attach(&p), 0);
    use(&p);
    HY_CHECK_EQ(attach(&p), 0);
    HY_CHECK_EQ(hy_ring_count(p.ring), 2);
    hy_ring_close(p.ring);
    HY_CHECK_EQ(attach(&p), 0);
    HY_CHECK_EQ(hy_ring_pop(p.ring, item), 0);
    HY_CHECK_EQ(hy_ring_pop(p.ring, item), 0);
    HY_CHECK_EQ(hy_ring_pop(p.ring, item), -EPIPE);
    HY_CHECK_EQ(attach(&p), 0);
    hy_ring_destroy(p.ring);
    HY_CHECK_EQ(attach(&p), -EBADMSG);
    end(&p);
}

/* Each field of the header with a value that it never has. */
HY_TEST(ring_attach, each_damaged_field_is_named)
{
#define FIELD(field, value, error)                                             \
    {                                                                          \
        offsetof(hy_ring, field), sizeof(((hy_ring *)0)->field), (value),      \
            (error)                                                            \
    }
    static const struct {
        size_t at, bytes;
        uint64_t value;
        int error;
    } rows[] = {
        FIELD(magic, 0, -EBADMSG),
        FIELD(magic, HYI_RING_MAGIC_BYTES, -EBADMSG),
        FIELD(version, HYI_RING_VERSION + 1, -EPROTO),
        FIELD(version, 0, -EPROTO),
        FIELD(slots, 128, -EPROTO),
        FIELD(mask, CAPACITY - 2, -EBADMSG),
        FIELD(mask, UINT64_MAX, -EBADMSG),
        FIELD(mask, 2 * CAPACITY - 1, -EBADMSG),
        FIELD(item_bytes, 0, -EBADMSG),
        FIELD(item_bytes, SIZE_MAX, -EBADMSG),
        FIELD(stride, 16, -EBADMSG),
        FIELD(stride, SIZE_MAX / 4, -EBADMSG),
        FIELD(bytes, 128, -EBADMSG),
        FIELD(bytes, SIZE_MAX, -EBADMSG),
        FIELD(lag, 1u << 20, -EBADMSG),
        FIELD(wake_items, 0, -EBADMSG),
        FIELD(wake_items, CAPACITY + 1, -EBADMSG),
        FIELD(wake_room, CAPACITY + 1, -EBADMSG),
        FIELD(flags, 1u << 31, -EBADMSG),
        FIELD(flags, HY_RING_SHARED | HY_RING_LOCAL, -EBADMSG),
        FIELD(flags, HY_RING_SHARED | HY_RING_OVERWRITE, -EBADMSG),
        FIELD(reader, 4, -EBADMSG),
        FIELD(writer, UINT64_MAX, -EBADMSG),
        FIELD(producer.quick, 1, -EBADMSG),
        FIELD(consumer.quick, 2, -EBADMSG),
        FIELD(hint, 6, -ERANGE),
        FIELD(head, 8, -ERANGE),
        FIELD(tail, 4, -ERANGE),
        FIELD(tail, 5 + CAPACITY + 1, -ERANGE),
        FIELD(final, 6, -ERANGE),
        FIELD(final, 8, -ERANGE),
        FIELD(final, 7, -EBADMSG),
    };
#undef FIELD
    struct place p = make(0);
    uint64_t kept = 0;

    use(&p);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned char *field = (unsigned char *)p.ring + rows[i].at;
        int r;

        memcpy(&kept, field, rows[i].bytes);
        memcpy(field, &rows[i].value, rows[i].bytes);
        r = attach(&p);
        HY_CHECK_MSG(r == rows[i].error, "row %zu: %d", i, r);
        memcpy(field, &kept, rows[i].bytes);
        HY_CHECK_EQ(attach(&p), 0);
    }
    end(&p);
}

HY_TEST(ring_attach, short_memory_and_bad_arguments_are_named)
{
    struct place p = make(0);
    hy_ring_options o = shape(0);
    hy_ring *again = NULL;
    char *at = (char *)p.ring;

    HY_CHECK_EQ(hy_ring_attach(&again, at, p.bytes - 1), -ENOSPC);
    HY_CHECK_EQ(hy_ring_attach(&again, at, sizeof(hy_ring)), -ENOSPC);
    HY_CHECK_EQ(hy_ring_attach(&again, at, sizeof(hy_ring) - 1), -EBADMSG);
    HY_CHECK_EQ(hy_ring_attach(&again, at, 0), -EBADMSG);
    HY_CHECK_EQ(hy_ring_attach(&again, at + 8, p.bytes - 8), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach(&again, NULL, p.bytes), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach(NULL, at, p.bytes), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach_as(NULL, at, p.bytes, &o), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach_as(&again, at, p.bytes, NULL), -EINVAL);
    HY_CHECK_EQ(hy_ring_attach_as(&again, at + 8, p.bytes, &o), -EINVAL);
    o.size = 3;
    HY_CHECK_EQ(hy_ring_attach_as(&again, at, p.bytes, &o), -EINVAL);
    HY_CHECK(again == NULL);
    end(&p);
}

static const char *told;

static void hear(void *ctx, int level, const char *message)
{
    (*(int *)ctx)++;
    told = level == HY_REPORT_ERROR ? message : NULL;
}

HY_TEST(ring_attach, another_shape_is_named_and_said_in_words)
{
    struct place p = make(0);
    hy_ring_options o = shape(0);
    hy_ring *again = NULL;
    int times = 0;

    o.report.write = hear;
    o.report.ctx = &times;
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), 0);
    o.capacity--; /* rounded up it is the same */
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), 0);
    o.capacity = o.item_bytes = 0;
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), 0);
    HY_CHECK_EQ(times, 0);
    again = NULL;
    o.item_bytes = 16;
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), -EMSGSIZE);
    HY_CHECK_STR(told, "ring: items of another size");
    o.item_bytes = 24;
    o.capacity = CAPACITY + 1;
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), -EDOM);
    HY_CHECK_STR(told, "ring: of another capacity");
    o = shape(HY_RING_OVERWRITE);
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), -EPROTOTYPE);
    o.report.write = hear;
    o.report.ctx = &times;
    p.ring->version++;
    HY_CHECK_EQ(hy_ring_attach_as(&again, p.ring, p.bytes, &o), -EPROTO);
    HY_CHECK_STR(told, "ring: made by another version of the library");
    HY_CHECK_EQ(times, 3);
    HY_CHECK(again == NULL);
    end(&p);
}

/* --- at random ------------------------------------------------------------ */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Values that are near to what a field may hold. */
static uint64_t likely(uint64_t random)
{
    static const uint64_t some[] = {0,          1,
                                    2,          3,
                                    15,         16,
                                    17,         24,
                                    31,         128,
                                    UINT64_MAX, UINT64_MAX - 1,
                                    7,          SIZE_MAX / 2,
                                    1u << 31,   384};

    return some[random % (sizeof(some) / sizeof(some[0]))] +
           (random >> 32) % 3 - (random >> 40) % 2;
}

static void damage(hy_ring *ring, uint64_t *state)
{
    unsigned char *bytes = (unsigned char *)ring;

    for (uint64_t n = 1 + random_next(state) % 3; n != 0; n--) {
        uint64_t random = random_next(state), value;
        size_t at = (size_t)(random >> 8) % sizeof(hy_ring);

        if (random % 4 == 0) {
            bytes[at] ^= (unsigned char)(1u << (random >> 4) % 8);
            continue;
        }
        if (random % 4 == 1) /* where something is */
            at = at / 128 * 128 + (size_t)(random >> 40) % 64;
        value =
            random % 4 == 2 ? random_next(state) : likely(random_next(state));
        memcpy(bytes + at / 8 * 8, &value, 8);
    }
}

static void exercise(hy_ring *ring)
{
    uint64_t items[3 * 2 * CAPACITY] = {0};
    size_t got;
    void *span;

    if (ring->item_bytes > 24) /* the buffer here is for those */
        return;
    for (int i = 0; i < 3; i++) {
        hy_ring_push_n(ring, items, 2 * CAPACITY);
        hy_ring_push(ring, items);
        span = hy_ring_reserve(ring, 2 * CAPACITY, &got);
        if (span != NULL)
            memset(span, 1, got * ring->item_bytes);
        hy_ring_commit(ring, got);
        hy_ring_pop(ring, items);
        hy_ring_pop_n(ring, items, 2 * CAPACITY);
        if (hy_ring_peek(ring, &got) != NULL)
            hy_ring_release(ring, got);
        hy_ring_pop_wait(ring, items, HY_NOW);
        hy_ring_state(ring);
    }
    hy_ring_close(ring);
    while (hy_ring_pop(ring, items) == 0)
        ;
    hy_ring_detach(ring, BOTH);
}

static void fuzz(void *arg)
{
    uint64_t state = 0x9e3779b97f4a7c15u, start = hyi_os_now();
    unsigned *accepted = arg;

    alarm(60); /* a hang is a failure, too */
    for (int i = 0; i < 60000 && hyi_os_now() - start < 2000000000; i++) {
        struct place p = make(i % 3 == 0 ? HY_RING_OVERWRITE : 0);
        hy_ring *again = NULL;

        use(&p);
        damage(p.ring, &state);
        if (hy_ring_attach(&again, p.ring, p.bytes) == 0 &&
            (again->flags & HY_RING_SHARED) != 0) {
            exercise(again);
            ++*accepted;
        }
        end(&p);
    }
}

HY_TEST(ring_attach, no_damaged_header_makes_a_ring_leave_its_memory)
{
    unsigned *accepted = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = hy_test_child(fuzz, accepted);

    HY_CHECK_EQ(status, 0);
    /* Most of a header's bytes are padding. */
    HY_CHECK(*accepted > 100);
    munmap(accepted, 4096);
}
