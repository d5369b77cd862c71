/*
 * fail.c - the wrappers behind fail.h. Each asks should_fail and then calls
 * the real function. Counters are atomic: calls may come from any thread.
 */
#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct armed {
    _Atomic int countdown; /* 0: not armed */
    int error;
    bool stays;
};

static struct armed table[HY_FAIL_COUNT];
static long syscall_number = -1;
static _Atomic unsigned hits;
static hy_fail_observer observer;

static void arm(enum hy_fail_call call, unsigned nth, int error, bool stays)
{
    table[call].error = error;
    table[call].stays = stays;
    atomic_store(&table[call].countdown, (int)nth);
}

void hy_fail_at(enum hy_fail_call call, unsigned nth, int error)
{
    arm(call, nth, error, false);
}

void hy_fail_from(enum hy_fail_call call, unsigned nth, int error)
{
    arm(call, nth, error, true);
}

void hy_fail_syscall(long number, unsigned nth, int error)
{
    syscall_number = number;
    arm(HY_FAIL_SYSCALL, nth, error, false);
}

void hy_fail_observe(hy_fail_observer told)
{
    observer = told;
}

unsigned hy_fail_hits(void)
{
    return atomic_load(&hits);
}

void hy_fail_none(void)
{
    for (int i = 0; i < HY_FAIL_COUNT; i++)
        atomic_store(&table[i].countdown, 0);
    atomic_store(&hits, 0);
}

static bool should_fail(enum hy_fail_call call)
{
    struct armed *a = &table[call];
    int left = atomic_load(&a->countdown);

    do {
        if (left == 0)
            return false;
        if (left == 1 && a->stays)
            break;
    } while (!atomic_compare_exchange_weak(&a->countdown, &left, left - 1));
    if (left != 1)
        return false;
    atomic_fetch_add(&hits, 1);
    errno = a->error;
    return true;
}

/* A wrapped call: its result type, name, failure value, and parameters. */
#define WRAP(type, upper, lower, failure, parameters, arguments)               \
    type __real_##lower parameters;                                            \
    type __wrap_##lower parameters;                                            \
    type __wrap_##lower parameters                                             \
    {                                                                          \
        if (should_fail(HY_FAIL_##upper))                                      \
            return failure;                                                    \
        return __real_##lower arguments;                                       \
    }

WRAP(void *, MMAP, mmap, MAP_FAILED,
     (void *p, size_t n, int prot, int flags, int fd, off_t at),
     (p, n, prot, flags, fd, at))
WRAP(int, MUNMAP, munmap, -1, (void *p, size_t n), (p, n))
WRAP(int, MPROTECT, mprotect, -1, (void *p, size_t n, int prot), (p, n, prot))
WRAP(int, MADVISE, madvise, -1, (void *p, size_t n, int advice), (p, n, advice))
WRAP(int, MEMFD_CREATE, memfd_create, -1, (const char *name, unsigned flags),
     (name, flags))
WRAP(int, CLOSE, close, -1, (int fd), (fd))
WRAP(ssize_t, READ, read, -1, (int fd, void *p, size_t n), (fd, p, n))
WRAP(ssize_t, WRITE, write, -1, (int fd, const void *p, size_t n), (fd, p, n))
WRAP(ssize_t, PREAD, pread, -1, (int fd, void *p, size_t n, off_t at),
     (fd, p, n, at))
WRAP(int, FSYNC, fsync, -1, (int fd), (fd))
WRAP(int, FALLOCATE, fallocate, -1, (int fd, int mode, off_t at, off_t n),
     (fd, mode, at, n))
WRAP(int, FLOCK, flock, -1, (int fd, int operation), (fd, operation))
WRAP(int, LINK, link, -1, (const char *a, const char *b), (a, b))
WRAP(int, FSTAT, fstat, -1, (int fd, struct stat *s), (fd, s))
WRAP(off_t, LSEEK, lseek, -1, (int fd, off_t at, int whence), (fd, at, whence))
WRAP(int, RENAME, rename, -1, (const char *a, const char *b), (a, b))
WRAP(int, SIGACTION, sigaction, -1,
     (int sig, const struct sigaction *new, struct sigaction *old),
     (sig, new, old))
WRAP(int, SIGALTSTACK, sigaltstack, -1, (const stack_t *new, stack_t *old),
     (new, old))
WRAP(int, EVENTFD, eventfd, -1, (unsigned n, int flags), (n, flags))
WRAP(void *, MALLOC, malloc, NULL, (size_t n), (n))
WRAP(void *, CALLOC, calloc, NULL, (size_t n, size_t m), (n, m))
WRAP(void *, REALLOC, realloc, NULL, (void *p, size_t n), (p, n))
WRAP(void *, ALIGNED_ALLOC, aligned_alloc, NULL, (size_t a, size_t n), (a, n))
WRAP(int, SHM_OPEN, shm_open, -1, (const char *name, int flags, mode_t mode),
     (name, flags, mode))

/* A call that the observer is told of. */
#define WRAP_OBSERVED(type, upper, lower, parameters, arguments, told)         \
    type __real_##lower parameters;                                            \
    type __wrap_##lower parameters;                                            \
    type __wrap_##lower parameters                                             \
    {                                                                          \
        type result;                                                           \
                                                                               \
        if (should_fail(HY_FAIL_##upper))                                      \
            return -1;                                                         \
        result = __real_##lower arguments;                                     \
        if (result >= 0 && observer != NULL)                                   \
            observer told;                                                     \
        return result;                                                         \
    }

WRAP_OBSERVED(int, FTRUNCATE, ftruncate, (int fd, off_t n), (fd, n),
              (HY_FAIL_FTRUNCATE, fd, NULL, 0, (uint64_t)n))
WRAP_OBSERVED(int, FDATASYNC, fdatasync, (int fd), (fd),
              (HY_FAIL_FDATASYNC, fd, NULL, 0, 0))
WRAP_OBSERVED(ssize_t, PWRITE, pwrite,
              (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),
              (HY_FAIL_PWRITE, fd, p, (size_t)result, (uint64_t)at))

/* Every ioctl that is used here takes a pointer. */
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    if (should_fail(HY_FAIL_IOCTL))
        return -1;
    return __real_ioctl(fd, request, arg);
}

/* pthread_create returns its error. */
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a,
                          void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a,
                          void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a,
                          void *(*f)(void *), void *arg)
{
    if (should_fail(HY_FAIL_PTHREAD_CREATE))
        return errno;
    return __real_pthread_create(t, a, f, arg);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    mode_t mode;

    va_start(list, flags);
    mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (should_fail(HY_FAIL_OPEN))
        return -1;
    return __real_open(path, flags, mode);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list list;
    long a[6];

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == syscall_number && should_fail(HY_FAIL_SYSCALL))
        return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
