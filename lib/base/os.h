/*
 * os.h - what the library asks of the operating system: one contract.
 * os_posix.c fulfils what is the same on every POSIX system, os_linux.c or
 * os_darwin.c the rest.
 *
 * Every function returns 0 or a negative errno value unless it says otherwise,
 * and leaves errno alone. Those marked (S) are async-signal-safe. What a system
 * lacks is -ENOTSUP (or the function that reports it returns false); callers
 * probe at run time and never by #ifdef.
 */
#ifndef HYI_OS_H
#define HYI_OS_H

#include <hyperion/base.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* --- time, processors, threads ------------------------------------------ */

uint64_t hyi_os_now(void);        /* (S) CLOCK_MONOTONIC in ns */
size_t hyi_os_page_bytes(void);   /* (S) */
unsigned hyi_os_cpu_count(void);  /* processors this process may use, >= 1 */
int hyi_os_cpu_pin(unsigned nth); /* the calling thread, to the nth usable */
uint64_t hyi_os_thread_id(void);  /* (S) as debuggers show it */

void hyi_os_thread_yield(void); /* lets another thread run */

/*
 * Starts a thread that blocks every asynchronous signal and leaves SIGSEGV and
 * SIGBUS open. *thread is a pthread_t.
 */
int hyi_os_thread_start(void *thread, void *(*entry)(void *), void *arg);

/* What an alternate signal stack needs: wanted, and room for the registers that
 * this processor saves in a signal frame. */
size_t hyi_os_signal_stack_bytes(size_t wanted);

/* --- waiting on a word ---------------------------------------------------- */

/*
 * (S) Sleeps while *word == expected. 0 when woken, -EAGAIN when *word differs,
 * -EINTR, -ETIMEDOUT. until is in ns of hyi_os_now. shared: between processes.
 */
int hyi_os_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                      hy_deadline until, bool shared);

/* (S) Wakes up to count sleepers; the address alone is used. */
void hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                       bool shared);

/* Of several words, for hyi_os_futex_wait_any. */
struct hyi_os_word {
    const _Atomic uint32_t *word;
    uint32_t expected;
    bool shared;
};

enum { HYI_OS_WORDS_MOST = 128 };

/*
 * Sleeps while each of 1 to HYI_OS_WORDS_MOST words is as expected. Results as
 * of hyi_os_futex_wait, -EFAULT for an address that is none, and -ENOTSUP where
 * the system cannot wait for several.
 */
int hyi_os_futex_wait_any(const struct hyi_os_word *words, unsigned count,
                          hy_deadline until);

/*
 * A full memory barrier on every running thread of this process, so that the
 * other side of a rarely-taken race needs none. -ENOTSUP where it is missing:
 * then both sides fence. Registers the process at its first call.
 */
int hyi_os_barrier(void);

/* --- memory --------------------------------------------------------------- */

enum { HYI_OS_NONE = 0, HYI_OS_READ = 1, HYI_OS_WRITE = 2, HYI_OS_EXECUTE = 4 };

/*
 * Reserves addresses: private, anonymous, without swap accounting. near is a
 * hint, or with fixed the very address (-EADDRNOTAVAIL when it is taken).
 */
int hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                   bool fixed);
int hyi_os_release(void *address, size_t bytes);
int hyi_os_protect(void *address, size_t bytes, int protection); /* (S) */

/* Gives the memory back; private anonymous pages read as zero afterwards. */
int hyi_os_decommit(void *address, size_t bytes);

/* Zeroes that children made by fork share. */
int hyi_os_map_shared(void **out, size_t bytes);

/* Maps part of a file, shared or private. */
int hyi_os_map_file(void **out, int fd, uint64_t offset, size_t bytes,
                    int protection, bool shared);

/* The same, shared, readable and writable, in place of what is mapped at
 * address. */
int hyi_os_map_shared_at(void *address, int fd, uint64_t offset, size_t bytes);

/* (S) False when the kernel knows of no mapping there. */
bool hyi_os_is_mapped(const void *address, size_t bytes);

uint64_t hyi_os_memory_bytes(void); /* of this machine; all, if nobody tells */

/* Children made by fork do not inherit this mapping. */
int hyi_os_exclude_from_fork(void *address, size_t bytes);

/* A file that exists only as memory, close-on-exec. */
int hyi_os_memory_file(int *fd, const char *name, uint64_t bytes);

/* --- rewriting code ------------------------------------------------------- */

/*
 * Makes every running thread of this process refetch its instructions before
 * it returns to user code. -ENOTSUP where it is missing.
 */
int hyi_os_barrier_core(void);

/*
 * A file through which code can be written although its mapping forbids it; it
 * is the calling process's, so it is opened for each use (a child that kept its
 * parent's would write to the parent). write and read: all bytes, or an error.
 */
int hyi_os_code_open(int *fd);
void hyi_os_code_close(int fd);
int hyi_os_code_write(int fd, void *at, const void *bytes, size_t count);
int hyi_os_code_read(int fd, const void *at, void *bytes, size_t count);

/*
 * Puts other pages, readable and executable, in the place of these. A thread
 * that runs there sees the old pages or the new ones, at worst after a wait in
 * a page fault; none sees a page that changes. On failure they are as before.
 */
int hyi_os_code_replace(void *pages, const void *content, size_t bytes);

/*
 * Guards count ranges of guard_bytes, stride bytes apart, so that each access
 * faults, without splitting the mapping. -ENOTSUP where the system can't, and
 * then nothing is guarded for certain; -ENOMEM.
 */
int hyi_os_guard(void *first, size_t guard_bytes, size_t stride, size_t count);

/* The range is not to be backed by huge pages. A hint. */
void hyi_os_small_pages(void *address, size_t bytes);

/* Pages of the range that were joined with equal ones, or with the zero page,
 * to save memory, are private again. */
int hyi_os_keep_apart(void *address, size_t bytes);

/* How many mappings this process has, and may have; 0 when nobody tells. */
size_t hyi_os_map_count(void); /* (S) */
size_t hyi_os_map_limit(void);

/* --- an event and an alarm behind one descriptor -------------------------- */

struct hyi_os_event {
    int fd; /* readable when signalled, or when the alarm has gone off */
    int parts[2];
};

int hyi_os_event_open(struct hyi_os_event *event);
void hyi_os_event_close(struct hyi_os_event *event);
void hyi_os_event_signal(struct hyi_os_event *event); /* (S) */
void hyi_os_event_clear(struct hyi_os_event *event);  /* signal and alarm */
void hyi_os_event_alarm(struct hyi_os_event *event, hy_deadline at);

/* --- large mappings ------------------------------------------------------- */

/* Maps part of a file, private, in place of what is mapped at address. */
int hyi_os_map_file_at(void *address, int fd, uint64_t offset, size_t bytes,
                       int protection);

/* The pages become present: writable of their own with write, else as a read
 * would bring them. -ENOTSUP on kernels that cannot. */
int hyi_os_populate(void *address, size_t bytes, bool write);

int hyi_os_huge(void *address, size_t bytes); /* -ENOTSUP when switched off */

/* How much of the range lies in huge pages; 0 when nobody tells. */
uint64_t hyi_os_huge_bytes(const void *address, size_t bytes);

/* A forked child does not get it, a core dump does not show it. */
void hyi_os_exclude(void *address, size_t bytes);

/* Access patterns of a mapping, and hints on what is in it. */
enum {
    HYI_OS_NORMAL,
    HYI_OS_SEQUENTIAL,
    HYI_OS_RANDOM,
    HYI_OS_WILL_NEED,
    HYI_OS_COLD
};
int hyi_os_advise(void *address, size_t bytes, int advice);

/* --- which pages are what ------------------------------------------------- */

enum hyi_os_scan_kind {
    HYI_OS_SCAN_RESIDENT, /* mapped */
    HYI_OS_SCAN_PRIVATE,  /* written since they were mapped: a private copy;
                             before Linux 6.7 also the zero page */
    HYI_OS_SCAN_WRITTEN,  /* the same, since they were last taken */
    HYI_OS_SCAN_TAKE      /* the same, and takes them */
};

struct hyi_os_run {
    uintptr_t start, end;
};

/* A descriptor for hyi_os_scan. -ENOTSUP. */
int hyi_os_scan_open(int *scanner);

/*
 * Finds runs of such pages in [from, end), in order, as many as fit. Returns
 * their number; *next is where to go on, end when all is seen. WRITTEN and TAKE
 * need a watch on the whole range. Taking is atomic: a page handed out counts
 * as not written from then on, and a write that comes later is found by the
 * next scan.
 */
int hyi_os_scan(int scanner, enum hyi_os_scan_kind kind, uintptr_t from,
                uintptr_t end, struct hyi_os_run *runs, size_t max,
                uintptr_t *next);

/*
 * Has the kernel keep track of writes, without traps, until *watch is closed.
 * At the start everything private counts as written. -ENOTSUP.
 */
int hyi_os_watch(int *watch, void *address, size_t bytes);

/* --- files ---------------------------------------------------------------- */

/*
 * Between enter and leave, what makes a file of the calling thread larger than
 * RLIMIT_FSIZE allows fails with EFBIG and does no more: the SIGXFSZ that comes
 * with it, and would end the host, is taken away. Its action is left alone, and
 * one that was pending before stays so. May be nested.
 */
struct hyi_os_size_limit {
    sigset_t old;
    bool was_pending;
};
void hyi_os_size_limit_enter(struct hyi_os_size_limit *limit);
void hyi_os_size_limit_leave(const struct hyi_os_size_limit *limit);

/* The file's size. -EFBIG, as between the two above. */
int hyi_os_file_resize(int fd, uint64_t bytes);

/* Content, and the size needed to read it, are on the disk. */
int hyi_os_file_sync(int fd);

/* Does not wait. -EBUSY when another open file holds it. Gone with fd. */
int hyi_os_file_lock(int fd, bool exclusive);

/* Disk space for the range, so that writing into it cannot run out. -ENOTSUP
 * where the file system has no such call. */
int hyi_os_file_allocate(int fd, uint64_t offset, uint64_t bytes);

/* The next bytes at or after *offset that are not a hole; *offset and *end
 * change. -ENXIO when there are none. */
int hyi_os_file_data(int fd, uint64_t *offset, uint64_t *end);

/*
 * Whether touching a hole of this file through a mapping takes space of its
 * file system, and is a SIGBUS when that is full. It may be found out by doing
 * it, to a hole between offset and end.
 */
bool hyi_os_holes_take_space(int fd, uint64_t offset, uint64_t end);

/* The name of a new or removed file is on the disk. */
int hyi_os_directory_sync(const char *path_of_file);

/* --- shared memory by name, and other processes --------------------------- */

struct hyi_os_shm {
    uint64_t file;  /* the same name with another number is another segment */
    uint64_t bytes; /* its size */
    bool own;       /* belongs to the effective user, who alone has access */
};

/* A new segment, mode 0600, close-on-exec, with the memory for all of it where
 * the system can promise that. -EEXIST, -ENOTSUP, -ENOSPC. */
int hyi_os_shm_create(int *fd, const char *name, uint64_t bytes);
int hyi_os_shm_open(int *fd, const char *name); /* for reading */
int hyi_os_shm_info(int fd, struct hyi_os_shm *out);
int hyi_os_shm_remove(const char *name);

/* Copies without mapping, so that a segment that shrinks is no fault: -EIO when
 * it ends before offset + bytes. */
int hyi_os_shm_read(int fd, uint64_t offset, void *out, size_t bytes);

/* Visits the names that begin with prefix until visit returns something else
 * than 0, and returns that. -ENOTSUP where names cannot be listed. */
int hyi_os_shm_each(const char *prefix, int (*visit)(const char *, void *),
                    void *arg);

void hyi_os_file_close(int fd);
int hyi_os_file_copy(int fd, int *copy); /* the same file, close-on-exec */
uint64_t hyi_os_user(void);              /* the effective one */
uint64_t hyi_os_process_id(void);        /* (S) */

/* Tells two processes of one number apart; 0 when there is none, or nobody
 * tells. */
uint64_t hyi_os_process_start(uint64_t pid);

/* The same, with the difference: -ESRCH when there is none, or it has ended and
 * was not yet waited for; another error when nobody tells. */
int hyi_os_process_look(uint64_t pid, uint64_t *start);

/* Processes of different spaces know one another by no number, or by another;
 * 0 when nobody tells. */
uint64_t hyi_os_process_space(void);

/* Faults that the kernel has answered for this process, and its resident set;
 * 0 for what is not told. */
struct hyi_os_usage {
    uint64_t minor_faults, major_faults, resident_bytes;
};
void hyi_os_usage(struct hyi_os_usage *out);

/* --- for os_*.c alone ----------------------------------------------------- */

/* The negative errno value of a call that returned -1, else 0; errno becomes
 * what was saved. (S) */
int hyi_os_result(long r, int saved);
void hyi_os_signal_take(int signal); /* blocked, and pending if any is */
int hyi_os_native_protection(int protection); /* HYI_OS_* as PROT_* (S) */

#endif
