/*
 * sim_atomic.h - included before everything else in a simulation build: each
 * atomic operation is a place where another simulated thread may go on.
 *
 *      atomic_load(&x)  ->  __atomic_load(...)  ->  point, __atomic_load(...)
 *
 * What <stdatomic.h> and the inline headers are made of, the compiler's
 * builtins, is wrapped, so no source knows of it. Pauses in spinning loops let
 * others go on first.
 */
#ifndef SIM_ATOMIC_H
#define SIM_ATOMIC_H

#include <stdatomic.h>

#include "arch.h"
#include "sim_engine.h"

#ifdef __FILE_NAME__
#define SIM_FILE __FILE_NAME__
#else
#define SIM_FILE __FILE__
#endif
#define SIM_TEXT_(x) #x
#define SIM_TEXT(x)  SIM_TEXT_(x)
#define SIM_HERE     SIM_FILE ":" SIM_TEXT(__LINE__)

#define hy_arch_pause() sim_pause(SIM_HERE)

/* A macro's own name inside of it is not expanded again. */
#define SIM_FIRST(...) (sim_point(SIM_HERE), __VA_ARGS__)

/* gcc's <stdatomic.h>, and the inline headers with either compiler. */
#define __atomic_load(...)       SIM_FIRST(__atomic_load(__VA_ARGS__))
#define __atomic_load_n(...)     SIM_FIRST(__atomic_load_n(__VA_ARGS__))
#define __atomic_store(...)      SIM_FIRST(__atomic_store(__VA_ARGS__))
#define __atomic_store_n(...)    SIM_FIRST(__atomic_store_n(__VA_ARGS__))
#define __atomic_exchange(...)   SIM_FIRST(__atomic_exchange(__VA_ARGS__))
#define __atomic_exchange_n(...) SIM_FIRST(__atomic_exchange_n(__VA_ARGS__))
#define __atomic_compare_exchange(...)                                         \
    SIM_FIRST(__atomic_compare_exchange(__VA_ARGS__))
#define __atomic_compare_exchange_n(...)                                       \
    SIM_FIRST(__atomic_compare_exchange_n(__VA_ARGS__))
#define __atomic_fetch_add(...)    SIM_FIRST(__atomic_fetch_add(__VA_ARGS__))
#define __atomic_fetch_sub(...)    SIM_FIRST(__atomic_fetch_sub(__VA_ARGS__))
#define __atomic_fetch_or(...)     SIM_FIRST(__atomic_fetch_or(__VA_ARGS__))
#define __atomic_fetch_and(...)    SIM_FIRST(__atomic_fetch_and(__VA_ARGS__))
#define __atomic_thread_fence(...) SIM_FIRST(__atomic_thread_fence(__VA_ARGS__))

/* clang's <stdatomic.h>. */
#define __c11_atomic_load(...)     SIM_FIRST(__c11_atomic_load(__VA_ARGS__))
#define __c11_atomic_store(...)    SIM_FIRST(__c11_atomic_store(__VA_ARGS__))
#define __c11_atomic_exchange(...) SIM_FIRST(__c11_atomic_exchange(__VA_ARGS__))
#define __c11_atomic_compare_exchange_strong(...)                              \
    SIM_FIRST(__c11_atomic_compare_exchange_strong(__VA_ARGS__))
#define __c11_atomic_compare_exchange_weak(...)                                \
    SIM_FIRST(__c11_atomic_compare_exchange_weak(__VA_ARGS__))
#define __c11_atomic_fetch_add(...)                                            \
    SIM_FIRST(__c11_atomic_fetch_add(__VA_ARGS__))
#define __c11_atomic_fetch_sub(...)                                            \
    SIM_FIRST(__c11_atomic_fetch_sub(__VA_ARGS__))
#define __c11_atomic_fetch_or(...) SIM_FIRST(__c11_atomic_fetch_or(__VA_ARGS__))
#define __c11_atomic_fetch_and(...)                                            \
    SIM_FIRST(__c11_atomic_fetch_and(__VA_ARGS__))
#define __c11_atomic_thread_fence(...)                                         \
    SIM_FIRST(__c11_atomic_thread_fence(__VA_ARGS__))

#endif
