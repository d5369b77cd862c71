/*
 * check.h - assertions in three levels.
 *
 * HYI_ASSERT      always on: an invariant whose breach means memory is already
 *                 corrupt. It traps; it is never used for an error that a
 *                 caller could handle.
 * HYI_DEBUG       on when HY_DEBUG is defined: cheap checks of the library's
 *                 own logic.
 * HYI_EXPENSIVE   on when HY_DEBUG is 2 or more: whole-structure checks.
 */
#ifndef HYI_CHECK_H
#define HYI_CHECK_H

#ifndef HY_DEBUG
#define HY_DEBUG 0
#endif

#define HYI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define HYI_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define HYI_ASSERT(cond)                                                       \
    do {                                                                       \
        if (HYI_UNLIKELY(!(cond)))                                             \
            __builtin_trap();                                                  \
    } while (0)

#if HY_DEBUG >= 1
#define HYI_DEBUG(cond) HYI_ASSERT(cond)
#else
#define HYI_DEBUG(cond) ((void)sizeof(cond))
#endif

#if HY_DEBUG >= 2
#define HYI_EXPENSIVE(cond) HYI_ASSERT(cond)
#else
#define HYI_EXPENSIVE(cond) ((void)sizeof(cond))
#endif

#endif
