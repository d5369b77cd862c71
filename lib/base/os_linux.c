/*
 * os_linux.c - the contract of os.h on Linux. Constants that older headers
 * lack are defined here; features are probed at run time.
 *
 * Invariant: errno is the caller's on return (KEEP_ERRNO around each call).
 * Upstream: os.h. Downstream: the kernel.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bits.h"
#include "process.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum {
    MEMBARRIER_PRIVATE_EXPEDITED = 1 << 3,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
    MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6
};

/* The negative errno value of a call that returns -1, errno put back. */
static int result_of(long r, int saved)
{
    int e = r < 0 ? -errno : 0;

    errno = saved;
    return e;
}

/* --- time, processors, threads ------------------------------------------ */

uint64_t hyi_os_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

size_t hyi_os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
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
        return result_of(-1, saved);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &usable))
            continue;
        if (nth-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    return result_of(sched_setaffinity(0, sizeof(one), &one), saved);
}

uint64_t hyi_os_thread_id(void)
{
    return (uint64_t)syscall(SYS_gettid);
}

int hyi_os_thread_start(void *thread, void *(*entry)(void *), void *arg)
{
    sigset_t blocked, old;
    int r;

    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    r = pthread_create(thread, NULL, entry, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

size_t hyi_os_signal_stack_bytes(size_t wanted)
{
    size_t frame = getauxval(AT_MINSIGSTKSZ);

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

    return result_of(r, saved);
}

void hyi_os_futex_wake(const _Atomic uint32_t *word, unsigned count,
                       bool shared)
{
    int saved = errno;

    syscall(SYS_futex, word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG),
            count, NULL, NULL, 0);
    errno = saved;
}

int hyi_os_barrier(void)
{
    int saved = errno;
    int state =
        atomic_load_explicit(&hyi_process.barrier, memory_order_relaxed);

    if (state == HYI_PROBE_UNKNOWN) {
        long r = syscall(SYS_membarrier, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED,
                         0, 0);

        state = r == 0 ? HYI_PROBE_YES : HYI_PROBE_NO;
        atomic_store_explicit(&hyi_process.barrier, state,
                              memory_order_relaxed);
    }
    if (state == HYI_PROBE_NO) {
        errno = saved;
        return -ENOTSUP;
    }
    return result_of(
        syscall(SYS_membarrier, MEMBARRIER_PRIVATE_EXPEDITED, 0, 0), saved);
}

/* --- memory --------------------------------------------------------------- */

static int native_protection(int protection)
{
    return (protection & HYI_OS_READ ? PROT_READ : 0) |
           (protection & HYI_OS_WRITE ? PROT_WRITE : 0) |
           (protection & HYI_OS_EXECUTE ? PROT_EXEC : 0);
}

int hyi_os_reserve(void **out, size_t bytes, int protection, void *near,
                   bool fixed)
{
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                (fixed ? MAP_FIXED_NOREPLACE : 0);
    void *p = mmap(near, bytes, native_protection(protection), flags, -1, 0);

    if (p == MAP_FAILED) {
        int r = result_of(-1, saved);

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

int hyi_os_release(void *address, size_t bytes)
{
    int saved = errno;

    return result_of(munmap(address, bytes), saved);
}

int hyi_os_protect(void *address, size_t bytes, int protection)
{
    int saved = errno;

    return result_of(mprotect(address, bytes, native_protection(protection)),
                     saved);
}

int hyi_os_decommit(void *address, size_t bytes)
{
    int saved = errno;

    return result_of(madvise(address, bytes, MADV_DONTNEED), saved);
}

int hyi_os_map_file(void **out, int fd, uint64_t offset, size_t bytes,
                    int protection, bool shared)
{
    int saved = errno;
    void *p = mmap(NULL, bytes, native_protection(protection),
                   shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE, fd,
                   (off_t)offset);

    if (p == MAP_FAILED)
        return result_of(-1, saved);
    *out = p;
    return 0;
}

int hyi_os_exclude_from_fork(void *address, size_t bytes)
{
    int saved = errno;

    return result_of(madvise(address, bytes, MADV_DONTFORK), saved);
}

int hyi_os_memory_file(int *fd, const char *name, uint64_t bytes)
{
    int saved = errno;
    int file = memfd_create(name, MFD_CLOEXEC);

    if (file < 0)
        return result_of(-1, saved);
    if (ftruncate(file, (off_t)bytes) != 0) {
        int r = result_of(-1, saved);

        close(file);
        errno = saved;
        return r;
    }
    *fd = file;
    return 0;
}

/* --- rewriting code ------------------------------------------------------- */

int hyi_os_barrier_core(void)
{
    int saved = errno;
    int state =
        atomic_load_explicit(&hyi_process.barrier_core, memory_order_relaxed);

    if (state == HYI_PROBE_UNKNOWN) {
        long r = syscall(SYS_membarrier,
                         MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);

        state = r == 0 ? HYI_PROBE_YES : HYI_PROBE_NO;
        atomic_store_explicit(&hyi_process.barrier_core, state,
                              memory_order_relaxed);
    }
    if (state == HYI_PROBE_NO) {
        errno = saved;
        return -ENOTSUP;
    }
    return result_of(
        syscall(SYS_membarrier, MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0),
        saved);
}

int hyi_os_code_open(int *fd)
{
    int saved = errno;
    int file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

    if (file < 0)
        return result_of(-1, saved);
    *fd = file;
    return 0;
}

void hyi_os_code_close(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

int hyi_os_code_write(int fd, void *at, const void *bytes, size_t count)
{
    int saved = errno;
    ssize_t done = pwrite(fd, bytes, count, (off_t)(uintptr_t)at);

    if (done < 0)
        return result_of(-1, saved);
    return (size_t)done == count ? 0 : -EIO;
}

int hyi_os_code_read(int fd, const void *at, void *bytes, size_t count)
{
    int saved = errno;
    ssize_t done = pread(fd, bytes, count, (off_t)(uintptr_t)at);

    if (done < 0)
        return result_of(-1, saved);
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
        r = result_of(-1, saved);
    hyi_os_code_close(fd);
    return r;
}
