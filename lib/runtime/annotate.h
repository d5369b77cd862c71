/*
 * annotate.h - telling tools which stack a thread is on: AddressSanitizer,
 * ThreadSanitizer and valgrind. Without them everything here is empty.
 */
#ifndef HYI_ANNOTATE_H
#define HYI_ANNOTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HYI_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define HYI_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HYI_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define HYI_TSAN 1
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* Does a tool follow the switches? */
#if defined(HYI_ASAN) || defined(HYI_TSAN)
enum { HYI_NOTES = 1 };
#else
enum { HYI_NOTES = 0 };
#endif

/* For a function that begins and ends on different stacks. */
#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define HYI_NOT_INSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#if !defined(HYI_NOT_INSTRUMENTED)
#define HYI_NOT_INSTRUMENTED
#endif

/* For what it calls: inlined into it, the tools would not see what that does,
   not even its atomics. */
#if defined(HYI_ASAN) || defined(HYI_TSAN)
#define HYI_INSTRUMENTED __attribute__((noinline))
#else
#define HYI_INSTRUMENTED inline
#endif

#if defined(HYI_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(HYI_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

/* What a tool knows a stack by; no bytes without one. */
/* Zero in memory that others find by way of a fence, which TSan does not know:
   for it by atomic stores, which it takes for no race. bytes: of whole words.
 */
#if defined(HYI_TSAN)
static inline void hyi_zero(void *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
        __atomic_store_n((uint64_t *)memory + i, 0, __ATOMIC_RELAXED);
}
#else
#define hyi_zero(memory, bytes) memset((memory), 0, (bytes))
#endif

struct hyi_stack_note {
#if defined(HYI_ASAN)
    const void *low;
    size_t bytes;
#endif
#if defined(HYI_TSAN)
    void *tsan;
#endif
#if defined(VALGRIND_STACK_REGISTER)
    unsigned valgrind;
#endif
    char nothing[1];
};

/* A stack comes into use at an address range, and goes out of it. */
static inline void hyi_note_create(struct hyi_stack_note *note, void *low,
                                   size_t bytes)
{
#if defined(HYI_ASAN)
    ASAN_UNPOISON_MEMORY_REGION(low, bytes);
    note->low = low;
    note->bytes = bytes;
#endif
#if defined(HYI_TSAN)
    note->tsan = __tsan_create_fiber(0);
#endif
#if defined(VALGRIND_STACK_REGISTER)
    note->valgrind = VALGRIND_STACK_REGISTER(low, (char *)low + bytes);
#endif
    (void)note;
    (void)low;
    (void)bytes;
}

static inline void hyi_note_destroy(struct hyi_stack_note *note)
{
#if defined(HYI_ASAN)
    ASAN_UNPOISON_MEMORY_REGION(note->low, note->bytes);
#endif
#if defined(HYI_TSAN)
    __tsan_destroy_fiber(note->tsan);
#endif
#if defined(VALGRIND_STACK_REGISTER)
    VALGRIND_STACK_DEREGISTER(note->valgrind);
#endif
    (void)note;
}

/* The stack that the calling thread already runs on. */
static inline void hyi_note_thread(struct hyi_stack_note *note)
{
#if defined(HYI_TSAN)
    note->tsan = __tsan_get_current_fiber();
#endif
    (void)note;
}

/* Just before a switch to the stack; for_good: this one is done with. */
static inline void hyi_note_leave(void **fake, const struct hyi_stack_note *to,
                                  bool for_good)
{
#if defined(HYI_ASAN)
    __sanitizer_start_switch_fiber(for_good ? NULL : fake, to->low, to->bytes);
#endif
#if defined(HYI_TSAN)
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)fake;
    (void)to;
    (void)for_good;
}

/* Just after a switch; from: the note of the stack left, filled in where it is
   the thread's own. */
static inline void hyi_note_arrive(void *fake, struct hyi_stack_note *from)
{
#if defined(HYI_ASAN)
    __sanitizer_finish_switch_fiber(fake, &from->low, &from->bytes);
#endif
    (void)fake;
    (void)from;
}

#endif
