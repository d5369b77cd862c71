/*
 * ring.h - a bounded queue between one producer, or many, and one consumer.
 *
 * Each side is one thread or one fiber at a time; a side may be handed to
 * another thread when the hand-over itself synchronises. Functions say which
 * side may call them. Items are copied as bytes, or written and read in place
 * through spans.
 *
 *      producer                                     consumer
 *      push, push_n, reserve/commit, push_wait      pop, pop_n, peek/release,
 *                                                   pop_wait
 *      push_mp, push_mp_n, push_mp_wait: many
 *      producers at once
 *                either, and anybody: state, count, stats_get, close
 *
 * Memory order. What the producer did before a push (push_n, commit) is seen
 * by the consumer after the pop (pop_n, peek) that takes the item: release and
 * acquire. In the same way what the consumer did before it gave a slot back is
 * seen by the producer after it got that slot. Nothing else is ordered.
 *
 * Full and empty are exact: a push fails only when capacity items are in the
 * ring at some moment during the call, a pop only when none is.
 *
 * Many producers. Any number of threads and fibers may call the push_mp
 * functions at once, on a ring made as any other; the consumer cannot tell the
 * difference. They take turns on the producer's side, so all that is said here
 * holds for them too: exact full and empty, order (what one producer pushed
 * comes out in the order in which it pushed it, and one batch in one piece),
 * closing, wakes, and HY_RING_OVERWRITE. A producer that loses its processor in
 * the middle of a push delays the others, who spin, yield, and then sleep. To
 * mix them with push, push_n, push_wait, reserve, or commit takes a hand-over,
 * as between two single producers: no call of one kind while one of the other
 * runs, or a span is out. Debug builds say -EBUSY when two meet.
 *
 * Head start. A consumer that has caught up with a producer in full flow, and
 * finds less than a quarter of the ring or 16 KiB, lets it run ahead before it
 * takes what is there: a microsecond or three, as long as items keep coming and
 * only while that has paid off, else once in 256 times. On the producer's heels
 * both would be several times slower. A ring that is empty is reported at once,
 * and HY_RING_LOCAL rings never do this.
 *
 * Waiting. push_wait and pop_wait spin for a few microseconds where that has
 * paid off before, then park the fiber or the thread. A side that never waits
 * is never charged: a push costs no fence, and calls the system only when the
 * consumer is parked, once for each time that it parked. The wake protocol:
 * the sleeper publishes itself in a word of its side, runs a barrier on all
 * threads of the process (membarrier), and looks at the ring once more before
 * it parks; the other side publishes its index, then reads the word. Where
 * membarrier is missing both sides fence instead.
 *
 * Marks. A ring made with wake_items lets a consumer sleep in pop_wait until so
 * many items are in, and with wake_room a producer in push_wait until so many
 * fit: fewer wakes, for later ones. A side goes to sleep as ever, the consumer
 * on an empty ring, the producer on a full one, and a thread that spins before
 * it parks waits for its mark likewise. A sleeper returns when
 *   - its mark is reached,
 *   - the ring is closed, its deadline passes, or its fiber is cancelled,
 *   - the consumer: one item or more is in, and the producer calls
 *     hy_ring_flush, or itself waits in push_wait,
 *   - the producer: the consumer empties the ring, as it does before it waits;
 * and takes what there is. So two sides that wait in this ring alone never wait
 * for each other. But a producer that stops below the mark without a flush, to
 * wait for an answer, say, leaves its consumer asleep until its deadline.
 *
 * Closing. hy_ring_close ends the stream: pushes fail with -EPIPE from then
 * on, pops drain what is in and then fail with -EPIPE; both sides' waiters are
 * woken. A push that races with the close is delivered or refused, and its
 * result says which.
 *
 * fork: the child has a copy of a ring that is not in shared memory. A side on
 * which a thread of the parent slept cannot be slept on there: -EBUSY. What
 * another thread of the parent was pushing by push_mp at that moment is in the
 * child's copy, or not.
 *
 * Between processes (HY_RING_SHARED). The ring lies in memory that several
 * processes map, at any address: hy_ring_init in one, hy_ring_attach in the
 * others; or hy_ring_create, and fork. All are of one ABI: 64 bits, little
 * endian, one version of this layout (the number at byte 4).
 *
 *      byte   what                                          written by
 *      0      u32 0x676e6972, once the ring is made         its maker
 *      4      u32 version of the layout: 2                  its maker
 *      256    u64 tail: items ever pushed                   the producer
 *      512    u64 head: items ever popped                   the consumer
 *      768    u64 reader: bit 0 closed, bit 1 the           both, by one
 *             consumer sleeps; all else 0                   read-modify-write
 *      776    u64 the tail for which the consumer sleeps    the consumer
 *      784    u32 the consumer's bell: rings so far         who rings
 *      896    u64 writer: the same of the producer          both
 *      904    u64 the head for which the producer sleeps    the producer
 *      912    u32 the producer's bell                       who rings
 *
 * A push stores tail, fences, and loads reader. Only when bit 1 is set, and
 * tail has come to the word beside it, it takes that bit out with one atomic
 * AND, and only if it was it who took it, adds 1 to the consumer's bell and
 * wakes that futex, as shared between processes (FUTEX_WAKE without
 * FUTEX_PRIVATE_FLAG). A consumer that is about to sleep loads its bell, sets
 * bit 1 with an atomic OR, fences, looks at tail once more, and waits on the
 * futex for as long as the bell is what it was (FUTEX_WAIT_BITSET,
 * CLOCK_MONOTONIC). The other way round in the same manner, with head, writer,
 * and the producer's bell. So there is one wake for each sleep, and none while
 * nobody sleeps; hy_ring_stats counts both. A fiber waits through its worker,
 * which goes on with other fibers. hy_ring_close sets bit 0 of reader, then of
 * writer, and rings for who sleeps.
 *
 * Each side belongs to one process: the first that uses it (or calls
 * hy_ring_claim), until it calls hy_ring_detach, or ends. While that process is
 * alive the same side answers -EBUSY to others (hy_ring_push_n and _pop_n 0,
 * hy_ring_reserve and _peek NULL). A process is told from a later one of the
 * same number by its start; one that has called exec counts as alive; and those
 * of another PID namespace than the maker's cannot be looked up, and count as
 * alive until hy_ring_recover says otherwise.
 *
 * A process may be killed at any moment. What is published, tail and head, is
 * the truth: the next owner of the side begins there. An item whose push has
 * returned 0 is in; one of a push that has not returned is in, whole, or is
 * not. (Of a batch or a span: all or nothing.) An item that a pop has returned
 * does not come again; those of a pop, pop_n or peeked span under way come
 * again to the next consumer, or not at all once given back, which is why who
 * must not lose one processes it before hy_ring_release. The partner of a
 * killed process goes on: if it sleeps, it gets -EOWNERDEAD within half a
 * second of sleep, once, as soon as there is nothing left to pop (or no room),
 * and may wait on for a new partner; nothing else has to be done by anybody. (A
 * wake that the killed one did not come to is made up for at the same time.)
 *
 * No function here is for signal handlers. hy_ring_push and hy_ring_pop never
 * block.
 *
 * The layout follows L. Lamport, "Specifying Concurrent Program Modules"
 * (1983), with the cached indices of P. P. C. Lee et al., "A Lock-free,
 * Cache-efficient Multi-core Synchronization Mechanism for Line-rate Network
 * Traffic Monitoring" (MCRingBuffer, 2010).
 */
#ifndef HYPERION_RING_H
#define HYPERION_RING_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** A ring. Its producers and its consumer: see the list of sides above. That a
 * ring or an item is not NULL is checked where a function says so. */
typedef struct hy_ring hy_ring;

/** Flags of hy_ring_options. */
enum hy_ring_flags {
    /** Between processes (see above). Not with HY_RING_LOCAL. */
    HY_RING_SHARED = 1u << 0,
    /**
     * A push on a full ring drops the oldest item and never fails; the
     * consumer finds out what was lost in hy_ring_stats.lost. Each item is
     * copied with a sequence number around it, so a pop is whole or retried;
     * a pop that fails may have written to its item. Spans are not offered:
     * hy_ring_reserve and hy_ring_peek return NULL.
     */
    HY_RING_OVERWRITE = 1u << 1,
    /**
     * All sides are fibers of one worker, or one and the same thread: waiting
     * needs no barrier. (A ring without any atomics: inline/ring.h.)
     */
    HY_RING_LOCAL = 1u << 2
};

/** The two sides of a ring; may be or'ed. */
enum hy_ring_side { HY_RING_PRODUCER = 1u << 0, HY_RING_CONSUMER = 1u << 1 };

/** How a ring is made. item_bytes and capacity have no default. */
typedef struct hy_ring_options {
    size_t size;       /**< sizeof(hy_ring_options) */
    size_t item_bytes; /**< bytes of one item, at least 1 */
    size_t capacity;   /**< items, at least 1; rounded up to a power of two */
    unsigned flags;    /**< of hy_ring_flags */
    hy_report report;  /**< tells when waiting needs fences: no membarrier */
    size_t wake_items; /**< items that wake a consumer; 0 and 1: the first */
    size_t wake_room;  /**< free slots that wake a producer; likewise. No push
                            on an HY_RING_OVERWRITE ring waits for any */
} hy_ring_options;

/** Starts an options struct: size set, all else zero. */
#define HY_RING_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_ring_options), 0, 0, 0, {NULL, NULL}, 0, 0                   \
    }

/**
 * Makes a ring in memory of its own: capacity slots of item_bytes, the first
 * one aligned to 128 bytes, and about 1.3 KB. With HY_RING_SHARED the memory is
 * one that children made by fork share, at the same address. Any thread.
 * @param out      gets the ring; hy_ring_destroy ends it
 * @param options  must not be NULL
 * @return 0; -EINVAL for NULL, an item_bytes or capacity of zero, a mark above
 *         the capacity, unknown flags, or HY_RING_SHARED with HY_RING_LOCAL;
 *         -EOVERFLOW when the bytes do not fit a size_t; -ENOMEM; -E2BIG
 *         (base.h, Options).
 */
HY_API int hy_ring_create(hy_ring **out, const hy_ring_options *options);

/**
 * Ends a ring that neither side uses any more; NULL is allowed. Memory that
 * hy_ring_init was given stays the caller's and can no longer be attached.
 * With HY_RING_SHARED: gives up this process's sides as hy_ring_detach does;
 * then what hy_ring_create made goes from this process alone, while a ring that
 * hy_ring_init made is ended for all.
 */
HY_API void hy_ring_destroy(hy_ring *ring);

/**
 * How many bytes hy_ring_init needs for a ring of these options.
 * @return 0 and the number in *bytes, or the errors of hy_ring_create.
 */
HY_API int hy_ring_placement(size_t *bytes, const hy_ring_options *options);

/**
 * Makes a ring inside the caller's memory, which must stay until
 * hy_ring_destroy. Nothing in it is an address, but for a sleeper's, of which a
 * HY_RING_SHARED ring has none. Whoever attaches before this has returned gets
 * -EBADMSG. What was in the memory before is overwritten: a ring that may be in
 * use is attached, not initialised.
 * @param memory  aligned to 128 bytes
 * @return 0; -EINVAL for misaligned memory; -ENOSPC when bytes is less than
 *         hy_ring_placement asks for; or the errors of hy_ring_create.
 */
HY_API int hy_ring_init(hy_ring **out, void *memory, size_t bytes,
                        const hy_ring_options *options);

/**
 * Finds the ring that hy_ring_init made in this memory: in this process, or, of
 * a HY_RING_SHARED ring, in any. Everything in its header is checked, and what
 * is accepted never makes a push or a pop leave the memory; the lines that a
 * side keeps for itself are made anew when it is claimed. (Not those of a side
 * that this very process has claimed already.) Changes nothing, and allocates
 * nothing: who leaves a shared ring calls hy_ring_detach and unmaps it, since
 * hy_ring_destroy ends it for all, and does not tell those who are attached
 * (hy_ring_close does).
 * @return 0; -EINVAL for NULL or misaligned memory; -EBADMSG when no ring is
 *         there (or none yet), or its header is damaged: a capacity that is no
 *         power of two, sizes that do not fit one another, unknown flags, bits
 *         that no word has; -ERANGE when an index is out of place: not
 *         hint <= head <= tail <= head + capacity; -EPROTO when it was made by
 *         another version of the library; -ENOSPC when the ring is larger than
 *         bytes.
 */
HY_API int hy_ring_attach(hy_ring **out, void *memory, size_t bytes);

/**
 * hy_ring_attach to a ring of the shape that the caller expects: item_bytes,
 * capacity (rounded up as by hy_ring_init) and flags of expected, of which
 * sizes of 0 mean any; expected->report is told in words what is wrong.
 * @return as hy_ring_attach; -EMSGSIZE for another item size; -EDOM for another
 *         capacity; -EPROTOTYPE for other flags; -EINVAL for expected NULL;
 *         -E2BIG.
 */
HY_API int hy_ring_attach_as(hy_ring **out, void *memory, size_t bytes,
                             const hy_ring_options *expected);

/**
 * Makes this process the owner of these sides of a HY_RING_SHARED ring. The
 * first use of a side does it, too; this tells early. A side whose owner has
 * ended is taken over: see above what its next owner finds.
 * @return 0, also when it has them already; -EBUSY when another process that
 *         is alive has one of them, and then none is claimed anew; -EINVAL for
 *         NULL, no side, or a ring that is not shared; -ENOMEM.
 */
HY_API int hy_ring_claim(hy_ring *ring, unsigned sides);

/**
 * Gives up those of the sides that this process owns, for another to claim; no
 * call on them is under way. A span that was not committed or released is as if
 * it had never been. The ring stays attached.
 * @return 0, or -EINVAL as hy_ring_claim.
 */
HY_API int hy_ring_detach(hy_ring *ring, unsigned sides);

/**
 * Who owns a side of a HY_RING_SHARED ring; of a moment ago.
 * @param pid  gets its process number unless -ESRCH; NULL is allowed
 * @return 0 for a process that is alive, this one or another; -EOWNERDEAD for
 *         one that has ended; -EXDEV for one of another PID namespace than the
 *         ring's, of which nothing is known; -ESRCH: nobody; -EINVAL.
 */
HY_API int hy_ring_owner(const hy_ring *ring, unsigned side, uint64_t *pid);

/**
 * Gives up a side in the place of a process that has ended: hy_ring_claim does
 * it by itself, but for one of another PID namespace, whose end the caller has
 * to know of. Any process.
 * @return 0; -EBUSY while the owner is alive, or is this process; -EINVAL.
 */
HY_API int hy_ring_recover(hy_ring *ring, unsigned side);

/**
 * Adds one item. Producer. 0, -EAGAIN full, -EPIPE closed; -EBUSY when another
 * process has this side of a HY_RING_SHARED ring, and, in debug builds, of any
 * ring when another thread is in the middle of a push.
 */
HY_API int hy_ring_push(hy_ring *ring, const void *item);

/** Takes the oldest item. Consumer. 0, -EAGAIN empty, -EPIPE closed and
 * drained; -EBUSY as hy_ring_push. */
HY_API int hy_ring_pop(hy_ring *ring, void *item);

/**
 * Adds up to count items that stand one after another, with one publication.
 * Producer. Returns how many went in: less than count when the ring is full or
 * closed (hy_ring_state tells).
 */
HY_API size_t hy_ring_push_n(hy_ring *ring, const void *items, size_t count);

/** Takes up to count items. Consumer. Returns how many. */
HY_API size_t hy_ring_pop_n(hy_ring *ring, void *items, size_t count);

/**
 * A span of free slots, one after another, to write items into. Producer.
 * Nothing is visible to the consumer before hy_ring_commit; a span that is not
 * committed needs no undoing. The span ends at the end of the slots at the
 * latest, so that a second call may give more.
 * @param want  items wanted
 * @param got   gets the length of the span in items, at most want; NULL: the
 *              span is want items long or there is none
 * @return the span, valid until the next commit, push or reserve; NULL when
 *         the ring is full or closed, want is 0, or it is HY_RING_OVERWRITE.
 */
HY_API void *hy_ring_reserve(hy_ring *ring, size_t want, size_t *got);

/**
 * Publishes the first count items of the span; 0 gives it back unused. A count
 * above the span's length means all of it. Items committed to a ring that has
 * been closed meanwhile may be dropped (hy_ring_state tells). Producer.
 */
HY_API void hy_ring_commit(hy_ring *ring, size_t count);

/**
 * A span of the oldest items, one after another, to read in place. Consumer.
 * @param count  gets its length; NULL is allowed
 * @return the span, valid until the next release or pop; NULL when none is
 *         there, or on an HY_RING_OVERWRITE ring.
 */
HY_API const void *hy_ring_peek(hy_ring *ring, size_t *count);

/** Gives the first count slots of the span back; above its length means all.
 * Consumer. */
HY_API void hy_ring_release(hy_ring *ring, size_t count);

/**
 * 0 when items are in, -EAGAIN when it is empty, -EPIPE once it is closed,
 * drained or not. Anybody; for all but the two sides the answer is of a moment
 * ago. A consumer that stops on -EPIPE drains first: what pop_n or peek still
 * gives after this call is all there will be.
 */
HY_API int hy_ring_state(const hy_ring *ring);

/** Items in the ring, of a moment ago. Anybody. */
HY_API size_t hy_ring_count(const hy_ring *ring);

/** Items that fit: the capacity asked for, rounded up. Anybody. */
HY_API size_t hy_ring_capacity(const hy_ring *ring);

/**
 * hy_ring_push that waits for room. Producer.
 * @return 0; -EPIPE closed; -ETIMEDOUT when the deadline passed first (at once
 *         for HY_NOW, in a cancelled fiber too); -ECANCELED when the fiber is
 * cancelled; -EBUSY when another thread or fiber sleeps in this function on
 * this ring: a side is one at a time, and the sleeper goes on sleeping; or as
 *         hy_ring_push; -EOWNERDEAD when it slept on a HY_RING_SHARED ring and
 *         the consumer's process has ended: told once, after that the side is
 *         nobody's. The item is in the ring if and only if the result is 0.
 */
HY_API int hy_ring_push_wait(hy_ring *ring, const void *item,
                             hy_deadline until);

/** hy_ring_pop that waits for an item. Consumer. Same results; -EPIPE means
 * closed and drained. */
HY_API int hy_ring_pop_wait(hy_ring *ring, void *item, hy_deadline until);

/**
 * hy_ring_push for many producers at once: any thread or fiber.
 * On a HY_RING_SHARED ring all of them are of the one process that has the
 * producer's side.
 * @return 0; -EAGAIN full; -EPIPE closed; -EBUSY as hy_ring_push. After 0 the
 *         item is in the ring.
 */
HY_API int hy_ring_push_mp(hy_ring *ring, const void *item);

/**
 * hy_ring_push_n for many producers at once: no other producer's item comes
 * between those that went in.
 * @return how many went in, from the first one on: fewer than count when the
 *         ring is full or closed (hy_ring_state tells).
 */
HY_API size_t hy_ring_push_mp_n(hy_ring *ring, const void *items, size_t count);

/**
 * hy_ring_push_mp that waits for room. Any number of producers may wait at
 * once: one sleeps until the consumer makes room, and each that has pushed, or
 * gives up, wakes the next. One that comes while others wait may find room
 * before they do.
 * @return as hy_ring_push_wait; -EBUSY only beside a sleeper in
 *         hy_ring_push_wait, which is misuse, or one of a fork's parent.
 */
HY_API int hy_ring_push_mp_wait(hy_ring *ring, const void *item,
                                hy_deadline until);

/**
 * Wakes a consumer that sleeps on items below its mark, and keeps it from going
 * to sleep on those that are in by now. Nothing on a ring without wake_items.
 * Any producer.
 */
HY_API void hy_ring_flush(hy_ring *ring);

/** Closes the ring for good; closing twice is allowed. Either side, or any
 * third thread. */
HY_API void hy_ring_close(hy_ring *ring);

/** Figures of one ring since it was made. */
typedef struct hy_ring_stats {
    size_t size;       /**< set by the caller */
    size_t capacity;   /**< items */
    size_t item_bytes; /**< bytes of one item */
    unsigned flags;    /**< of hy_ring_flags */
    int fenced;        /**< 1: no membarrier, both sides fence */
    uint64_t pushed;   /**< items published */
    uint64_t popped;   /**< items taken or dropped as the oldest */
    uint64_t lost;     /**< of these, dropped (HY_RING_OVERWRITE) */
    uint64_t push_parks, pop_parks; /**< how often each went to sleep */
    uint64_t push_wakes, pop_wakes; /**< how often each woke the other */
} hy_ring_stats;

/** Fills *out; of a moment ago. Anybody. 0, or -EINVAL for a bad size. */
HY_API int hy_ring_stats_get(const hy_ring *ring, hy_ring_stats *out);

HY_END_DECLS

#endif
