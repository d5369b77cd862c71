/*
 * process.h - the closed list of process-wide state. All else hangs on a
 * handle. Each shared library that carries a copy of base has its own list,
 * hidden; two of them in one process are independent.
 */
#ifndef HYI_PROCESS_H
#define HYI_PROCESS_H

#include <hyperion/base.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hy_runtime;
enum { HYI_RUNTIMES_MOST = 256, HYI_FLS_KEYS = 256 };

/* A key of fiber-local values (lib/runtime/local.c). */
struct hyi_fls {
    _Atomic uint32_t version; /* odd: it exists */
    void (*_Atomic destructor)(void *value);
};

/* What the kernel was found to offer; probed once, any thread may race. */
enum { HYI_PROBE_UNKNOWN, HYI_PROBE_YES, HYI_PROBE_NO };

/* The ranges whose faults are answered, and the handlers below ours (fault.c).
 * Rows: SIGSEGV, SIGBUS. */
struct hyi_fault_registry {
    pthread_mutex_t lock; /* attach and detach; never taken by a handler */
    _Atomic(struct hyi_fault_slot *) first;
    unsigned ranges;
    bool installed[2];
    struct sigaction previous[2];
    _Atomic bool spent[2]; /* a previous SA_RESETHAND handler has run */
    bool has_stack_key;
    pthread_key_t stack_key; /* frees a thread's alternate stack */
};

/* Slabs, heaps with a lock, and threads that have caches
 * (lib/slab/slab_thread.c). The lock is held across fork. */
struct hyi_slab_registry {
    pthread_mutex_t lock;
    struct hy_slab *slabs;
    struct hy_heap *heaps;
    struct hyi_slab_thread *threads;
    uint64_t last_id; /* ids of slabs are never used again */
    bool is_ready;    /* key and fork handlers are there */
    pthread_key_t key;
};

struct hyi_process {
    struct hyi_fault_registry fault;
    struct hyi_slab_registry slab;
    _Atomic int guards;          /* do installed guards really fault? */
    _Atomic int guards_together; /* process_madvise on oneself (os.h) */
    _Atomic int barrier;         /* membarrier, private expedited (os.h) */
    _Atomic unsigned pager_caps; /* hy_pager_caps, once probed; 0: not yet */
    _Atomic int barrier_core;    /* the same, refetching instructions */

    struct hyi_patch_module
        *patch_modules; /* lib/jit/patch.c, under its lock */
    _Atomic uint32_t patch_lock;
    _Atomic int patch_way; /* 0: not yet tried; 1 + one of HY_PATCH_... */
    _Atomic uint64_t patch_switches, patch_failures; /* hy_patch_stats */
    _Atomic uint64_t patch_last_ns, patch_max_ns;

    /* Code memory (lib/jit/code.c). The lock is held for some ten
     * nanoseconds, or while a region is mapped, and across fork. */
    _Atomic unsigned code_caps; /* hy_code_caps; 0 = not yet probed */
    pthread_mutex_t code_lock;
    uint32_t code_forks;    /* under code_lock: counted in parent and child */
    bool code_watches_fork; /* under code_lock */

    _Atomic(hy_trace_function) trace; /* NULL: silent (trace.h) */
    _Atomic(void *) trace_ctx;

    _Atomic unsigned isa; /* features in use, bit 31: known (isa.h) */
    const struct hy_arch_vec *_Atomic vec; /* kernels in use, or NULL */

    /* Runtimes, never freed: one that ends is used again for the next, so that
     * old fiber handles are safe to look up (lib/runtime/core.h). */
    _Atomic(struct hy_runtime *) runtime[HYI_RUNTIMES_MOST];
    _Atomic bool runtime_lock; /* init and destroy */

    /* Records of plain threads, never freed (lib/runtime/thread.c), and who
     * confirms a cycle of waits (lib/runtime/waits.c). */
    _Atomic(struct hyi_thread_block *) threads;
    _Atomic uintptr_t thread_key;  /* a pthread_key_t and 1; 0: none yet */
    _Atomic uint32_t waits_holder; /* process id, for the child of a fork */
    struct hyi_fls fls[HYI_FLS_KEYS];
};

extern struct hyi_process hyi_process;

#endif
