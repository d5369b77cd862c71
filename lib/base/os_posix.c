/*
 * os_posix.c - the part of os.h that is the same on every POSIX system.
 *
 * Invariant: errno is the caller's on return (each call is between `saved` and
 * hyi_os_result).
 * Upstream: os.h. Downstream: the C library; os_linux.c and os_darwin.c have
 * what differs.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int hyi_os_result(long r, int saved)
{
    int e = r < 0 ? -errno : 0;

    errno = saved;
    return e;
}

int hyi_os_native_protection(int protection)
{
    return (protection & HYI_OS_READ ? PROT_READ : 0) |
           (protection & HYI_OS_WRITE ? PROT_WRITE : 0) |
           (protection & HYI_OS_EXECUTE ? PROT_EXEC : 0);
}

/* --- time, processors, threads ---------------------------------------------
 */

size_t hyi_os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void hyi_os_thread_yield(void)
{
    int saved = errno;

    sched_yield();
    errno = saved;
}

int hyi_os_thread_start(void *thread, void *(*entry)(void *), void *arg)
{
    sigset_t blocked, old;
    int r, saved = errno;

    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    /* Beside what it gives, it may leave an errno. */
    r = pthread_create(thread, NULL, entry, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = saved;
    return -r;
}

/* --- memory ----------------------------------------------------------------
 */

int hyi_os_release(void *address, size_t bytes)
{
    int saved = errno;

    return hyi_os_result(munmap(address, bytes), saved);
}

int hyi_os_protect(void *address, size_t bytes, int protection)
{
    int saved = errno;

    return hyi_os_result(
        mprotect(address, bytes, hyi_os_native_protection(protection)), saved);
}

bool hyi_os_is_mapped(const void *address, size_t bytes)
{
    uintptr_t page = hyi_os_page_bytes();
    uintptr_t start = (uintptr_t)address & ~(page - 1);
    int saved = errno;
    int r = msync((void *)start, (uintptr_t)address + bytes - start, MS_ASYNC);

    errno = saved;
    return r == 0;
}

int hyi_os_map_shared(void **out, size_t bytes)
{
    int saved = errno;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return hyi_os_result(-1, saved);
    *out = p;
    return 0;
}

int hyi_os_map_file(void **out, int fd, uint64_t offset, size_t bytes,
                    int protection, bool shared)
{
    int saved = errno;
    void *p = mmap(NULL, bytes, hyi_os_native_protection(protection),
                   shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE, fd,
                   (off_t)offset);

    if (p == MAP_FAILED)
        return hyi_os_result(-1, saved);
    *out = p;
    return 0;
}

int hyi_os_map_shared_at(void *address, int fd, uint64_t offset, size_t bytes)
{
    int saved = errno;
    void *p = mmap(address, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, fd, (off_t)offset);

    return hyi_os_result(p == MAP_FAILED ? -1 : 0, saved);
}

uint64_t hyi_os_memory_bytes(void)
{
    int saved = errno;
    long pages = sysconf(_SC_PHYS_PAGES);

    errno = saved;
    if (pages <= 0)
        return UINT64_MAX;
    return (uint64_t)pages * hyi_os_page_bytes();
}

int hyi_os_map_file_at(void *address, int fd, uint64_t offset, size_t bytes,
                       int protection)
{
    int saved = errno;
    void *p = mmap(address, bytes, hyi_os_native_protection(protection),
                   MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, (off_t)offset);

    return hyi_os_result(p == MAP_FAILED ? -1 : 0, saved);
}

/* --- files -----------------------------------------------------------------
 */

void hyi_os_size_limit_enter(struct hyi_os_size_limit *limit)
{
    sigset_t signal, pending;

    sigemptyset(&signal);
    sigaddset(&signal, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal, &limit->old);
    limit->was_pending =
        sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
}

void hyi_os_size_limit_leave(const struct hyi_os_size_limit *limit)
{
    int saved = errno;

    if (!limit->was_pending)
        hyi_os_signal_take(SIGXFSZ);
    pthread_sigmask(SIG_SETMASK, &limit->old, NULL);
    errno = saved;
}

int hyi_os_file_resize(int fd, uint64_t bytes)
{
    struct hyi_os_size_limit limit;
    int saved = errno, r;

    hyi_os_size_limit_enter(&limit);
    r = hyi_os_result(ftruncate(fd, (off_t)bytes), saved);
    hyi_os_size_limit_leave(&limit);
    return r;
}

int hyi_os_file_lock(int fd, bool exclusive)
{
    int saved = errno;
    int r = hyi_os_result(flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB),
                          saved);

    return r == -EWOULDBLOCK ? -EBUSY : r;
}

int hyi_os_file_data(int fd, uint64_t *offset, uint64_t *end)
{
    int saved = errno;
    off_t data = lseek(fd, (off_t)*offset, SEEK_DATA), hole;

    if (data < 0)
        return hyi_os_result(-1, saved);
    hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0)
        return hyi_os_result(-1, saved);
    *offset = (uint64_t)data;
    *end = (uint64_t)hole;
    errno = saved;
    return 0;
}

int hyi_os_directory_sync(const char *path_of_file)
{
    const char *slash = strrchr(path_of_file, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path_of_file) + 1;
    int saved = errno, fd, r;
    char folder[PATH_MAX] = ".";

    if (length >= sizeof(folder))
        return -ENAMETOOLONG;
    if (length != 0) {
        memcpy(folder, path_of_file, length);
        folder[length] = '\0';
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return hyi_os_result(-1, saved);
    r = hyi_os_result(fsync(fd), saved);
    close(fd);
    errno = saved;
    /* Some file systems have no such operation on a directory. */
    return r == -EINVAL ? 0 : r;
}

void hyi_os_file_close(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

int hyi_os_file_copy(int fd, int *copy)
{
    int saved = errno;
    int file = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (file < 0)
        return hyi_os_result(-1, saved);
    *copy = file;
    return 0;
}

/* --- shared memory by name, and other processes ----------------------------
 */

int hyi_os_shm_create(int *fd, const char *name, uint64_t bytes)
{
    int saved = errno;
    int file = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    int r;

    if (file < 0)
        return hyi_os_result(-1, saved);
    /* Also where shm_open does not close on exec, or a umask took bits. */
    fcntl(file, F_SETFD, FD_CLOEXEC);
    r = hyi_os_result(fchmod(file, 0600), saved);
    if (r == 0)
        r = hyi_os_file_resize(file, bytes);
    /* A page that is not to be had later would be a SIGBUS. */
    if (r == 0)
        r = hyi_os_file_allocate(file, 0, bytes);
    if (r != 0 && r != -ENOTSUP) {
        close(file);
        shm_unlink(name);
        errno = saved;
        return r;
    }
    *fd = file;
    errno = saved;
    return 0;
}

int hyi_os_shm_open(int *fd, const char *name)
{
    int saved = errno;
    int file = shm_open(name, O_RDONLY, 0);

    if (file < 0)
        return hyi_os_result(-1, saved);
    *fd = file;
    return 0;
}

int hyi_os_shm_info(int fd, struct hyi_os_shm *out)
{
    int saved = errno;
    struct stat s;

    if (fstat(fd, &s) != 0)
        return hyi_os_result(-1, saved);
    out->file = (uint64_t)s.st_ino;
    out->bytes = (uint64_t)s.st_size;
    out->own = s.st_uid == geteuid() && (s.st_mode & 077) == 0;
    return 0;
}

int hyi_os_shm_remove(const char *name)
{
    int saved = errno;

    return hyi_os_result(shm_unlink(name), saved);
}

uint64_t hyi_os_user(void)
{
    return (uint64_t)geteuid();
}

uint64_t hyi_os_process_id(void)
{
    return (uint64_t)getpid();
}
