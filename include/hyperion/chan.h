/*
 * chan.h - channels: bounded queues between any number of fibers and threads.
 *
 *      senders                                            receivers
 *      fiber  --\                                     /-- fiber
 *      fiber  ---+--> | item | item | item |   | --->+--- thread
 *      thread --/       capacity items at most        \-- fiber
 *
 *      hy_chan_options o = HY_CHAN_OPTIONS_INIT;
 *      hy_chan *chan;
 *
 *      o.item_bytes = sizeof(struct job);
 *      o.capacity = 64;
 *      r = hy_chan_create(&chan, &o);
 *      r = hy_chan_send(chan, &job, hy_after(5 * 1000000));
 *      r = hy_chan_recv(chan, &job, HY_FOREVER);
 *
 * Items are copied as bytes, first in, first out. A channel of capacity 0 holds
 * none: a send waits until a receive takes its item. Waiters are served first
 * in, first out, and served by the other side: who waits in a receive finds the
 * item in its hands when it wakes, and nobody can take it away again.
 *
 * Waiting. Every call that waits takes an absolute deadline; with HY_NOW it
 * only tries. A call that need not wait succeeds, in a cancelled fiber and
 * after its deadline too; one that would have to wait returns -ECANCELED or
 * -ETIMEDOUT. The result is exact: an item was sent if and only if the send
 * gives 0, and is received once, also when a cancel, a deadline or a close
 * comes at the same moment.
 *
 * Closing ends the stream: sends fail with -EPIPE from then on, receives take
 * what is in and then fail with -EPIPE. Any side may close.
 *
 * Threads: any thread, any fiber, any number of them, unless the channel is
 * HY_CHAN_LOCAL; no signal handler. Creating and destroying happen once each.
 * A runtime that is destroyed with a fiber waiting in a channel leaves that
 * channel unusable: close it, and run once more, before.
 *
 * fork: what another thread was busy in is that way in the child for ever: a
 * child uses channels that it made itself.
 *
 * Memory order: what happened before a send is seen by whoever received its
 * item; what happened before the receive that made room is seen by the send
 * that got it; what happened before the close is seen by who gets -EPIPE.
 *
 * The select is that of C. A. R. Hoare, "Communicating Sequential Processes"
 * (1978), with both input and output guards.
 */
#ifndef HYPERION_CHAN_H
#define HYPERION_CHAN_H

#include <hyperion/base.h>

HY_BEGIN_DECLS

/** A channel. Any number of senders and receivers, fibers and threads. */
typedef struct hy_chan hy_chan;

/** Flags of hy_chan_options. */
enum hy_chan_flag {
    /** All who use it are fibers of one worker, or one and the same thread:
     *  no call needs a lock. */
    HY_CHAN_LOCAL = 1u << 0
};

/** How a channel is made. item_bytes has no default. */
typedef struct hy_chan_options {
    size_t size;       /**< sizeof(hy_chan_options) */
    size_t item_bytes; /**< bytes of one item, at least 1 */
    size_t capacity;   /**< items it holds, exactly; 0 = hands over only */
    unsigned flags;    /**< of hy_chan_flag */
    hy_report report;  /**< tells who still waits when it is destroyed */
} hy_chan_options;

/** Starts an options struct: size set, all else zero. */
#define HY_CHAN_OPTIONS_INIT                                                   \
    {                                                                          \
        sizeof(hy_chan_options), 0, 0, 0,                                      \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/**
 * Makes a channel: the memory of capacity items and some 200 bytes. Nothing
 * else here allocates.
 * @param out      gets the channel; hy_chan_destroy ends it
 * @param options  must not be NULL
 * @return 0; -EINVAL for NULL, an item_bytes of zero or unknown flags;
 * -EOVERFLOW when the bytes do not fit a size_t; -ENOMEM; -E2BIG (base.h,
 * Options).
 */
HY_API int hy_chan_create(hy_chan **out, const hy_chan_options *options);

/**
 * Ends a channel; what it still holds is discarded. Who has received the last
 * item that will be sent, or has got -EPIPE, may destroy it at once: the other
 * call, even one that has not returned yet, does not look at it again.
 * @return 0, also for NULL; -EBUSY, and nothing is done, while somebody waits
 * in it: close it first. Who has yet to call is not seen.
 */
HY_API int hy_chan_destroy(hy_chan *chan);

/**
 * Sends a copy of *item, waiting for room or, in a channel of capacity 0, for a
 * receiver.
 * @return 0; -EPIPE closed; -ETIMEDOUT; -ECANCELED (a cancelled fiber that
 * would have to wait); -EINVAL for NULL. The item was sent if and only if it is
 * 0.
 */
HY_API int hy_chan_send(hy_chan *chan, const void *item, hy_deadline until);

/**
 * Receives the oldest item into *item, waiting for one. *item is left alone
 * unless the result is 0.
 * @return 0; -EPIPE closed and drained; -ETIMEDOUT; -ECANCELED; -EINVAL.
 */
HY_API int hy_chan_recv(hy_chan *chan, void *item, hy_deadline until);

/**
 * Closes for good; closing twice is allowed. Waiting sends fail with -EPIPE,
 * their items are not sent; waiting receives, which only an empty channel has,
 * likewise.
 * @return 0 or -EINVAL.
 */
HY_API int hy_chan_close(hy_chan *chan);

/** What a case of a select does. */
enum hy_chan_op {
    HY_CHAN_SKIP = 0, /**< nothing: the case is left out */
    HY_CHAN_SEND = 1, /**< hy_chan_send(chan, item) */
    HY_CHAN_RECV = 2  /**< hy_chan_recv(chan, item) */
};

/**
 * One case of a select. It belongs to one call at a time, which uses its words;
 * between calls only what is to change need be set again.
 */
typedef struct hy_chan_case {
    hy_chan *chan;
    unsigned op;      /**< of hy_chan_op */
    int result;       /**< of the chosen case: 0, or -EPIPE closed */
    void *item;       /**< to receive into, or to send from (only read) */
    uint64_t word[8]; /**< the library's */
} hy_chan_case;

/** A case that sends *item, which is only read. */
#define HY_CHAN_CASE_SEND(chan, item)                                          \
    {                                                                          \
        (chan), HY_CHAN_SEND, 0, (item),                                       \
        {                                                                      \
            0                                                                  \
        }                                                                      \
    }

/** A case that receives into *item. */
#define HY_CHAN_CASE_RECV(chan, item)                                          \
    {                                                                          \
        (chan), HY_CHAN_RECV, 0, (item),                                       \
        {                                                                      \
            0                                                                  \
        }                                                                      \
    }

/** Cases of one select at most. */
#define HY_CHAN_CASES_MAX 65536

/**
 * Waits until one of the cases can be done, and does that one and no other. A
 * case on a closed channel is ready: its result is -EPIPE (a receive: once
 * drained). Among ready cases each is as likely to be chosen as any other; in a
 * simulated runtime the choice follows from the seed. Several cases may name
 * one channel; a call never meets itself. With HY_NOW, -ETIMEDOUT means that at
 * one moment during the call no case was ready.
 *
 * Its cost grows with the number of cases: one look at each when one is ready,
 * and otherwise, for the time of two looks, all channels are held at once.
 *
 * @param chosen  gets the index of the case that was done, whose result is set;
 *                left alone, as all results, when the call fails
 * @return 0 when a case was done; -ETIMEDOUT; -ECANCELED; -EDEADLK when there
 * is no case (all are HY_CHAN_SKIP) and until is HY_FOREVER; -EINVAL for
 * chosen NULL, an unknown op, a case without channel or item, more than
 * HY_CHAN_CASES_MAX cases, or cases NULL with a count.
 */
HY_API int hy_chan_select(size_t *chosen, hy_chan_case *cases, size_t count,
                          hy_deadline until);

/** Items in the channel, of a moment ago; 0 for NULL. */
HY_API size_t hy_chan_count(const hy_chan *chan);

/** Items that it can hold; 0 for NULL. */
HY_API size_t hy_chan_capacity(const hy_chan *chan);

/** Figures of one channel since it was made; filled by hy_chan_stats_get. */
typedef struct hy_chan_stats {
    size_t size;         /**< set by the caller */
    size_t capacity;     /**< items */
    size_t item_bytes;   /**< bytes of one item */
    size_t count;        /**< items in it now */
    unsigned flags;      /**< of hy_chan_flag */
    unsigned closed;     /**< 1 after hy_chan_close */
    uint64_t sent;       /**< items sent, whether received yet or not */
    uint64_t received;   /**< of them received */
    uint64_t send_waits; /**< how often a send, or a case, had to wait */
    uint64_t recv_waits; /**< how often a receive, or a case, had to wait */
    size_t waiting;      /**< sends, receives and cases that wait in it now */
} hy_chan_stats;

/**
 * Fills *out; the numbers belong to one moment.
 * @return 0, or -EINVAL for NULL or a size that was not set.
 */
HY_API int hy_chan_stats_get(hy_chan *chan, hy_chan_stats *out);

HY_END_DECLS

#endif
