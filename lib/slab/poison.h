/*
 * poison.h - tells AddressSanitizer which bytes of an allocator's memory are
 * in use. In a build without it the functions are empty.
 */
#ifndef HYI_POISON_H
#define HYI_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define HYI_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HYI_POISONS 1
#endif
#endif
#ifndef HYI_POISONS
#define HYI_POISONS 0
#endif

#if HYI_POISONS
#include <sanitizer/asan_interface.h>

static inline void hyi_poison(const void *p, size_t bytes)
{
    __asan_poison_memory_region(p, bytes);
}

static inline void hyi_unpoison(const void *p, size_t bytes)
{
    __asan_unpoison_memory_region(p, bytes);
}
#else
static inline void hyi_poison(const void *p, size_t bytes)
{
    (void)p;
    (void)bytes;
}

static inline void hyi_unpoison(const void *p, size_t bytes)
{
    (void)p;
    (void)bytes;
}
#endif

#endif
