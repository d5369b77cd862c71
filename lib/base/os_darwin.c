/*
 * os_darwin.c - the part of os.h that macOS does its own way. Written to the
 * contract and never run: README.md lists it so, and no figure is claimed for
 * it. What has no counterpart here says -ENOTSUP, and callers take their
 * fallback.
 *
 *      futex        __ulock_wait, __ulock_wake: what libc++ waits with
 *      membarrier   none: both sides fence
 *      /proc        none: Mach calls, or -ENOTSUP
 *      eventfd      a kqueue: a user event and a timer behind one descriptor
 *
 * Invariant: errno is the caller's on return.
 * Upstream: os.h. Downstream: XNU; os_posix.c has the rest.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/event.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <time.h>
#include <unistd.h>

#include "bits.h"

/* Private interfaces of libSystem, unchanged since macOS 10.12; libc++ and
 * other runtimes wait with them too. */
extern int __ulock_wait(uint32_t operation, void *address, uint64_t value,
                        uint32_t timeout_us);
extern int __ulock_wake(uint32_t operation, void *address, uint64_t value);

enum {
    ULOCK_COMPARE_AND_WAIT = 1,
    ULOCK_COMPARE_AND_WAIT_SHARED = 3,
    ULOCK_WAKE_ALL = 0x00000100,
    ULOCK_NO_ERRNO = 0x01000000
};

/* --- time, processors, threads ------------------------------------------ */

uint64_t hyi_os_now(void)
{
    return clock_gettime_nsec_np(CLOCK_MONOTONIC);
}

unsigned hyi_os_cpu_count(void)
{
    int saved = errno, count = 1;
    size_t bytes = sizeof(count);

    if (sysctlbyname("hw.logicalcpu", &count, &bytes, NULL, 0) != 0)
        count = 1;
    errno = saved;
    return count > 0 ? (unsigned)count : 1;
}

/* Threads have affinity tags here, which name no processor. */
int hyi_os_cpu_pin(unsigned nth)
{
    (void)nth;
    return -ENOTSUP;
}

uint64_t hyi_os_thread_id(void)
{
    uint64_t id = 0;

    pthread_threadid_np(NULL, &id);
    return id;
}

size_t hyi_os_signal_stack_bytes(size_t wanted)
{
    return hyi_align_up(wanted + MINSIGSTKSZ, hyi_os_page_bytes());
}

/* --- waiting on a word ---------------------------------------------------- */

static uint32_t ulock_operation(bool shared)
{
    return ULOCK_NO_ERRNO |
           (shared ? ULOCK_COMPARE_AND_WAIT_SHARED : ULOCK_COMPARE_AND_WAIT);
}

/* The kernel takes a relative time in microseconds, 0 for ever; a longer wait
 * ends early as if interrupted, and callers look at the time again. */
int hyi_os_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                      hy_deadline until, bool shared)
{
    uint32_t timeout_us = 0;
    bool cut = false;
    int r;

    if (until != HY_FOREVER) {
        uint64_t now = hyi_os_now(), us;

        if (until <= now)
            return atomic_load(word) == expected ? -ETIMEDOUT : -EAGAIN;
        us = (until - now + 999) / 1000;
        cut = us > UINT32_MAX;
        timeout_us = cut ? UINT32_MAX : (uint32_t)us;
    }
    r = __ulock_wait(ulock_operation(shared), (void *)(uintptr_t)word, expected,
                     timeout_us);
    if (r == -ETIMEDOUT && cut)
        return -EINTR;
    return r < 0 ? r : 0;
}

void hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                       bool shared)
{
    uint32_t operation = ulock_operation(shared);
    void *address = (void *)(uintptr_t)word;

    if (count == UINT32_MAX) {
        __ulock_wake(operation | ULOCK_WAKE_ALL, address, 0);
        return;
    }
    while (count-- > 0 && __ulock_wake(operation, address, 0) == 0)
        ;
}

int hyi_os_barrier(void)
{
    return -ENOTSUP;
}

/* --- memory --------------------------------------------------------------- */

/* Without MAP_FIXED an address is a wish that is granted when it is free. */
int hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                   bool fixed)
{
    int saved = errno;
    void *p = mmap(near, bytes, hyi_os_native_protection(protection),
                   MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return hyi_os_result(-1, saved);
    if (fixed && p != near) {
        munmap(p, bytes);
        errno = saved;
        return -EADDRNOTAVAIL;
    }
    *out = p;
    return 0;
}

/* Fresh pages in place of the old ones, with the protection that the first of
 * them had: MADV_FREE leaves the content readable. */
int hyi_os_decommit(void *address, size_t bytes)
{
    mach_vm_address_t at = (mach_vm_address_t)(uintptr_t)address;
    mach_msg_type_number_t count = VM_REGION_BASIC_INFO_COUNT_64;
    vm_region_basic_info_data_64_t info;
    mach_vm_size_t size;
    mach_port_t object;
    int saved = errno;
    void *p;

    if (mach_vm_region(mach_task_self(), &at, &size, VM_REGION_BASIC_INFO_64,
                       (vm_region_info_t)&info, &count,
                       &object) != KERN_SUCCESS ||
        at > (mach_vm_address_t)(uintptr_t)address)
        return -EINVAL;
    p = mmap(address, bytes, info.protection,
             MAP_PRIVATE | MAP_ANON | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return hyi_os_result(p == MAP_FAILED ? -1 : 0, saved);
}

int hyi_os_exclude_from_fork(void *address, size_t bytes)
{
    int saved = errno;

    return hyi_os_result(minherit(address, bytes, VM_INHERIT_NONE), saved);
}

/* A shared memory object whose name is gone before anybody can use it. */
int hyi_os_memory_file(int *fd, const char *name, uint64_t bytes)
{
    int saved = errno, file, r = 0;
    char path[32];

    (void)name; /* 31 characters at most, and it must be unique */
    snprintf(path, sizeof(path), "/hy-%x-%x", (unsigned)getpid(),
             (unsigned)hyi_os_now());
    file = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0)
        return hyi_os_result(-1, saved);
    shm_unlink(path);
    r = hyi_os_result(fcntl(file, F_SETFD, FD_CLOEXEC), saved);
    if (r == 0)
        r = hyi_os_file_resize(file, bytes);
    if (r != 0)
        close(file);
    else
        *fd = file;
    errno = saved;
    return r;
}

/* --- rewriting code ------------------------------------------------------- */

/* Signed pages never change; a program's patch sites stay as they were built,
 * a load and a branch. */

int hyi_os_barrier_core(void)
{
    return -ENOTSUP;
}

int hyi_os_code_open(int *fd)
{
    (void)fd;
    return -ENOTSUP;
}

void hyi_os_code_close(int fd)
{
    (void)fd;
}

int hyi_os_code_write(int fd, void *at, const void *bytes, size_t count)
{
    (void)fd, (void)at, (void)bytes, (void)count;
    return -ENOTSUP;
}

int hyi_os_code_read(int fd, const void *at, void *bytes, size_t count)
{
    (void)fd, (void)at, (void)bytes, (void)count;
    return -ENOTSUP;
}

int hyi_os_code_replace(void *pages, const void *content, size_t bytes)
{
    (void)pages, (void)content, (void)bytes;
    return -ENOTSUP;
}

/* --- guards and the number of mappings ------------------------------------ */

int hyi_os_guard(void *first, size_t guard_bytes, size_t stride, size_t count)
{
    (void)first, (void)guard_bytes, (void)stride, (void)count;
    return -ENOTSUP;
}

void hyi_os_small_pages(void *address, size_t bytes)
{
    (void)address, (void)bytes;
}

int hyi_os_keep_apart(void *address, size_t bytes)
{
    (void)address, (void)bytes;
    return 0;
}

size_t hyi_os_map_count(void)
{
    return 0;
}

size_t hyi_os_map_limit(void)
{
    return 0;
}

/* --- an event and an alarm behind one descriptor -------------------------- */

enum { EVENT_IDENT = 1, ALARM_IDENT = 2 };

/* One change to the kqueue; (S), as kevent is a system call. */
static int change(int fd, uintptr_t ident, int16_t filter, uint16_t flags,
                  uint32_t fflags, int64_t data)
{
    int saved = errno;
    struct kevent k;

    EV_SET(&k, ident, filter, flags, fflags, data, NULL);
    return hyi_os_result(kevent(fd, &k, 1, NULL, 0, NULL), saved);
}

int hyi_os_event_open(struct hyi_os_event *event)
{
    int saved = errno, fd = kqueue(), r;

    if (fd < 0)
        return hyi_os_result(-1, saved);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    r = change(fd, EVENT_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0);
    if (r != 0) {
        close(fd);
        errno = saved;
        return r;
    }
    event->fd = fd;
    event->parts[0] = event->parts[1] = -1;
    return 0;
}

void hyi_os_event_close(struct hyi_os_event *event)
{
    hyi_os_file_close(event->fd);
}

void hyi_os_event_signal(struct hyi_os_event *event)
{
    change(event->fd, EVENT_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, 0);
}

void hyi_os_event_clear(struct hyi_os_event *event)
{
    int saved = errno;
    struct timespec at_once = {0, 0};
    struct kevent k[2];

    kevent(event->fd, NULL, 0, k, 2, &at_once);
    errno = saved;
}

void hyi_os_event_alarm(struct hyi_os_event *event, hy_deadline at)
{
    uint64_t now = hyi_os_now(), wait = at > now ? at - now : 0;

    if (at == HY_FOREVER)
        change(event->fd, ALARM_IDENT, EVFILT_TIMER, EV_DELETE, 0, 0);
    else
        change(event->fd, ALARM_IDENT, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
               NOTE_NSECONDS, wait < INT64_MAX ? (int64_t)wait : INT64_MAX);
}

/* --- large mappings ------------------------------------------------------- */

int hyi_os_populate(void *address, size_t bytes, bool write)
{
    (void)address, (void)bytes, (void)write;
    return -ENOTSUP;
}

int hyi_os_huge(void *address, size_t bytes)
{
    (void)address, (void)bytes;
    return -ENOTSUP;
}

uint64_t hyi_os_huge_bytes(const void *address, size_t bytes)
{
    (void)address, (void)bytes;
    return 0;
}

void hyi_os_exclude(void *address, size_t bytes)
{
    hyi_os_exclude_from_fork(address, bytes);
}

int hyi_os_advise(void *address, size_t bytes, int advice)
{
    static const int native[] = {
        [HYI_OS_NORMAL] = MADV_NORMAL, [HYI_OS_SEQUENTIAL] = MADV_SEQUENTIAL,
        [HYI_OS_RANDOM] = MADV_RANDOM, [HYI_OS_WILL_NEED] = MADV_WILLNEED,
        [HYI_OS_COLD] = MADV_DONTNEED, /* a hint here: keeps the content */
    };
    int saved = errno;

    return hyi_os_result(madvise(address, bytes, native[advice]), saved);
}

/* --- which pages are what ------------------------------------------------- */

int hyi_os_scan_open(int *scanner)
{
    (void)scanner;
    return -ENOTSUP;
}

int hyi_os_scan(int scanner, enum hyi_os_scan_kind kind, uintptr_t from,
                uintptr_t end, struct hyi_os_run *runs, size_t max,
                uintptr_t *next)
{
    (void)scanner, (void)kind, (void)from, (void)end, (void)runs, (void)max;
    (void)next;
    return -ENOTSUP;
}

int hyi_os_watch(int *watch, void *address, size_t bytes)
{
    (void)watch, (void)address, (void)bytes;
    return -ENOTSUP;
}

/* --- files ---------------------------------------------------------------- */

void hyi_os_signal_take(int signal)
{
    sigset_t set, pending;
    int taken;

    sigemptyset(&set);
    sigaddset(&set, signal);
    if (sigpending(&pending) == 0 && sigismember(&pending, signal) == 1)
        sigwait(&set, &taken);
}

/* fsync leaves the data in the disk's own cache. */
int hyi_os_file_sync(int fd)
{
    int saved = errno;

    return hyi_os_result(fcntl(fd, F_FULLFSYNC), saved);
}

int hyi_os_file_allocate(int fd, uint64_t offset, uint64_t bytes)
{
    int saved = errno;
    struct stat s;
    fstore_t more = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, 0, 0};

    /* Blocks are added behind the end of the file only. */
    if (fstat(fd, &s) != 0)
        return hyi_os_result(-1, saved);
    if (offset + bytes <= (uint64_t)s.st_size)
        return -ENOTSUP;
    more.fst_length = (off_t)(offset + bytes) - s.st_size;
    return hyi_os_result(fcntl(fd, F_PREALLOCATE, &more), saved);
}

bool hyi_os_holes_take_space(int fd, uint64_t offset, uint64_t end)
{
    (void)fd, (void)offset, (void)end;
    return false;
}

/* --- shared memory by name, and other processes --------------------------- */

/* read(2) does not work on such a segment here; it is mapped for the copy. */
int hyi_os_shm_read(int fd, uint64_t offset, void *out, size_t bytes)
{
    struct hyi_os_shm info;
    void *p;
    int r = hyi_os_shm_info(fd, &info);

    if (r != 0)
        return r;
    if (!hyi_range_fits(offset, bytes, info.bytes))
        return -EIO;
    r = hyi_os_map_file(&p, fd, 0, (size_t)info.bytes, HYI_OS_READ, true);
    if (r != 0)
        return r;
    memcpy(out, (const char *)p + offset, bytes);
    return hyi_os_release(p, (size_t)info.bytes);
}

int hyi_os_shm_each(const char *prefix, int (*visit)(const char *, void *),
                    void *arg)
{
    (void)prefix;
    (void)visit;
    (void)arg;
    return -ENOTSUP;
}

int hyi_os_futex_wait_any(const struct hyi_os_word *words, unsigned count,
                          hy_deadline until)
{
    (void)words;
    (void)count;
    (void)until;
    return -ENOTSUP;
}

uint64_t hyi_os_process_space(void)
{
    return 0;
}

int hyi_os_process_look(uint64_t pid, uint64_t *start)
{
    int saved = errno;
    uint64_t found = hyi_os_process_start(pid);
    bool gone = found == 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;

    errno = saved;
    if (gone)
        return -ESRCH;
    *start = found;
    return found != 0 ? 0 : -ENOTSUP;
}

uint64_t hyi_os_process_start(uint64_t pid)
{
    int saved = errno;
    int query[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, (int)pid};
    struct kinfo_proc info;
    size_t bytes = sizeof(info);
    int r = sysctl(query, 4, &info, &bytes, NULL, 0);

    errno = saved;
    if (r != 0 || bytes == 0)
        return 0;
    return (uint64_t)info.kp_proc.p_starttime.tv_sec * 1000000u +
           (uint64_t)info.kp_proc.p_starttime.tv_usec;
}

void hyi_os_usage(struct hyi_os_usage *out)
{
    struct rusage u;

    memset(&u, 0, sizeof(u));
    getrusage(RUSAGE_SELF, &u);
    out->minor_faults = (uint64_t)u.ru_minflt;
    out->major_faults = (uint64_t)u.ru_majflt;
    out->resident_bytes = 0;
}
