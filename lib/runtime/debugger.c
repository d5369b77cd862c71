/*
 * debugger.c - what hyperion-gdb.py (beside this file) must know of a runtime:
 * where its fields lie in this very build.
 *
 *      section hyperion_fibers:  | name 28 | bytes 4 | offset or value |
 *                                | ...                                 |
 *
 * A section of its own is found in any program, shared or static, also when it
 * was stripped of every symbol. So the script needs neither debug information
 * nor names, and knows nothing of a layout but these words. Nothing in the
 * library reads them.
 *
 * Invariant: the first word and the third of a word's parts keep their place
 * for ever; FORMAT changes when the meaning of a word does. A word that is new
 * needs no change. Upstream: runtime.c, which keeps a pointer here, so that no
 * linker leaves the section out. Downstream: core.h, process.h.
 */
#include "core.h"

#include "arch.h"
#include "process.h"
#include "turn.h"

enum { FORMAT = 1 };

#if defined(__ELF__)
#define IN_OWN_SECTION __attribute__((used, section("hyperion_fibers")))
#else
#define IN_OWN_SECTION __attribute__((used))
#endif

#define NUMBER(name, value)                                                    \
    {                                                                          \
        name, 0,                                                               \
        {                                                                      \
            .number = value                                                    \
        }                                                                      \
    }
#define POINTER(name, value)                                                   \
    {                                                                          \
        name, 0,                                                               \
        {                                                                      \
            .pointer = value                                                   \
        }                                                                      \
    }
#define FIELD(name, type, field)                                               \
    {                                                                          \
        name, sizeof(__typeof__(((type *)0)->field)),                          \
        {                                                                      \
            .number = offsetof(type, field)                                    \
        }                                                                      \
    }
#define FIBER(field)   FIELD("fiber." #field, struct hyi_fiber, field)
#define WORKER(field)  FIELD("worker." #field, struct hyi_worker, field)
#define RUNTIME(field) FIELD("runtime." #field, struct hy_runtime, field)

const struct hyi_debugger_word hyi_debugger_words[] IN_OWN_SECTION = {
    NUMBER("hyperion fibers", FORMAT),
    POINTER("version", HY_VERSION_STRING),
    POINTER("resumed", hy_arch_hop_resumed),
    POINTER("runtimes", &hyi_process.runtime),
    NUMBER("runtimes.most", HYI_RUNTIMES_MOST),
    POINTER("waits", hyi_wait_names),
    NUMBER("waits.most", HYI_WAITS),

    RUNTIME(slot),
    RUNTIME(in_use),
    RUNTIME(stale),
    RUNTIME(name),
    RUNTIME(worker),
    RUNTIME(worker_count),
    RUNTIME(used_visible),
    RUNTIME(table),
    NUMBER("table.first_log2", HYI_TABLE_FIRST_LOG2),

    NUMBER("worker.bytes", sizeof(struct hyi_worker)),
    WORKER(errno_at),
    WORKER(current),
    FIELD("ready.ring", struct hyi_worker, ready.ring),
    FIELD("ready.mask", struct hyi_worker, ready.mask),
    FIELD("ready.head", struct hyi_worker, ready.head),
    FIELD("ready.tail", struct hyi_worker, ready.tail),
    NUMBER("turn.bytes", sizeof(struct hyi_turn)),
    FIELD("turn.fiber", struct hyi_turn, fiber),
    FIELD("turn.sp", struct hyi_turn, sp),
    NUMBER("turn.in_slot", HYI_TURN_IN_SLOT),

    NUMBER("fiber.bytes", sizeof(struct hyi_fiber)),
    FIBER(sp),
    FIBER(entry),
    FIBER(arg),
    FIBER(worker),
    FIBER(stack),
    FIBER(switches),
    FIBER(top),
    FIBER(peak),
    FIBER(state),
    FIBER(class),
    FIBER(wait),
    FIBER(life),
    FIBER(name),
    NUMBER("name.bytes", HYI_NAME_BYTES),
    NUMBER("life.live", HYI_LIFE_LIVE),
    NUMBER("life.cancelled", HYI_LIFE_CANCELLED),
    NUMBER("life.flags_log2", HYI_LIFE_FLAGS_LOG2),
    NUMBER("id.index_bits", HYI_INDEX_BITS),
    NUMBER("id.runtime_bits", HYI_RUNTIME_BITS),

    FIELD("stack.low", struct hyi_stack, low),
    NUMBER("class.log2_min", HYI_STACK_BYTES_LOG2_MIN),
    NUMBER("class.unguarded", HYI_STACK_UNGUARDED),
    NUMBER("class.dense", HYI_STACK_DENSE),
    NUMBER("class.dense_log2_min", HYI_STACK_DENSE_LOG2_MIN),
};
