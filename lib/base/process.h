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

/*
 * The locks of the state below, outer first. All of them are held across fork,
 * so that a child finds what they guard whole, and free. Constructors of a
 * host may take them before ours has run.
 */
enum hyi_process_lock {
    HYI_LOCK_SLAB, /* a slab's backing may come to any of the others */
    HYI_LOCK_RUNTIME,
    HYI_LOCK_OFFLOAD, /* helper threads */
    HYI_LOCK_WORDS,   /* the watcher of words that processes share */
    HYI_LOCK_WAITS,   /* who confirms a cycle of waits */
    HYI_LOCK_CODE,
    HYI_LOCK_PATCH,
    HYI_LOCK_FAULT,
    HYI_LOCK_COUNT
};

/* What else is to be done around fork, with the lock held; each may be NULL.
 * Stored under the lock at the first use of what it guards. */
struct hyi_fork_hooks {
    void (*prepare)(void); /* after the lock was taken */
    void (*parent)(void);  /* before it is given back, in each process */
    void (*child)(void);
};

void hyi_process_lock(enum hyi_process_lock which);
void hyi_process_unlock(enum hyi_process_lock which);

/* Whether the locks are held across fork: 0, or -ENOMEM. */
int hyi_process_watch_fork(void);

/* The ranges whose faults are answered, and the handlers below ours (fault.c).
 * Rows: SIGSEGV, SIGBUS. */
struct hyi_fault_registry {
    /* The lock is for attach and detach; no handler takes it. */
    _Atomic(struct hyi_fault_slot *) first;
    unsigned ranges;
    bool installed[2];
    struct sigaction previous[2];
    _Atomic bool spent[2]; /* a previous SA_RESETHAND handler has run */
    bool has_stack_key;
    pthread_key_t stack_key; /* frees a thread's alternate stack */
};

/* Slabs, heaps with a lock, and threads that have caches
 * (lib/slab/slab_thread.c). */
struct hyi_slab_registry {
    struct hy_slab *slabs;
    struct hy_heap *heaps;
    struct hyi_slab_thread *threads;
    uint64_t last_id; /* ids of slabs are never used again */
    bool has_key;
    pthread_key_t key;
};

/* Helper threads (lib/runtime/offload.c). */
struct hyi_offload {
    pthread_cond_t ran_one; /* a helper has ended a call */
    struct hyi_call *first, *last;
    struct hyi_helper *idle, *all;
    unsigned threads, threads_idle, threads_most, queued;
    unsigned users; /* runtimes that have offloaded something */
    uint64_t idle_ns, ran;
};

/* Words that fibers wait for (lib/runtime/word_watch.c). */
struct hyi_words {
    struct hyi_watched *first;
    _Atomic uint32_t changes;
    unsigned users;    /* runtimes that have waited so */
    bool runs;         /* there is a watcher, */
    uintptr_t watcher; /* the latest, by number, */
    pthread_t thread;  /* and its thread */
};

struct hyi_process {
    struct {
        pthread_mutex_t mutex;
        const struct hyi_fork_hooks *hooks; /* under the mutex */
    } lock[HYI_LOCK_COUNT];
    _Atomic bool watches_fork;
    _Atomic uint32_t forks; /* between the first process and this one */

    struct hyi_fault_registry fault;
    struct hyi_slab_registry slab;
    _Atomic int guards;          /* do installed guards really fault? */
    _Atomic int guards_together; /* process_madvise on oneself (os.h) */
    _Atomic int barrier;         /* membarrier, private expedited (os.h) */
    _Atomic unsigned pager_caps; /* hy_pager_caps, once probed; 0: not yet */
    _Atomic int barrier_core;    /* the same, refetching instructions */

    /* This process, as sides of shared rings name their owner; 0: not yet
     * known. A child finds 0. */
    _Atomic uint64_t identity;

    struct hyi_patch_module *patch_modules; /* lib/jit/patch.c, its lock */
    _Atomic int patch_way; /* 0: not yet tried; 1 + one of HY_PATCH_... */
    _Atomic uint64_t patch_switches, patch_failures; /* hy_patch_stats */
    _Atomic uint64_t patch_last_ns, patch_max_ns;

    /* Code memory (lib/jit/code.c). The lock is held for some ten
     * nanoseconds, or while a region is mapped. */
    _Atomic unsigned code_caps; /* hy_code_caps; 0 = not yet probed */
    uint32_t code_forks; /* under the lock: counted in parent and child */

    _Atomic(hy_trace_function) trace; /* NULL: nobody listens (trace.h) */
    _Atomic(void *) trace_ctx;
    /* Who listens: hy_trace_set's function, and each runtime that keeps a
     * record of events, which hears by trace_event. */
    _Atomic unsigned tracing;
    _Atomic(void (*)(const char *hop, uint64_t what)) trace_event;

    _Atomic uint64_t tick_scale; /* ticks.h; 0: not yet known */

    _Atomic unsigned isa; /* features in use, bit 31: known (isa.h) */
    const struct hy_arch_vec *_Atomic vec; /* kernels in use, or NULL */

    /* Runtimes, never freed: one that ends is used again for the next, so that
     * old fiber handles are safe to look up (lib/runtime/core.h). */
    _Atomic(struct hy_runtime *) runtime[HYI_RUNTIMES_MOST];

    /* Records of plain threads, never freed (lib/runtime/thread.c). */
    _Atomic(struct hyi_thread_block *) threads;
    _Atomic uintptr_t thread_key; /* a pthread_key_t and 1; 0: none yet */
    struct hyi_fls fls[HYI_FLS_KEYS];
    struct hyi_offload offload;
    struct hyi_words words;
};

extern struct hyi_process hyi_process;

/*
 * Tells a process from the children that it forks: what was made under another
 * number is the parent's. (A child made by the bare system call keeps its
 * parent's number.)
 */
static inline uint32_t hyi_process_forks(void)
{
    /* Relaxed: it changes while there is one thread. */
    return atomic_load_explicit(&hyi_process.forks, memory_order_relaxed);
}

#endif
