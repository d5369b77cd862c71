/*
 * os_linux.c - the part of os.h that Linux does its own way. Constants that
 * older headers lack are defined here; features are probed at run time.
 *
 * Invariant: errno is the caller's on return.
 * Upstream: os.h. Downstream: the kernel; os_posix.c has the rest.
 */
#include "os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bits.h"
#include "process.h"

enum { SYS_FUTEX_WAITV = 449, FUTEX_SIZE_U32 = 2 };

enum {
    ADVISE_COLD = 20,
    ADVISE_POPULATE_READ = 22,
    ADVISE_POPULATE_WRITE = 23,
    UFFD_USER_MODE = 1,
    UFFD_WRITE_UNPOPULATED = 1 << 13,
    UFFD_WRITE_ASYNC = 1 << 15
};

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum {
    ADVICE_GUARD_INSTALL = 102, /* Linux 6.13 */
    GUARDS_AT_ONCE = 64,
    MAP_LIMIT_DEFAULT = 65530,
    MEMBARRIER_PRIVATE_EXPEDITED = 1 << 3,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
    MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6
};

/* --- time, processors, threads ------------------------------------------ */

uint64_t hyi_os_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

unsigned hyi_os_cpu_count(void)
{
    int saved = errno;
    cpu_set_t set;
    int count = 1;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = CPU_COUNT(&set);
    errno = saved;
    return count > 0 ? (unsigned)count : 1;
}

int hyi_os_cpu_pin(unsigned nth)
{
    int saved = errno;
    cpu_set_t usable, one;

    if (sched_getaffinity(0, sizeof(usable), &usable) != 0)
        return hyi_os_result(-1, saved);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &usable))
            continue;
        if (nth-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    return hyi_os_result(sched_setaffinity(0, sizeof(one), &one), saved);
}

uint64_t hyi_os_thread_id(void)
{
    return (uint64_t)syscall(SYS_gettid);
}

size_t hyi_os_signal_stack_bytes(size_t wanted)
{
    int saved = errno;
    size_t frame = getauxval(AT_MINSIGSTKSZ); /* ENOENT where it is unknown */

    errno = saved;
    return hyi_align_up(wanted + frame, hyi_os_page_bytes());
}

/* --- waiting on a word ---------------------------------------------------- */

int hyi_os_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                      hy_deadline until, bool shared)
{
    int saved = errno;
    int op = FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG);
    struct timespec ts = {(time_t)(until / 1000000000u),
                          (long)(until % 1000000000u)};
    long r =
        syscall(SYS_futex, word, op, expected, until == HY_FOREVER ? NULL : &ts,
                NULL, FUTEX_BITSET_MATCH_ANY);

    return hyi_os_result(r, saved);
}

void hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                       bool shared)
{
    int saved = errno;

    syscall(SYS_futex, word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG),
            count, NULL, NULL, 0);
    errno = saved;
}

int hyi_os_futex_wait_any(const struct hyi_os_word *words, unsigned count,
                          hy_deadline until)
{
    int saved = errno;
    struct timespec ts = {(time_t)(until / 1000000000u),
                          (long)(until % 1000000000u)};
    struct { /* struct futex_waitv, Linux 5.16 */
        uint64_t expected, address;
        uint32_t flags, reserved;
    } list[HYI_OS_WORDS_MOST];
    long r;

    for (unsigned i = 0; i < count; i++) {
        list[i].expected = words[i].expected;
        list[i].address = (uintptr_t)words[i].word;
        list[i].flags =
            FUTEX_SIZE_U32 | (words[i].shared ? 0 : FUTEX_PRIVATE_FLAG);
        list[i].reserved = 0;
    }
    r = syscall(SYS_FUTEX_WAITV, list, count, 0,
                until == HY_FOREVER ? NULL : &ts, CLOCK_MONOTONIC);
    if (r < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
        errno = ENOTSUP;
    return hyi_os_result(r < 0 ? r : 0, saved);
}

/* A kind of membarrier(2), registered at its first use. */
static int barrier(_Atomic int *probe, int registration, int command)
{
    int saved = errno;
    int state = atomic_load_explicit(probe, memory_order_relaxed);

    if (state == HYI_PROBE_UNKNOWN) {
        long r = syscall(SYS_membarrier, registration, 0, 0);

        state = r == 0 ? HYI_PROBE_YES : HYI_PROBE_NO;
        atomic_store_explicit(probe, state, memory_order_relaxed);
    }
    if (state == HYI_PROBE_NO) {
        errno = saved;
        return -ENOTSUP;
    }
    return hyi_os_result(syscall(SYS_membarrier, command, 0, 0), saved);
}

int hyi_os_barrier(void)
{
    return barrier(&hyi_process.barrier, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED,
                   MEMBARRIER_PRIVATE_EXPEDITED);
}

/* --- memory --------------------------------------------------------------- */

int hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                   bool fixed)
{
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                (fixed ? MAP_FIXED_NOREPLACE : 0);
    void *p =
        mmap(near, bytes, hyi_os_native_protection(protection), flags, -1, 0);

    if (p == MAP_FAILED) {
        int r = hyi_os_result(-1, saved);

        /* Valgrind's word for a size that it does not have. */
        if (r == -EINVAL && bytes != 0)
            r = -ENOMEM;
        return r == -EEXIST ? -EADDRNOTAVAIL : r;
    }
    if (fixed && p != near) { /* kernels before 4.17 ignore NOREPLACE */
        munmap(p, bytes);
        errno = saved;
        return -EADDRNOTAVAIL;
    }
    *out = p;
    return 0;
}

int hyi_os_decommit(void *address, size_t bytes)
{
    int saved = errno;

    return hyi_os_result(madvise(address, bytes, MADV_DONTNEED), saved);
}

int hyi_os_exclude_from_fork(void *address, size_t bytes)
{
    int saved = errno;

    return hyi_os_result(madvise(address, bytes, MADV_DONTFORK), saved);
}

int hyi_os_memory_file(int *fd, const char *name, uint64_t bytes)
{
    int saved = errno, r;
    int file = memfd_create(name, MFD_CLOEXEC);

    if (file < 0)
        return hyi_os_result(-1, saved);
    r = hyi_os_file_resize(file, bytes);
    if (r == 0)
        *fd = file;
    else
        close(file);
    errno = saved;
    return r;
}

/* --- rewriting code ------------------------------------------------------- */

int hyi_os_barrier_core(void)
{
    return barrier(&hyi_process.barrier_core,
                   MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
                   MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE);
}

int hyi_os_code_open(int *fd)
{
    int saved = errno;
    int file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

    if (file < 0)
        return hyi_os_result(-1, saved);
    *fd = file;
    return 0;
}

void hyi_os_code_close(int fd)
{
    hyi_os_file_close(fd);
}

int hyi_os_code_write(int fd, void *at, const void *bytes, size_t count)
{
    int saved = errno;
    ssize_t done = pwrite(fd, bytes, count, (off_t)(uintptr_t)at);

    if (done < 0)
        return hyi_os_result(-1, saved);
    return (size_t)done == count ? 0 : -EIO;
}

int hyi_os_code_read(int fd, const void *at, void *bytes, size_t count)
{
    int saved = errno;
    ssize_t done = pread(fd, bytes, count, (off_t)(uintptr_t)at);

    if (done < 0)
        return hyi_os_result(-1, saved);
    return (size_t)done == count ? 0 : -EIO;
}

int hyi_os_code_replace(void *pages, const void *content, size_t bytes)
{
    int saved = errno;
    int fd = -1, r;

    /* A private mapping of a file that nobody can open again: no address ever
     * writes it, and a forked child has its own. */
    r = hyi_os_memory_file(&fd, "hyperion-code", bytes);
    if (r != 0)
        return r;
    r = hyi_os_code_write(fd, NULL, content, bytes);
    /* Raw: a sanitizer's mmap would take new pages for new data. */
    if (r == 0 &&
        syscall(SYS_mmap, pages, bytes, PROT_READ | PROT_EXEC,
                MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, (long)fd, 0L) == -1)
        r = hyi_os_result(-1, saved);
    hyi_os_code_close(fd);
    return r;
}

/* --- guards and the number of mappings ------------------------------------ */

/* Guards up to GUARDS_AT_ONCE ranges in one call; false when it can't. */
static bool guard_together(char *first, size_t guard_bytes, size_t stride,
                           size_t count)
{
    struct iovec range[GUARDS_AT_ONCE];
    long fd, done;

    if (atomic_load_explicit(&hyi_process.guards_together,
                             memory_order_relaxed) == HYI_PROBE_NO)
        return false;
    fd = syscall(SYS_pidfd_open, getpid(), 0); /* a child's is another */
    for (size_t i = 0; i < count; i++)
        range[i] = (struct iovec){first + i * stride, guard_bytes};
    done = fd < 0 ? -1
                  : syscall(SYS_process_madvise, fd, range, count,
                            ADVICE_GUARD_INSTALL, 0);
    if (fd >= 0)
        close((int)fd);
    atomic_store_explicit(&hyi_process.guards_together,
                          done < 0 ? HYI_PROBE_NO : HYI_PROBE_YES,
                          memory_order_relaxed);
    return done == (long)(count * guard_bytes);
}

/* An emulator may accept advice that it does not know: whether a guarded page
   faults is tried once, by having the kernel write to it. */
static bool guards_fault(void *guarded)
{
    int state = atomic_load_explicit(&hyi_process.guards, memory_order_relaxed);

    if (state == HYI_PROBE_UNKNOWN) {
        long r = syscall(SYS_getrandom, guarded, 1, 0);

        state = r < 0 && errno == EFAULT ? HYI_PROBE_YES : HYI_PROBE_NO;
        atomic_store_explicit(&hyi_process.guards, state, memory_order_relaxed);
    }
    return state == HYI_PROBE_YES;
}

int hyi_os_guard(void *first, size_t guard_bytes, size_t stride, size_t count)
{
    int saved = errno;
    char *p = first;
    int r = madvise(first, guard_bytes, ADVICE_GUARD_INSTALL);

    if (r == 0 && !guards_fault(first)) {
        errno = EINVAL;
        r = -1;
    }
    while (count > 0 && r == 0) {
        size_t now = count < GUARDS_AT_ONCE ? count : GUARDS_AT_ONCE;

        if (now == 1 || !guard_together(p, guard_bytes, stride, now))
            for (size_t i = 0; i < now && r == 0; i++)
                r = madvise(p + i * stride, guard_bytes, ADVICE_GUARD_INSTALL);
        p += now * stride;
        count -= now;
    }
    r = hyi_os_result(r, saved);
    return r == -EINVAL ? -ENOTSUP : r;
}

void hyi_os_small_pages(void *address, size_t bytes)
{
    int saved = errno;

    madvise(address, bytes, MADV_NOHUGEPAGE);
    errno = saved;
}

int hyi_os_keep_apart(void *address, size_t bytes)
{
    int saved = errno;
    int r = hyi_os_result(madvise(address, bytes, MADV_UNMERGEABLE), saved);

    return r == -EINVAL ? 0 : r; /* a kernel that joins nothing */
}

size_t hyi_os_map_count(void)
{
    int saved = errno;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    char buffer[4096];
    size_t lines = 0;
    ssize_t n;

    while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0)
        for (ssize_t i = 0; i < n; i++)
            lines += buffer[i] == '\n';
    if (fd >= 0)
        close(fd);
    errno = saved;
    return lines;
}

size_t hyi_os_map_limit(void)
{
    int saved = errno;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    char text[24] = "";
    size_t limit = MAP_LIMIT_DEFAULT;

    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) > 0)
            limit = strtoul(text, NULL, 10);
        close(fd);
    }
    errno = saved;
    return limit;
}

/* --- an event and an alarm behind one descriptor -------------------------- */

int hyi_os_event_open(struct hyi_os_event *event)
{
    int saved = errno;
    int all = epoll_create1(EPOLL_CLOEXEC);
    int signalled = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int alarm = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event in = {.events = EPOLLIN};
    int r = 0;

    if (all < 0 || signalled < 0 || alarm < 0 ||
        epoll_ctl(all, EPOLL_CTL_ADD, signalled, &in) != 0 ||
        epoll_ctl(all, EPOLL_CTL_ADD, alarm, &in) != 0)
        r = -errno;
    if (r != 0) {
        int all_of_them[3] = {all, signalled, alarm};

        for (int i = 0; i < 3; i++)
            if (all_of_them[i] >= 0)
                close(all_of_them[i]);
    } else {
        *event = (struct hyi_os_event){all, {signalled, alarm}};
    }
    errno = saved;
    return r;
}

void hyi_os_event_close(struct hyi_os_event *event)
{
    int saved = errno;

    close(event->fd);
    close(event->parts[0]);
    close(event->parts[1]);
    errno = saved;
}

void hyi_os_event_signal(struct hyi_os_event *event)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t n = write(event->parts[0], &one, sizeof(one));

    (void)n; /* it fails only when the event is signalled already */
    errno = saved;
}

void hyi_os_event_clear(struct hyi_os_event *event)
{
    int saved = errno;
    struct itimerspec never = {{0, 0}, {0, 0}};
    uint64_t count;
    ssize_t n = read(event->parts[0], &count, sizeof(count));

    (void)n; /* nothing to read: it was not signalled */
    timerfd_settime(event->parts[1], TFD_TIMER_ABSTIME, &never, NULL);
    errno = saved;
}

void hyi_os_event_alarm(struct hyi_os_event *event, hy_deadline at)
{
    int saved = errno;
    struct itimerspec once = {
        {0, 0}, {(time_t)(at / 1000000000u), (long)(at % 1000000000u)}};

    if (at != HY_FOREVER)
        timerfd_settime(event->parts[1], TFD_TIMER_ABSTIME, &once, NULL);
    errno = saved;
}

/* --- large mappings ------------------------------------------------------- */

static int advise(void *address, size_t bytes, int advice)
{
    int saved = errno;

    return hyi_os_result(madvise(address, bytes, advice), saved);
}

int hyi_os_populate(void *address, size_t bytes, bool write)
{
    int r;

    do
        r = advise(address, bytes,
                   write ? ADVISE_POPULATE_WRITE : ADVISE_POPULATE_READ);
    while (r == -EINTR || r == -EAGAIN);
    return r == -EINVAL ? -ENOTSUP : r;
}

int hyi_os_huge(void *address, size_t bytes)
{
    int saved = errno;
    char mode[64] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled",
                  O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, mode, sizeof(mode) - 1);

    if (fd >= 0)
        close(fd);
    errno = saved;
    if (n <= 0 || strstr(mode, "[never]") != NULL)
        return -ENOTSUP;
    return advise(address, bytes, MADV_HUGEPAGE) == 0 ? 0 : -ENOTSUP;
}

void hyi_os_exclude(void *address, size_t bytes)
{
    advise(address, bytes, MADV_DONTFORK);
    advise(address, bytes, MADV_DONTDUMP);
}

int hyi_os_advise(void *address, size_t bytes, int advice)
{
    static const int native[] = {
        [HYI_OS_NORMAL] = MADV_NORMAL,         [HYI_OS_RANDOM] = MADV_RANDOM,
        [HYI_OS_WILL_NEED] = MADV_WILLNEED,    [HYI_OS_COLD] = ADVISE_COLD,
        [HYI_OS_SEQUENTIAL] = MADV_SEQUENTIAL,
    };

    return advise(address, bytes, native[advice]);
}

/* --- which pages are what ------------------------------------------------- */

/* Linux 6.7, Documentation/admin-guide/mm/pagemap.rst. */
struct pagemap_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct pagemap_region {
    uint64_t start, end, categories;
};
#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct pagemap_scan)

enum { SCAN_RESET = 1 << 0, SCAN_CHECK_WATCH = 1 << 1 };
enum {
    SCAN_IS_WRITTEN = 1 << 1,
    SCAN_IS_FILE = 1 << 2,
    SCAN_IS_PRESENT = 1 << 3,
    SCAN_IS_SWAPPED = 1 << 4,
    SCAN_IS_ZERO = 1 << 5, /* the page that all share until they write */
    SCAN_IS_HUGE = 1 << 6
};
enum { SCAN_REGIONS = 64 };

static void scan_categories(struct pagemap_scan *scan,
                            enum hyi_os_scan_kind kind)
{
    scan->return_mask = SCAN_IS_PRESENT;
    if (kind == HYI_OS_SCAN_RESIDENT) {
        scan->category_mask = SCAN_IS_PRESENT;
        return;
    }
    scan->category_inverted = SCAN_IS_FILE | SCAN_IS_ZERO;
    scan->category_mask = SCAN_IS_FILE | SCAN_IS_ZERO;
    scan->category_anyof_mask = SCAN_IS_PRESENT | SCAN_IS_SWAPPED;
    if (kind != HYI_OS_SCAN_PRIVATE)
        scan->category_mask |= SCAN_IS_WRITTEN;
    if (kind == HYI_OS_SCAN_TAKE)
        scan->flags = SCAN_RESET | SCAN_CHECK_WATCH;
}

/* Kernels before 6.7 have one word a page: present, swapped, file or shared. */
static int scan_words(int scanner, enum hyi_os_scan_kind kind, uintptr_t from,
                      uintptr_t end, struct hyi_os_run *runs, size_t max,
                      uintptr_t *next)
{
    const uint64_t present = (uint64_t)1 << 63, swapped = (uint64_t)1 << 62;
    const uint64_t shared = (uint64_t)1 << 61;
    size_t page = hyi_os_page_bytes(), count = 0;
    uint64_t words[1024];

    if (kind != HYI_OS_SCAN_RESIDENT && kind != HYI_OS_SCAN_PRIVATE)
        return -ENOTSUP;
    for (uintptr_t at = from; at < end;) {
        size_t want = (end - at) / page;
        ssize_t n;

        want = want < HYI_ARRAY_COUNT(words) ? want : HYI_ARRAY_COUNT(words);
        n = pread(scanner, words, want * sizeof(words[0]),
                  (off_t)(at / page * sizeof(words[0])));
        if (n <= 0)
            return n < 0 ? -errno : -ENOTSUP;
        for (size_t i = 0; i < (size_t)n / sizeof(words[0]); i++, at += page) {
            bool is_private =
                (words[i] & (present | swapped)) && !(words[i] & shared);

            if (kind == HYI_OS_SCAN_RESIDENT ? !(words[i] & present)
                                             : !is_private)
                continue;
            if (count != 0 && runs[count - 1].end == at) {
                runs[count - 1].end = at + page;
                continue;
            }
            if (count == max) {
                *next = at;
                return (int)count;
            }
            runs[count].start = at;
            runs[count++].end = at + page;
        }
    }
    *next = end;
    return (int)count;
}

int hyi_os_scan_open(int *scanner)
{
    int saved = errno;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    errno = saved;
    if (fd < 0)
        return -ENOTSUP;
    *scanner = fd;
    return 0;
}

int hyi_os_scan(int scanner, enum hyi_os_scan_kind kind, uintptr_t from,
                uintptr_t end, struct hyi_os_run *runs, size_t max,
                uintptr_t *next)
{
    struct pagemap_region regions[SCAN_REGIONS] = {{0, 0, 0}};
    struct pagemap_scan scan = {
        .size = sizeof(scan), .start = from, .end = end};
    int saved = errno, r;

    scan.vec = (uintptr_t)regions;
    scan.vec_len = max < SCAN_REGIONS ? max : SCAN_REGIONS;
    scan_categories(&scan, kind);
    do
        r = ioctl(scanner, PAGEMAP_SCAN_IOCTL, &scan);
    while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == ENOTTY || errno == EINVAL || errno == ENOSYS))
        r = scan_words(scanner, kind, from, end, runs, max, next);
    else if (r < 0)
        r = -errno;
    else {
        for (int i = 0; i < r; i++)
            runs[i] = (struct hyi_os_run){regions[i].start, regions[i].end};
        *next = scan.walk_end;
    }
    errno = saved;
    return r;
}

uint64_t hyi_os_huge_bytes(const void *address, size_t bytes)
{
    struct pagemap_region regions[8] = {{0, 0, 0}};
    struct pagemap_scan scan = {.size = sizeof(scan),
                                .start = (uintptr_t)address,
                                .end = (uintptr_t)address + bytes,
                                .vec = (uintptr_t)regions,
                                .vec_len = HYI_ARRAY_COUNT(regions),
                                .category_mask = SCAN_IS_PRESENT | SCAN_IS_HUGE,
                                .return_mask = SCAN_IS_PRESENT};
    uint64_t huge = 0;
    int scanner, saved = errno, r;

    if (hyi_os_scan_open(&scanner) != 0)
        return 0;
    do {
        r = ioctl(scanner, PAGEMAP_SCAN_IOCTL, &scan);
        for (int i = 0; i < r; i++)
            huge += regions[i].end - regions[i].start;
        scan.start = scan.walk_end;
    } while (r > 0 && scan.start < scan.end);
    close(scanner);
    errno = saved;
    return huge;
}

int hyi_os_watch(int *watch, void *address, size_t bytes)
{
    int saved = errno;
    int fd =
        (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE);
    struct uffdio_api api = {
        .api = UFFD_API, .features = UFFD_WRITE_ASYNC | UFFD_WRITE_UNPOPULATED};
    struct uffdio_register range = {
        .range = {(uintptr_t)address, bytes},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };

    if (fd >= 0 && (ioctl(fd, UFFDIO_API, &api) != 0 ||
                    ioctl(fd, UFFDIO_REGISTER, &range) != 0)) {
        close(fd);
        fd = -1;
    }
    errno = saved;
    if (fd < 0)
        return -ENOTSUP;
    *watch = fd;
    return 0;
}

/* --- files ---------------------------------------------------------------- */

void hyi_os_signal_take(int signal)
{
    struct timespec none = {0, 0};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal);
    while (sigtimedwait(&set, NULL, &none) < 0 && errno == EINTR)
        continue;
}

int hyi_os_file_sync(int fd)
{
    int saved = errno;

    return hyi_os_result(fdatasync(fd), saved);
}

int hyi_os_file_allocate(int fd, uint64_t offset, uint64_t bytes)
{
    int saved = errno, r;

    do
        r = hyi_os_result(fallocate(fd, 0, (off_t)offset, (off_t)bytes), saved);
    while (r == -EINTR);
    return r == -EOPNOTSUPP || r == -ENOSYS ? -ENOTSUP : r;
}

/* The space shows as data: where touching one costs nothing, it stays a hole.
 * Without a careful way to touch it, a file system that hides another, whose
 * kind is not known, is suspected. */
static bool touched_hole_is_data(int fd, uint64_t offset, uint64_t end,
                                 bool suspected)
{
    size_t page = hyi_os_page_bytes();
    off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
    void *p;
    int r;

    if (hole < 0)
        return suspected;
    hole = (off_t)hyi_align_up((uint64_t)hole, page);
    if ((uint64_t)hole + page > end)
        return false; /* there is none */
    p = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, hole);
    if (p == MAP_FAILED)
        return true;
    r = hyi_os_populate(p, page, false);
    munmap(p, page);
    if (r == -ENOTSUP)
        return suspected;
    return r != 0 || lseek(fd, hole, SEEK_DATA) == hole;
}

bool hyi_os_holes_take_space(int fd, uint64_t offset, uint64_t end)
{
    int saved = errno;
    struct statfs s;
    bool takes;

    if (fstatfs(fd, &s) != 0)
        s.f_type = OVERLAYFS_SUPER_MAGIC;
    takes = s.f_type == TMPFS_MAGIC ||
            touched_hole_is_data(fd, offset, end,
                                 s.f_type == OVERLAYFS_SUPER_MAGIC);
    errno = saved;
    return takes;
}

/* --- shared memory by name, and other processes --------------------------- */

int hyi_os_shm_read(int fd, uint64_t offset, void *out, size_t bytes)
{
    int saved = errno;
    ssize_t done = pread(fd, out, bytes, (off_t)offset);

    if (done < 0)
        return hyi_os_result(-1, saved);
    return (size_t)done == bytes ? 0 : -EIO;
}

int hyi_os_shm_each(const char *prefix, int (*visit)(const char *, void *),
                    void *arg)
{
    int saved = errno, r = 0;
    DIR *folder = opendir("/dev/shm");

    if (folder == NULL) {
        errno = saved;
        return -ENOTSUP;
    }
    for (struct dirent *e; r == 0 && (e = readdir(folder)) != NULL;)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
            r = visit(e->d_name, arg);
    closedir(folder);
    errno = saved;
    return r;
}

/* The whole of a small file of /proc, with a zero at the end; "" when it cannot
 * be read. */
static void read_proc(const char *path, char *text, size_t bytes)
{
    int saved = errno;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, bytes - 1);

    text[n < 0 ? 0 : n] = '\0';
    if (fd >= 0)
        close(fd);
    errno = saved;
}

/* Field number of a line of stat (proc(5)) from the third on; text begins with
 * it. */
static uint64_t stat_field(const char *text, int number)
{
    enum { FIELD_STATE = 3 };

    for (int field = FIELD_STATE; text != NULL && field < number; field++) {
        text = strchr(text, ' ');
        text = text != NULL ? text + 1 : NULL;
    }
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

int hyi_os_process_look(uint64_t pid, uint64_t *start)
{
    enum { FIELD_THREADS = 20, FIELD_START = 22 };
    int saved = errno;
    char path[64], text[1024], *p;
    bool gone;

    /* By way of its first thread: emulators make up a stat of their own for
     * the process that asks, which another would find different. */
    snprintf(path, sizeof(path), "/proc/%llu/task/%llu/stat",
             (unsigned long long)pid, (unsigned long long)pid);
    read_proc(path, text, sizeof(text));
    /* The name, field 2, may hold anything but ends with the last ')'. */
    p = strrchr(text, ')');
    if (p == NULL || strlen(p) < 4) {
        gone = kill((pid_t)pid, 0) != 0 && errno == ESRCH;
        errno = saved;
        return gone ? -ESRCH : -ENOTSUP;
    }
    p += 2;
    /* A first thread that has ended while others run is a zombie, too. */
    if ((*p == 'Z' || *p == 'X') && stat_field(p, FIELD_THREADS) <= 1)
        return -ESRCH;
    *start = stat_field(p, FIELD_START);
    return 0;
}

uint64_t hyi_os_process_start(uint64_t pid)
{
    uint64_t start = 0;

    return hyi_os_process_look(pid, &start) == 0 ? start : 0;
}

uint64_t hyi_os_process_space(void)
{
    int saved = errno;
    struct stat s;
    uint64_t space = 0;

    if (stat("/proc/self/ns/pid", &s) == 0)
        space = (uint64_t)s.st_ino;
    errno = saved;
    return space;
}

void hyi_os_usage(struct hyi_os_usage *out)
{
    struct rusage u = {0};
    char text[128], *end;

    getrusage(RUSAGE_SELF, &u);
    out->minor_faults = (uint64_t)u.ru_minflt;
    out->major_faults = (uint64_t)u.ru_majflt;
    read_proc("/proc/self/statm", text, sizeof(text));
    strtoull(text, &end, 10);
    out->resident_bytes = strtoull(end, NULL, 10) * hyi_os_page_bytes();
}
