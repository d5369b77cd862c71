/*
 * fail.h - making system and library calls fail, one by one.
 *
 *      hy_fail_at(HY_FAIL_MMAP, 2, ENOMEM);   the 2nd mmap from now fails
 *
 * The linker redirects the calls of the static archives (--wrap), so nothing
 * of this is in the library itself. Each armed call fails once; hy_fail_hits
 * tells that it really was reached, and hy_fail_none disarms all. Calls made
 * through syscall(2) are armed by number with hy_fail_syscall.
 */
#ifndef HY_FAIL_H
#define HY_FAIL_H

#include <stddef.h>
#include <stdint.h>

#define HY_FAIL_CALLS(X)                                                       \
    X(MMAP, mmap)                                                              \
    X(MUNMAP, munmap)                                                          \
    X(MPROTECT, mprotect)                                                      \
    X(MADVISE, madvise)                                                        \
    X(MEMFD_CREATE, memfd_create)                                              \
    X(FTRUNCATE, ftruncate)                                                    \
    X(OPEN, open)                                                              \
    X(CLOSE, close)                                                            \
    X(READ, read)                                                              \
    X(WRITE, write)                                                            \
    X(PREAD, pread)                                                            \
    X(PWRITE, pwrite)                                                          \
    X(FSYNC, fsync)                                                            \
    X(FDATASYNC, fdatasync)                                                    \
    X(FSTAT, fstat)                                                            \
    X(LSEEK, lseek)                                                            \
    X(FALLOCATE, fallocate)                                                    \
    X(FLOCK, flock)                                                            \
    X(IOCTL, ioctl)                                                            \
    X(LINK, link)                                                              \
    X(RENAME, rename)                                                          \
    X(SIGACTION, sigaction)                                                    \
    X(SIGALTSTACK, sigaltstack)                                                \
    X(PTHREAD_CREATE, pthread_create)                                          \
    X(EVENTFD, eventfd)                                                        \
    X(MALLOC, malloc)                                                          \
    X(CALLOC, calloc)                                                          \
    X(REALLOC, realloc)                                                        \
    X(ALIGNED_ALLOC, aligned_alloc)                                            \
    X(SHM_OPEN, shm_open)                                                      \
    X(SYSCALL, syscall)

enum hy_fail_call {
#define HY_FAIL_ENUM(upper, lower) HY_FAIL_##upper,
    HY_FAIL_CALLS(HY_FAIL_ENUM)
#undef HY_FAIL_ENUM
        HY_FAIL_COUNT
};

/* The nth call (from 1) from now on fails with error; once. */
void hy_fail_at(enum hy_fail_call call, unsigned nth, int error);

/* The same for syscall(2) with this number. */
void hy_fail_syscall(long number, unsigned nth, int error);

/* Every call from the nth on fails. */
void hy_fail_from(enum hy_fail_call call, unsigned nth, int error);

/* How often an armed call has failed since hy_fail_none. */
unsigned hy_fail_hits(void);

void hy_fail_none(void);

/*
 * Is told of each pwrite, ftruncate (bytes 0, at the new size) and fdatasync
 * that has succeeded, so that a test can keep its own picture of a disk. NULL
 * ends it.
 */
typedef void (*hy_fail_observer)(enum hy_fail_call call, int fd,
                                 const void *data, size_t bytes, uint64_t at);
void hy_fail_observe(hy_fail_observer observer);

#endif
