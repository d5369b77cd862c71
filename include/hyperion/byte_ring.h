/*
 * byte_ring.h - a bounded queue of records of any length between one producer
 * and one consumer: hyperion/ring.h for what is not all of one size.
 *
 *      | length | record, padded to 8 | length | record ... |
 *        8 bytes
 *
 * The pages of the ring are mapped twice, one copy after the other, so that
 * every record lies in one piece wherever it begins: it is written in place
 * (reserve, commit) and read in place (peek, release), and nothing is ever
 * split, skipped or copied because the ring's end has come.
 *
 *      producer                                     consumer
 *      reserve, commit, stage, publish, abort,      peek, next, release, pop,
 *      push, *_wait, flush                          *_wait
 *                either, and anybody: state, used, stats_get, close
 *
 * A record of n bytes takes 8 and n, rounded up to 8, of the capacity; n may be
 * 0, and hy_byte_ring_longest at most. Records begin at multiples of 8.
 *
 * Sides, memory order, waiting, marks, closing and what one must not do in a
 * signal handler are those of hyperion/ring.h, counted in bytes. In debug
 * builds two producers, or two consumers, at once are found.
 *
 * fork: a child does not have the parent's ring, but for one that is
 * HY_RING_SHARED; destroying it is all that the child may do.
 *
 * Between processes. A HY_RING_SHARED ring comes to another process by fork, or
 * as a descriptor (hy_byte_ring_fd, hy_byte_ring_attach). Whose each side is,
 * how it sleeps, and what comes after a process that was killed is as in
 * hyperion/ring.h: a record is in whole, with its length, or not at all.
 * Lengths and indices are checked before they are used, since the other process
 * can write to them at any time; content that is read in place may still change
 * while it is read.
 */
#ifndef HYPERION_BYTE_RING_H
#define HYPERION_BYTE_RING_H

#include <hyperion/base.h>
#include <hyperion/ring.h>

HY_BEGIN_DECLS

/** A ring of records, as one process sees it. */
typedef struct hy_byte_ring hy_byte_ring;

/** How one is made. capacity has no default. */
typedef struct hy_byte_ring_options {
    size_t size;       /**< sizeof(hy_byte_ring_options) */
    size_t capacity;   /**< bytes, at least 1; rounded up to a power of two, and
                            to a page */
    unsigned flags;    /**< of hy_ring_flags: HY_RING_SHARED, HY_RING_LOCAL */
    hy_report report;  /**< as of hy_ring_options */
    size_t wake_bytes; /**< bytes in the ring that wake a consumer, lengths and
                            padding counted; 0: the first record */
    size_t wake_room;  /**< free bytes that wake a producer; 0, and when a
                            record needs more: as many as it needs */
} hy_byte_ring_options;

/** Starts an options struct: size set, all else zero. */
#define HY_BYTE_RING_OPTIONS_INIT                                              \
    {                                                                          \
        sizeof(hy_byte_ring_options), 0, 0, {NULL, NULL}, 0, 0                 \
    }

/**
 * Makes a ring in a file that exists as memory only: a page for its indices,
 * and the capacity. All of that memory is taken here, where the system can, so
 * that running out of it is an error here and no SIGBUS later; of addresses it
 * takes twice as much. Any thread.
 * @param out      gets the ring; hy_byte_ring_destroy ends it
 * @param options  must not be NULL
 * @return 0; -EINVAL for NULL, a capacity of zero, a mark above the capacity,
 * or flags that are unknown, HY_RING_OVERWRITE, or both SHARED and LOCAL;
 *         -EOVERFLOW when twice the capacity does not fit a size_t; -ENOMEM or
 *         -ENOSPC when the memory, or the addresses, are not to be had;
 *         -EFBIG above RLIMIT_FSIZE; -EMFILE, -ENFILE; what memfd_create says
 *         where it is refused (-EPERM, -ENOSYS, -EACCES); -E2BIG (base.h,
 *         Options).
 */
HY_API int hy_byte_ring_create(hy_byte_ring **out,
                               const hy_byte_ring_options *options);

/**
 * Lets go of a ring: this process's view of it. The memory goes with the last
 * process that has it. A record that was reserved or staged and not published
 * was never there. NULL is allowed.
 */
HY_API void hy_byte_ring_destroy(hy_byte_ring *ring);

/**
 * The file behind the ring, for hy_byte_ring_attach in another process: to be
 * sent through a socket (SCM_RIGHTS), or inherited by fork. It is close-on-exec
 * (dup gives one that is not), and the ring's own: it stays open until
 * hy_byte_ring_destroy.
 */
HY_API int hy_byte_ring_fd(const hy_byte_ring *ring);

/**
 * Maps a HY_RING_SHARED ring that another process, or this one, has made.
 * Everything in its header is checked, and what is accepted never makes a call
 * leave the ring's memory, whatever the other process does to the bytes.
 * @param fd  of hy_byte_ring_fd; stays the caller's
 * @return 0; -EINVAL for NULL; -EBADF; -EBADMSG when no byte ring is in that
 *         file, or its header is damaged, or its size is not what the header
 *         says; -EPROTO when it was made by another version of the library;
 *         -EPROTOTYPE when it is not HY_RING_SHARED; -ERANGE when an index is
 *         out of place; -ENOMEM; -EMFILE; another error of fstat, pread or
 * mmap.
 */
HY_API int hy_byte_ring_attach(hy_byte_ring **out, int fd);

/** hy_ring_claim (-EINVAL for NULL), for a HY_RING_SHARED ring. */
HY_API int hy_byte_ring_claim(hy_byte_ring *ring, unsigned sides);

/** hy_ring_detach; what was staged or reserved was never there. */
HY_API int hy_byte_ring_detach(hy_byte_ring *ring, unsigned sides);

/** hy_ring_owner. */
HY_API int hy_byte_ring_owner(const hy_byte_ring *ring, unsigned side,
                              uint64_t *pid);

/** hy_ring_recover. */
HY_API int hy_byte_ring_recover(hy_byte_ring *ring, unsigned side);

/* --- the producer --------------------------------------------------------- */

/**
 * Room for one record of up to bytes, to write into. Nothing is visible to the
 * consumer before hy_byte_ring_commit; a span that is not committed needs no
 * undoing, and the next reserve or push takes its place. Producer.
 * @param span  gets its address, a multiple of 8
 * @return 0; -EAGAIN when there is not that much room now; -EPIPE closed;
 *         -EMSGSIZE when it never will be: longer than hy_byte_ring_longest;
 *         -EBADMSG when the other process has damaged the indices; of a
 *         HY_RING_SHARED ring also the errors of hy_ring_push.
 */
HY_API int hy_byte_ring_reserve(hy_byte_ring *ring, size_t bytes, void **span);

/**
 * Ends the reserved record at its first bytes, fewer than reserved or all, and
 * publishes it, and what was staged before it. Producer.
 * @return 0; -EPIPE when the ring has been closed meanwhile and nothing of it
 *         will be read; -EINVAL when nothing is reserved, or less than bytes:
 *         then nothing has changed; -EINVAL also when the side of a
 *         HY_RING_SHARED ring is no longer this process's.
 */
HY_API int hy_byte_ring_commit(hy_byte_ring *ring, size_t bytes);

/**
 * Ends the reserved record without publishing it: several that are staged cost
 * the consumer's line one transfer instead of one each. The next commit, push
 * or publish makes them visible, all at once; so does a reserve that finds no
 * room. A close does not. Producer.
 * @return 0, or -EINVAL as hy_byte_ring_commit.
 */
HY_API int hy_byte_ring_stage(hy_byte_ring *ring, size_t bytes);

/** Publishes what is staged. Producer. 0, also when nothing is; -EPIPE as
 * hy_byte_ring_commit. */
HY_API int hy_byte_ring_publish(hy_byte_ring *ring);

/** Gives the reserved span back unused; what is staged stays so. Producer. */
HY_API void hy_byte_ring_abort(hy_byte_ring *ring);

/** Copies one record in and publishes it, and what is staged. Producer. 0, or
 * the errors of hy_byte_ring_reserve and hy_byte_ring_commit. */
HY_API int hy_byte_ring_push(hy_byte_ring *ring, const void *record,
                             size_t bytes);

/**
 * hy_byte_ring_reserve that waits for room. Producer.
 * @return as hy_byte_ring_reserve and hy_ring_push_wait, but not -EAGAIN.
 */
HY_API int hy_byte_ring_reserve_wait(hy_byte_ring *ring, size_t bytes,
                                     void **span, hy_deadline until);

/** hy_byte_ring_push that waits for room. Producer. The record is in the ring
 * if and only if the result is 0. */
HY_API int hy_byte_ring_push_wait(hy_byte_ring *ring, const void *record,
                                  size_t bytes, hy_deadline until);

/** hy_ring_flush: wakes a consumer that sleeps below its mark. Publishes what
 * is staged. Producer. 0, or -EPIPE as hy_byte_ring_commit. */
HY_API int hy_byte_ring_flush(hy_byte_ring *ring);

/* --- the consumer --------------------------------------------------------- */

/**
 * The oldest record, in place. Consumer.
 * @param record  gets its address, a multiple of 8; valid until release or pop
 * @param bytes   gets its length
 * @return 0; -EAGAIN when none is there; -EPIPE closed and drained; -EBADMSG
 *         when the length before it does not fit what is in, or the indices do
 *         not fit the ring: the other process has damaged it, and nothing more
 *         comes out; of a HY_RING_SHARED ring also the errors of hy_ring_pop.
 */
HY_API int hy_byte_ring_peek(hy_byte_ring *ring, const void **record,
                             size_t *bytes);

/** The record after the last one that peek or next has given since the last
 * release: several are read in place, and given back at once. Consumer. As
 * hy_byte_ring_peek; -EAGAIN also when those that were peeked are the last. */
HY_API int hy_byte_ring_next(hy_byte_ring *ring, const void **record,
                             size_t *bytes);

/** Gives back all that was peeked since the last release. Consumer. */
HY_API void hy_byte_ring_release(hy_byte_ring *ring);

/**
 * Copies the oldest record out. Consumer.
 * @param buffer  gets it
 * @param room    bytes of buffer
 * @param bytes   gets the record's length; with -ENOBUFS, too
 * @return as hy_byte_ring_peek; -ENOBUFS when it is longer than room: it stays.
 */
HY_API int hy_byte_ring_pop(hy_byte_ring *ring, void *buffer, size_t room,
                            size_t *bytes);

/**
 * hy_byte_ring_peek that waits for a record. Consumer.
 * @return as hy_byte_ring_peek and hy_ring_pop_wait, but not -EAGAIN.
 */
HY_API int hy_byte_ring_peek_wait(hy_byte_ring *ring, const void **record,
                                  size_t *bytes, hy_deadline until);

/** hy_byte_ring_pop that waits for a record. Consumer. */
HY_API int hy_byte_ring_pop_wait(hy_byte_ring *ring, void *buffer, size_t room,
                                 size_t *bytes, hy_deadline until);

/* --- anybody -------------------------------------------------------------- */

/** Closes the ring for good, as hy_ring_close. Staged records are not
 * published by it. */
HY_API void hy_byte_ring_close(hy_byte_ring *ring);

/** As hy_ring_state. */
HY_API int hy_byte_ring_state(const hy_byte_ring *ring);

/** Bytes in the ring, lengths and padding counted; of a moment ago. */
HY_API size_t hy_byte_ring_used(const hy_byte_ring *ring);

/** Bytes that fit. */
HY_API size_t hy_byte_ring_capacity(const hy_byte_ring *ring);

/** The longest record: 8 bytes less than the capacity. */
HY_API size_t hy_byte_ring_longest(const hy_byte_ring *ring);

/** Figures of one ring since it was made. */
typedef struct hy_byte_ring_stats {
    size_t size;           /**< set by the caller */
    size_t capacity;       /**< bytes */
    unsigned flags;        /**< of hy_ring_flags */
    int fenced;            /**< as of hy_ring_stats */
    uint64_t pushed;       /**< records published */
    uint64_t popped;       /**< records given back */
    uint64_t pushed_bytes; /**< of those, lengths and padding counted */
    uint64_t popped_bytes;
    uint64_t push_parks, pop_parks; /**< how often each went to sleep */
    uint64_t push_wakes, pop_wakes; /**< how often each woke the other */
} hy_byte_ring_stats;

/** Fills *out; of a moment ago. Anybody. 0, or -EINVAL for a bad size. */
HY_API int hy_byte_ring_stats_get(const hy_byte_ring *ring,
                                  hy_byte_ring_stats *out);

HY_END_DECLS

#endif
