/*
 * test_pager_file.c - pagers with a file: what a checkpoint keeps, what an open
 * refuses, and what is left when calls fail, under each mechanism.
 */
#include <errno.h>
#include <fcntl.h>
#include <hyperion/pager.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "pager_impl.h"
#include "process.h"

#define MIB ((uint64_t)1 << 20)

/* Emulators pay for reserved addresses. */
#ifdef HY_TEST_PLAIN
#define LARGE ((uint64_t)1 << 30)
#else
#define LARGE ((uint64_t)1 << 40)
#endif

static char folder[128], path[192];
static char reported[1024];

static void keep_report(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    snprintf(reported, sizeof(reported), "%s", message);
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");

    reported[0] = '\0';
    snprintf(folder, sizeof(folder), "%s/hy-pager-XXXXXX",
             tmp != NULL ? tmp : "/tmp");
    HY_CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/store", folder);
}

/* Nothing but the store may be left behind in its folder. */
static void tear_down(void)
{
    unlink(path);
    HY_CHECK_EQ(rmdir(folder), 0);
}

static int open_it(hy_pager **out, uint64_t bytes, unsigned mechanism,
                   unsigned flags)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;

    o.mechanism = mechanism;
    o.flags = flags;
    o.path = path;
    o.report.write = keep_report;
    *out = NULL;
    return hy_pager_reserve(out, bytes, &o);
}

static hy_pager *must_open(uint64_t bytes, unsigned mechanism, unsigned flags)
{
    hy_pager *p;

    HY_CHECK_EQ(open_it(&p, bytes, mechanism, flags), 0);
    return p;
}

static hy_pager_stats stats_of(hy_pager *p)
{
    hy_pager_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_pager_stats_get(p, &s), 0);
    return s;
}

/* The mechanisms that this system has for files. */
static unsigned first_mechanism(void)
{
    return hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE ? HY_PAGER_KERNEL
                                                      : HY_PAGER_SIGNAL;
}

#define EACH_MECHANISM(m)                                                      \
    for (unsigned m = first_mechanism(); m <= HY_PAGER_SIGNAL; m++)

/* --- content -------------------------------------------------------------- */

HY_TEST(pager_file, what_was_checkpointed_is_there_again)
{
    EACH_MECHANISM(m)
    {
        uint64_t bytes = LARGE;
        volatile char *base;
        hy_pager *p;

        set_up();
        p = must_open(bytes, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        HY_CHECK_EQ(base[12345], 0);
        base[0] = 1;
        base[bytes - 1] = 2;
        base[bytes / 2] = 3;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 3);
        HY_CHECK_EQ(stats_of(p).checkpoints, 1);
        if (m == HY_PAGER_SIGNAL || stats_of(p).write_tracking)
            HY_CHECK_EQ(stats_of(p).dirty_bytes, 0);
        HY_CHECK_EQ(stats_of(p).mechanism, m);
        base[0] = 9;
        base[77777] = 9;
        hy_pager_release(p);
        p = must_open(bytes, m, 0);
        base = hy_pager_base(p);
        HY_CHECK_EQ(base[0], 1);
        HY_CHECK_EQ(base[bytes - 1], 2);
        HY_CHECK_EQ(base[bytes / 2], 3);
        HY_CHECK_EQ(base[77777], 0);
        hy_pager_release(p);
        tear_down();
    }
}

HY_TEST(pager_file, a_page_written_again_is_saved_again)
{
    EACH_MECHANISM(m)
    {
        volatile char *base;
        hy_pager *p;

        set_up();
        p = must_open(4 * MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        for (int i = 1; i <= 20; i++) {
            base[5] = (char)i;
            base[2 * MIB] = 7; /* the same again: nothing to save */
            HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
            if (m == HY_PAGER_SIGNAL)
                HY_CHECK_EQ(stats_of(p).write_backs, i + 1);
        }
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(4 * MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[5] == 20 && base[2 * MIB] == 7);
        /* One page, zero again. */
        base[5] = 0;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(4 * MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[5] == 0 && base[2 * MIB] == 7);
        hy_pager_release(p);
        tear_down();
    }
}

HY_TEST(pager_file, the_log_wraps_and_many_pages_are_kept)
{
    EACH_MECHANISM(m)
    {
        uint64_t bytes = 8 * MIB;
        hy_pager *p;
        struct stat s;

        set_up();
        p = must_open(bytes, m, HY_PAGER_CREATE);
        for (int i = 1; i <= 9; i++) {
            memset(hy_pager_base(p), i, bytes);
            HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        }
        HY_CHECK_EQ(stat(path, &s), 0);
        HY_CHECK(s.st_size < (off_t)(40 * MIB));
        hy_pager_release(p);
        HY_CHECK_EQ(stat(path, &s), 0);
        HY_CHECK_EQ(s.st_size, bytes + 16 * hyi_os_page_bytes());
        p = must_open(bytes, m, 0);
        for (uint64_t at = 0; at < bytes; at += 1000)
            HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[at], 9);
        hy_pager_release(p);
        tear_down();
    }
}

HY_TEST(pager_file, a_file_grows_and_new_pages_are_zero)
{
    EACH_MECHANISM(m)
    {
        volatile char *base;
        hy_pager *p;

        set_up();
        p = must_open(MIB, m, HY_PAGER_CREATE);
        memset(hy_pager_base(p), 5, MIB);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(3 * MIB, m, 0);
        base = hy_pager_base(p);
        for (uint64_t at = 0; at < 3 * MIB; at += 512)
            HY_CHECK_EQ(base[at], at < MIB ? 5 : 0);
        base[3 * MIB - 1] = 6;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        HY_CHECK_EQ(open_it(&p, MIB, m, 0), -EINVAL);
        HY_CHECK(strstr(reported, "has 3145728 bytes") != NULL);
        p = must_open(3 * MIB, m, HY_PAGER_READ_ONLY);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[3 * MIB - 1], 6);
        hy_pager_release(p);
        tear_down();
    }
}

/* 0: as much as was allowed before. */
static void limit_files(uint64_t bytes)
{
    struct rlimit now;

    HY_CHECK_EQ(getrlimit(RLIMIT_FSIZE, &now), 0);
    now.rlim_cur = bytes != 0 ? bytes : now.rlim_max;
    HY_CHECK_EQ(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static bool is_xfsz_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, SIGXFSZ) == 1;
}

static void check_limited_files(unsigned m)
{
    uint64_t home = 16 * hyi_os_page_bytes();
    volatile char *base;
    hy_pager *p;

    p = must_open(MIB, m, HY_PAGER_CREATE);
    base = hy_pager_base(p);
    memset(hy_pager_base(p), 7, MIB);
    limit_files(home + MIB + 64 * 1024);
    HY_CHECK_EQ(hy_pager_checkpoint(p), -EFBIG);
    base[5] = 8;
    HY_CHECK_EQ(hy_pager_checkpoint(p), -EFBIG);
    limit_files(0);
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    base[6] = 9;
    limit_files(1); /* the log and the home pages are beyond it */
    HY_CHECK_EQ(hy_pager_checkpoint(p), -EFBIG);
    hy_pager_release(p);

    HY_CHECK_EQ(open_it(&p, 2 * MIB, m, 0), -EFBIG);
    limit_files(home + MIB);
    HY_CHECK_EQ(open_it(&p, 2 * MIB, m, 0), -EFBIG);
    limit_files(0);
    p = must_open(MIB, m, 0);
    base = hy_pager_base(p);
    HY_CHECK_EQ(base[5], 8);
    for (uint64_t at = 6; at < MIB; at++)
        HY_CHECK_EQ(base[at], 7);
    hy_pager_release(p);
    unlink(path);

    limit_files(MIB);
    HY_CHECK_EQ(open_it(&p, MIB, m, HY_PAGER_CREATE), -EFBIG);
    limit_files(0);
}

HY_TEST(pager_file, a_file_size_limit_is_an_error_and_no_signal)
{
    struct sigaction before, after;
    sigset_t mask, mask_after;

    sigaction(SIGXFSZ, NULL, &before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    EACH_MECHANISM(m)
    {
        set_up();
        check_limited_files(m);
        tear_down();
    }
    sigaction(SIGXFSZ, NULL, &after);
    HY_CHECK(after.sa_handler == before.sa_handler);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    HY_CHECK_EQ(sigismember(&mask_after, SIGXFSZ), sigismember(&mask, SIGXFSZ));
    HY_CHECK(!is_xfsz_pending());
}

/* What the host has waiting is the host's. */
HY_TEST(pager_file, a_pending_signal_of_a_file_limit_stays)
{
    sigset_t xfsz, old;
    int taken = 0;

    sigemptyset(&xfsz);
    sigaddset(&xfsz, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &xfsz, &old);
    raise(SIGXFSZ);
    set_up();
    check_limited_files(first_mechanism());
    tear_down();
    HY_CHECK(is_xfsz_pending());
    HY_CHECK_EQ(sigwait(&xfsz, &taken), 0);
    HY_CHECK_EQ(taken, SIGXFSZ);
    HY_CHECK(!is_xfsz_pending());
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

HY_TEST(pager_file, decommit_is_zero_also_in_the_file)
{
    EACH_MECHANISM(m)
    {
        size_t page = hyi_os_page_bytes();
        volatile char *base;
        hy_pager *p;

        set_up();
        p = must_open(256 * MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        memset((char *)base, 5, 10 * page);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        base[20 * page] = 6; /* not in the file yet */
        HY_CHECK_EQ(hy_pager_decommit(p, page, (256 * MIB) - page), 0);
        HY_CHECK(base[0] == 5 && base[page] == 0 && base[20 * page] == 0);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(256 * MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[0] == 5 && base[page] == 0 && base[9 * page] == 0);
        hy_pager_release(p);
        tear_down();
    }
}

/* --- older systems -------------------------------------------------------- */

static void write_and_check(unsigned m)
{
    hy_pager *p;
    char *base;

    set_up();
    for (int i = 1; i <= 4; i++) {
        p = must_open(64 * MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        HY_CHECK(base[0] == i - 1 && base[40 * MIB] == i - 1);
        base[0] = base[40 * MIB] = (char)i;
        HY_CHECK_EQ(stats_of(p).mechanism, m);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        base[1] = (char)i; /* the same page again, in the same life */
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 3);
        hy_pager_release(p);
    }
    p = must_open(64 * MIB, 0, 0);
    base = hy_pager_base(p);
    HY_CHECK(base[0] == 4 && base[1] == 4 && base[40 * MIB] == 4);
    HY_CHECK_EQ(hy_pager_decommit(p, 0, 64 * MIB), 0);
    HY_CHECK(base[0] == 0 && base[40 * MIB] == 0);
    hy_pager_release(p);
    tear_down();
}

/* Before Linux 6.7: no PAGEMAP_SCAN, no asynchronous write protection. */
HY_TEST(pager_file, without_scans_the_page_map_is_read)
{
    uint8_t heat[2];
    hy_pager *p;

    atomic_store(&hyi_process.pager_caps, 0);
    hy_fail_from(HY_FAIL_IOCTL, 1, ENOTTY);
    HY_CHECK(!(hy_pager_caps() & HY_PAGER_CAP_WRITE_TRACKING));
    EACH_MECHANISM(m)
    write_and_check(m);
    HY_CHECK_EQ(hy_pager_reserve(&p, 64 * MIB, NULL), 0);
    ((volatile char *)hy_pager_base(p))[MIB] = 1;
    if (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE) {
        HY_CHECK_EQ(hy_pager_heat(p, 0, 64 * MIB, heat, 2), 0);
        HY_CHECK(heat[0] >= 1 && heat[1] == 0);
    }
    hy_pager_release(p);
    hy_fail_none();
    atomic_store(&hyi_process.pager_caps, 0);
}

/* And without even that, signals find what was written. */
HY_TEST(pager_file, without_a_page_map_signals_serve)
{
    uint8_t heat[2];
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;

    atomic_store(&hyi_process.pager_caps, 0);
    hy_fail_at(HY_FAIL_OPEN, 1, EACCES);
    HY_CHECK(!(hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE));
    hy_fail_none();
    o.path = "x";
    o.mechanism = HY_PAGER_KERNEL;
    o.flags = HY_PAGER_CREATE;
    HY_CHECK_EQ(hy_pager_reserve(&p, MIB, &o), -ENOTSUP);
    write_and_check(HY_PAGER_SIGNAL);
    HY_CHECK_EQ(hy_pager_reserve(&p, MIB, NULL), 0);
    HY_CHECK_EQ(hy_pager_heat(p, 0, MIB, heat, 2), -ENOTSUP);
    hy_pager_release(p);
    atomic_store(&hyi_process.pager_caps, 0);
}

/* Before Linux 5.14: no MADV_POPULATE. */
HY_TEST(pager_file, without_populate_pages_are_touched)
{
    EACH_MECHANISM(m)
    {
        hy_pager *p;

        set_up();
        p = must_open(MIB, m, HY_PAGER_CREATE);
        hy_fail_from(HY_FAIL_MADVISE, 1, EINVAL);
        HY_CHECK_EQ(hy_pager_commit(p, 0, MIB), 0);
        HY_CHECK_EQ(hy_pager_pin(p, 0, MIB), 0);
        hy_fail_none();
        ((volatile char *)hy_pager_base(p))[0] = 1;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 1);
        hy_pager_release(p);
        tear_down();
    }
}

/* --- opening -------------------------------------------------------------- */

HY_TEST(pager_file, create_and_its_absence)
{
    hy_pager *p;
    struct stat s;
    int fd;

    set_up();
    HY_CHECK_EQ(open_it(&p, MIB, 0, 0), -ENOENT);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_READ_ONLY), -ENOENT);
    HY_CHECK(stat(path, &s) != 0);
    fd = open(path, O_RDWR | O_CREAT, 0600); /* as mkstemp leaves one */
    close(fd);
    HY_CHECK_EQ(open_it(&p, MIB, 0, 0), -EBADMSG);
    p = must_open(MIB, 0, HY_PAGER_CREATE);
    hy_pager_release(p);
    p = must_open(MIB, 0, HY_PAGER_CREATE);
    hy_pager_release(p);
    tear_down();
}

HY_TEST(pager_file, what_is_no_pager_file_is_left_alone)
{
    static const char text[] = "a diary, not a pager file\n";
    char back[sizeof(text)] = "";
    hy_pager *p;
    struct stat s;
    int fd;

    set_up();
    fd = open(path, O_RDWR | O_CREAT, 0600);
    HY_CHECK_EQ(write(fd, text, sizeof(text)), sizeof(text));
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -EBADMSG);
    HY_CHECK(p == NULL && strstr(reported, "not a pager file") != NULL);
    HY_CHECK_EQ(fstat(fd, &s), 0);
    HY_CHECK_EQ(s.st_size, sizeof(text));
    HY_CHECK_EQ(pread(fd, back, sizeof(back), 0), sizeof(back));
    HY_CHECK(memcmp(back, text, sizeof(text)) == 0);
    /* Long enough, and still none. */
    HY_CHECK_EQ(ftruncate(fd, 4 << 20), 0);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -EBADMSG);
    close(fd);
    tear_down();
}

HY_TEST(pager_file, odd_paths_give_their_own_errors)
{
    hy_pager *p;
    char kept[sizeof(path)];

    set_up();
    snprintf(kept, sizeof(kept), "%s", path);
    HY_CHECK_EQ(mkdir(path, 0700), 0);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -EISDIR);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_READ_ONLY), -EISDIR);
    rmdir(path);
    HY_CHECK_EQ(mkfifo(path, 0600), 0);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -EBADMSG);
    unlink(path);
    HY_CHECK_EQ(symlink("nowhere", path), 0);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -ENOENT);
    unlink(path);
    snprintf(path, sizeof(path), "%s/none/store", folder);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -ENOENT);
    snprintf(path, sizeof(path), "%s", kept);
    tear_down();
}

HY_TEST(pager_file, refused_addresses_leave_no_file)
{
    hy_pager *p;

    set_up();
    HY_CHECK_EQ(open_it(&p, (uint64_t)1 << 62, 0, HY_PAGER_CREATE), -ENOMEM);
    HY_CHECK(strstr(reported, "addresses are refused") != NULL);
    HY_CHECK_EQ(access(path, F_OK), -1);
    hy_fail_at(HY_FAIL_FTRUNCATE, 1, EFBIG);
    HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE), -EFBIG);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    tear_down();
}

HY_TEST(pager_file, one_writer_or_readers)
{
    hy_pager *p, *q, *r;

    set_up();
    p = must_open(MIB, 0, HY_PAGER_CREATE);
    HY_CHECK_EQ(open_it(&q, MIB, 0, HY_PAGER_CREATE), -EBUSY);
    HY_CHECK(strstr(reported, "open elsewhere") != NULL);
    HY_CHECK_EQ(open_it(&q, MIB, 0, HY_PAGER_READ_ONLY), -EBUSY);
    hy_pager_release(p);
    p = must_open(MIB, 0, HY_PAGER_READ_ONLY);
    q = must_open(MIB, 0, HY_PAGER_READ_ONLY);
    HY_CHECK_EQ(open_it(&r, MIB, 0, 0), -EBUSY);
    HY_CHECK_EQ(open_it(&r, 2 * MIB, 0, HY_PAGER_READ_ONLY), -EINVAL);
    hy_pager_release(p);
    hy_pager_release(q);
    p = must_open(MIB, 0, 0);
    hy_pager_release(p);
    tear_down();
}

HY_TEST(pager_file, zero_bytes_are_the_files_own)
{
    hy_pager *p;

    set_up();
    HY_CHECK_EQ(open_it(&p, 0, 0, 0), -ENOENT);
    HY_CHECK_EQ(open_it(&p, 0, 0, HY_PAGER_READ_ONLY), -ENOENT);
    HY_CHECK_EQ(open_it(&p, 0, 0, HY_PAGER_CREATE), -EINVAL);
    HY_CHECK_EQ(access(path, F_OK), -1);
    close(creat(path, 0600));
    HY_CHECK_EQ(open_it(&p, 0, 0, HY_PAGER_CREATE), -EINVAL);
    HY_CHECK_EQ(reported[0], '\0');
    HY_CHECK_EQ(open_it(&p, 0, 0, 0), -EBADMSG);
    HY_CHECK(p == NULL);
    p = must_open(3 * MIB, 0, HY_PAGER_CREATE);
    ((volatile char *)hy_pager_base(p))[3 * MIB - 1] = 9;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    hy_pager_release(p);
    EACH_MECHANISM(m)
    {
        static const unsigned flags[] = {0, HY_PAGER_CREATE,
                                         HY_PAGER_READ_ONLY};

        for (size_t i = 0; i < 3; i++) {
            p = must_open(0, m, flags[i]);
            HY_CHECK_EQ(hy_pager_bytes(p), 3 * MIB);
            HY_CHECK_EQ(stats_of(p).reserved_bytes, 3 * MIB);
            HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[3 * MIB - 1], 9);
            hy_pager_release(p);
        }
        p = must_open(0, m, 0);
        ((volatile char *)hy_pager_base(p))[MIB] = (char)m;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(3 * MIB, m, 0);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[MIB], (char)m);
        hy_pager_release(p);
    }
    tear_down();
}

HY_TEST(pager_file, zero_bytes_of_a_refused_size_say_what_to_do)
{
    hy_pager *p;

    set_up();
    hy_pager_release(must_open(MIB, 0, HY_PAGER_CREATE));
    hy_fail_from(HY_FAIL_MMAP, 2, ENOMEM); /* the first is for the header */
    HY_CHECK_EQ(open_it(&p, 0, 0, 0), -ENOMEM);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
    HY_CHECK(p == NULL);
    hy_pager_release(must_open(0, 0, 0));
    tear_down();
}

static void write_read_only(void *arg)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    (void)arg;
    if (open_it((hy_pager **)arg, MIB, 0, HY_PAGER_READ_ONLY) == 0)
        ((volatile char *)hy_pager_base(*(hy_pager **)arg))[1] = 1;
}

HY_TEST(pager_file, a_read_only_file_cannot_be_changed)
{
    hy_pager *p;
    int status;

    set_up();
    p = must_open(MIB, 0, HY_PAGER_CREATE);
    ((volatile char *)hy_pager_base(p))[0] = 3;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    hy_pager_release(p);
    p = must_open(MIB, 0, HY_PAGER_READ_ONLY);
    HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 3);
    HY_CHECK_EQ(hy_pager_checkpoint(p), -EROFS);
    HY_CHECK_EQ(hy_pager_freeze(p), -EROFS);
    HY_CHECK_EQ(hy_pager_decommit(p, 0, hy_pager_page_bytes(p)), -EROFS);
    HY_CHECK_EQ(hy_pager_pin(p, 0, 10), 0);
    HY_CHECK_EQ(hy_pager_unpin(p, 0, 10), 0);
    hy_pager_release(p);
    status = hy_test_child(write_read_only, &p);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    tear_down();
}

/* --- damage --------------------------------------------------------------- */

static void flip(uint64_t at)
{
    int fd = open(path, O_RDWR);
    char byte = 0;

    HY_CHECK_EQ(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x40;
    HY_CHECK_EQ(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

HY_TEST(pager_file, damage_to_the_head_is_named)
{
    size_t page = hyi_os_page_bytes();
    hy_pager *p;
    int fd;

    set_up();
    p = must_open(MIB, 0, HY_PAGER_CREATE);
    ((volatile char *)hy_pager_base(p))[0] = 3;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    hy_pager_release(p);
    for (size_t at = 0; at < page; at += 61) {
        flip(at);
        HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_CREATE),
                    at >= 16 && at < 24 ? -ENOTSUP : -EBADMSG);
        flip(at);
    }
    /* One slot may be torn by a crash; the other one serves. */
    for (size_t at = page; at < 3 * page; at += 457) {
        flip(at);
        p = must_open(MIB, 0, 0);
        HY_CHECK(strstr(reported, "state blocks") != NULL);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 3);
        hy_pager_release(p);
    }
    flip(page);
    flip(2 * page);
    HY_CHECK_EQ(open_it(&p, MIB, 0, 0), -EBADMSG);
    flip(page);
    fd = open(path, O_RDWR);
    HY_CHECK_EQ(ftruncate(fd, MIB), 0);
    close(fd);
    HY_CHECK_EQ(open_it(&p, MIB, 0, 0), -EBADMSG);
    HY_CHECK(strstr(reported, "truncated") != NULL);
    tear_down();
}

/* Leaves a durable transaction in the log whose way home failed at the nth
 * sync: 1 commit, 2 ack, 3 home. */
static void leave_log(unsigned m, unsigned sync)
{
    volatile char *base;
    hy_pager *p;

    p = must_open(MIB, m, HY_PAGER_CREATE);
    base = hy_pager_base(p);
    base[0] = 1;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    base[0] = 2;
    base[MIB / 2] = 2;
    hy_fail_from(HY_FAIL_FDATASYNC, sync, EIO);
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    HY_CHECK(strstr(reported, "durable, but copying") != NULL);
    HY_CHECK(stats_of(p).log_bytes > 0);
    hy_pager_release(p);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
}

HY_TEST(pager_file, a_durable_log_is_completed_by_the_next_open)
{
    EACH_MECHANISM(m)
    {
        for (unsigned sync = 2; sync <= 3; sync++) {
            volatile char *base;
            hy_pager *p;

            set_up();
            leave_log(m, sync);
            p = must_open(MIB, m, HY_PAGER_READ_ONLY); /* overlaid */
            base = hy_pager_base(p);
            HY_CHECK(base[0] == 2 && base[MIB / 2] == 2);
            hy_pager_release(p);
            hy_fail_at(HY_FAIL_FDATASYNC, 3, EIO); /* completing fails */
            HY_CHECK_EQ(open_it(&p, MIB, m, 0), -EIO);
            hy_fail_none();
            p = must_open(MIB, m, 0);
            base = hy_pager_base(p);
            HY_CHECK(base[0] == 2 && base[MIB / 2] == 2);
            hy_pager_release(p);
            tear_down();
        }
    }
}

HY_TEST(pager_file, a_damaged_log_that_was_durable_is_refused_whole)
{
    uint64_t log = MIB + 16 * hyi_os_page_bytes();
    size_t page = hyi_os_page_bytes();
    hy_pager *p;
    char home[2] = {0, 0};
    int fd;

    set_up();
    leave_log(0, 3);
    /* The second transaction: ack, index, two pages, commit; behind the first:
     * ack, index, page, commit. The ack itself may go. */
    for (uint64_t at = 5 * page; at < 9 * page; at += 509) {
        flip(log + at);
        HY_CHECK_EQ(open_it(&p, MIB, 0, 0), -EBADMSG);
        HY_CHECK(strstr(reported, "damaged log") != NULL);
        HY_CHECK_EQ(open_it(&p, MIB, 0, HY_PAGER_READ_ONLY), -EBADMSG);
        flip(log + at);
    }
    flip(log + 4 * page);
    p = must_open(MIB, 0, 0);
    HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 2);
    hy_pager_release(p);
    fd = open(path, O_RDONLY);
    HY_CHECK_EQ(pread(fd, home, 1, (off_t)(16 * page)), 1);
    HY_CHECK_EQ(pread(fd, home + 1, 1, (off_t)(16 * page + MIB / 2)), 1);
    close(fd);
    HY_CHECK(home[0] == 2 && home[1] == 2);
    tear_down();
}

HY_TEST(pager_file, a_log_that_was_never_durable_is_discarded)
{
    uint64_t log = MIB + 16 * hyi_os_page_bytes();
    size_t page = hyi_os_page_bytes();

    for (uint64_t at = 5 * page; at < 9 * page; at += 1021) {
        hy_pager *p;

        set_up();
        leave_log(0, 2);
        flip(log + 4 * page + 8); /* the ack was written, its sync failed */
        flip(log + at);
        p = must_open(MIB, 0, 0);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 1);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[MIB / 2], 0);
        hy_pager_release(p);
        tear_down();
    }
}

/* --- failing calls -------------------------------------------------------- */

/* What a process that is killed now leaves behind. */
static void check_copy(unsigned m, bool second)
{
    char kept[sizeof(path)], command[2 * sizeof(path) + 64];
    volatile char *base;
    hy_pager *p;

    snprintf(kept, sizeof(kept), "%s", path);
    snprintf(path, sizeof(path), "%s/copy", folder);
    snprintf(command, sizeof(command), "cp --sparse=always %s %s", kept, path);
    HY_CHECK_EQ(system(command), 0);
    p = must_open(4 * MIB, m, 0);
    base = hy_pager_base(p);
    HY_CHECK_EQ(base[0], second ? 2 : 1);
    HY_CHECK_EQ(base[3 * MIB], second ? 2 : 1);
    HY_CHECK_EQ(base[2 * MIB], second ? 2 : 0);
    hy_pager_release(p);
    unlink(path);
    snprintf(path, sizeof(path), "%s", kept);
}

/* Every call of one kind fails in turn; whatever a checkpoint then says, the
 * memory keeps its content, a later one succeeds, and what the file holds
 * after each is one whole state. */
static void fail_each(unsigned m, enum hy_fail_call call, int error)
{
    for (unsigned n = 1; n < 40; n++) {
        volatile char *base;
        bool reached;
        hy_pager *p;
        int r;

        set_up();
        p = must_open(4 * MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        base[0] = base[3 * MIB] = 1;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        base[0] = base[3 * MIB] = 2;
        base[2 * MIB] = 2;
        hy_fail_at(call, n, error);
        r = hy_pager_checkpoint(p);
        reached = hy_fail_hits() != 0;
        hy_fail_none();
        HY_CHECK(r == 0 || r == -error);
        HY_CHECK(base[0] == 2 && base[3 * MIB] == 2 && base[2 * MIB] == 2);
        check_copy(m, r == 0); /* as if it ended here */
        hy_pager_release(p);
        p = must_open(4 * MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK_EQ(base[0], r == 0 ? 2 : 1);
        /* And once more in one life. */
        base[0] = base[3 * MIB] = 3;
        hy_fail_at(call, n, error);
        hy_pager_checkpoint(p);
        hy_fail_none();
        base[MIB] = 4;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(4 * MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[0] == 3 && base[3 * MIB] == 3 && base[MIB] == 4);
        hy_pager_release(p);
        tear_down();
        if (!reached) {
            HY_CHECK(n > 1);
            return;
        }
    }
    HY_CHECK_MSG(false, "more calls than expected");
}

HY_TEST(pager_file, each_write_and_sync_may_fail)
{
    EACH_MECHANISM(m)
    {
        fail_each(m, HY_FAIL_PWRITE, ENOSPC);
        fail_each(m, HY_FAIL_PWRITE, EIO);
        fail_each(m, HY_FAIL_FDATASYNC, EIO);
        fail_each(m, HY_FAIL_PREAD, EIO);
        fail_each(m, HY_FAIL_FALLOCATE, ENOSPC);
        fail_each(m, HY_FAIL_MPROTECT, ENOMEM);
        if (m == HY_PAGER_KERNEL)
            fail_each(m, HY_FAIL_IOCTL, EIO);
    }
}

HY_TEST(pager_file, failing_opens_leave_nothing_behind)
{
    static const struct {
        enum hy_fail_call call;
        unsigned calls;
        int error;
    } rows[] = {
        {HY_FAIL_OPEN, 2, EACCES},  {HY_FAIL_FTRUNCATE, 1, ENOSPC},
        {HY_FAIL_PWRITE, 3, EIO},   {HY_FAIL_FDATASYNC, 2, EIO},
        {HY_FAIL_FLOCK, 1, ENOLCK}, {HY_FAIL_LINK, 1, EPERM},
        {HY_FAIL_MMAP, 2, ENOMEM},
    };
    hy_pager *p;

    hy_pager_caps();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned n = 1; n <= rows[i].calls; n++) {
            set_up();
            hy_fail_at(rows[i].call, n + (rows[i].call == HY_FAIL_OPEN),
                       rows[i].error);
            HY_CHECK_MSG(open_it(&p, MIB, 0, HY_PAGER_CREATE) == -rows[i].error,
                         "row %zu, call %u", i, n);
            HY_CHECK_EQ(hy_fail_hits(), 1);
            hy_fail_none();
            tear_down();
        }
    }
}

/* --- holding writers ------------------------------------------------------ */

static struct {
    hy_pager *pager;
    _Atomic bool stop;
    _Atomic uint64_t writes;
} writer;

enum { CELLS = 600 };

/* Pages from one cell to the next: single ones, or one long run. */
static size_t stride;

static _Atomic uint64_t *cell(char *base, size_t i, size_t k)
{
    return (_Atomic uint64_t *)(base + i * stride * hyi_os_page_bytes()) + k;
}

/* ThreadSanitizer stores with release under a lock of its own, which the fault
 * handler would wait for; relaxed stores it makes without. */
#if HY_TEST_SANITIZER
#define CELL_ORDER memory_order_relaxed
#else
#define CELL_ORDER memory_order_seq_cst
#endif

/* Two words of each page, the first always written first: a page, and the row
 * of pages, is only ever seen in the order of the writes. */
static void *write_in_order(void *arg)
{
    char *base = hy_pager_base(writer.pager);
    uint64_t round = 1;

    (void)arg;
    while (!atomic_load(&writer.stop)) {
        for (size_t i = 0; i < CELLS; i++) {
            atomic_store_explicit(cell(base, i, 0), round, CELL_ORDER);
            atomic_store_explicit(cell(base, i, 300), round, CELL_ORDER);
        }
        atomic_store(&writer.writes, round++);
    }
    return NULL;
}

/* In a file that is a cut through the writes, no cell is newer than the one
 * before it, and all lie within one round. */
static void check_cut(unsigned m, uint64_t at_least)
{
    hy_pager *p = must_open((uint64_t)CELLS * 3 * hyi_os_page_bytes(), m, 0);
    char *base = hy_pager_base(p);
    uint64_t last = UINT64_MAX, first = *cell(base, 0, 0);

    HY_CHECK(first >= at_least);
    for (size_t i = 0; i < CELLS; i++) {
        for (size_t k = 0; k <= 300; k += 300) {
            HY_CHECK(*cell(base, i, k) <= last);
            last = *cell(base, i, k);
        }
    }
    HY_CHECK(first - last <= 1);
    hy_pager_release(p);
}

HY_TEST(pager_file, a_racing_writer_is_cut_at_one_instant)
{
    EACH_MECHANISM(m)
    {
        for (int round = 0; round < 6; round++) {
            pthread_t thread;
            uint64_t seen = 0;

            set_up();
            stride = round % 3 == 0 ? 3 : 1;
            writer.pager = must_open((uint64_t)CELLS * 3 * hyi_os_page_bytes(),
                                     m, HY_PAGER_CREATE);
            atomic_store(&writer.stop, false);
            atomic_store(&writer.writes, 0);
            HY_CHECK_EQ(hyi_os_thread_start(&thread, write_in_order, NULL), 0);
            for (int i = 0; i < 5; i++) {
                /* Gives way: ThreadSanitizer starves the handler otherwise. */
                while (atomic_load(&writer.writes) == seen)
                    sched_yield();
                seen = atomic_load(&writer.writes);
                HY_CHECK_EQ(hy_pager_checkpoint(writer.pager), 0);
            }
            atomic_store(&writer.stop, true);
            pthread_join(thread, NULL);
            if (round % 2 == 1) { /* what came later goes into the next */
                seen = atomic_load(&writer.writes);
                HY_CHECK_EQ(hy_pager_checkpoint(writer.pager), 0);
            }
            hy_pager_release(writer.pager);
            check_cut(m, seen);
            tear_down();
        }
    }
}

static unsigned looks;

static void look_at_hold(enum hy_fail_call call, int fd, const void *data,
                         size_t bytes, uint64_t at)
{
    hy_pager *p = writer.pager;
    uint64_t from = atomic_load(&p->hold.from);
    uint64_t copied = p->file.pages + p->file.staged;

    (void)call;
    (void)fd;
    (void)data;
    (void)bytes;
    (void)at;
    if (from == UINT64_MAX)
        return; /* all is copied */
    HY_CHECK(from <= copied * p->page_bytes);
    looks++;
}

HY_TEST(pager_file, nothing_is_released_before_it_is_copied)
{
    EACH_MECHANISM(m)
    {
        set_up();
        writer.pager = must_open(8 * MIB, m, HY_PAGER_CREATE);
        memset(hy_pager_base(writer.pager), 1, 8 * MIB);
        looks = 0;
        hy_fail_observe(look_at_hold);
        HY_CHECK_EQ(hy_pager_checkpoint(writer.pager), 0);
        hy_fail_observe(NULL);
        HY_CHECK(looks > 3);
        hy_pager_release(writer.pager);
        tear_down();
    }
}

/* Not atomic: a thread sanitizer would trap with a lock of its own held, and
 * wait for itself. */
__attribute__((no_sanitize("thread"))) static char look(const char *at)
{
    return *(const volatile char *)at;
}

__attribute__((no_sanitize("thread"))) static void *write_one(void *arg)
{
    *(volatile char *)arg = 2;
    atomic_store(&writer.stop, true);
    return NULL;
}

HY_TEST(pager_file, what_is_not_copied_yet_stays_closed)
{
    size_t unit = 64 << 10, page = hyi_os_page_bytes();
    _Atomic uint32_t never = 0;
    volatile char *base;
    pthread_t thread;
    hy_pager *p;

    set_up();
    p = must_open(64 * MIB, HY_PAGER_SIGNAL, HY_PAGER_CREATE);
    base = hy_pager_base(p);
    unit = p->unit_bytes;
    for (int i = 0; i < 64; i++)
        base[(size_t)i * unit] = 1;
    HY_CHECK_EQ(hyi_hold_begin(p), 0);
    /* A run of faults, which the mechanism takes for a stream. */
    hyi_hold_release(p, 3 * unit + page);
    atomic_store(&p->hold.holder, 0);
    for (int i = 0; i < 3; i++)
        base[(size_t)i * unit] = 2;
    HY_CHECK(!(hyi_table_get(&p->table, 3) & HYI_OPEN));
    /* The page is released, its unit is not. */
    atomic_store(&writer.stop, false);
    HY_CHECK_EQ(
        hyi_os_thread_start(&thread, write_one, (void *)(base + 3 * unit)), 0);
    hyi_os_futex_wait(&never, 0, hy_after(20000000), false);
    HY_CHECK(!atomic_load(&writer.stop));
    /* Scarce mappings make runs large, but not that large. */
    hyi_hold_release(p, 4 * unit);
    pthread_join(thread, NULL);
    hyi_hold_release(p, 20 * unit);
    p->governor.limit = 1;
    base[12 * unit] = 2;
    HY_CHECK(!(hyi_table_get(&p->table, 20) & HYI_OPEN));
    hyi_hold_end(p);
    hy_pager_release(p);
    tear_down();
}

HY_TEST(pager_file, a_frozen_pager_holds_its_writers)
{
    EACH_MECHANISM(m)
    {
        _Atomic uint32_t never = 0;
        char *base;
        pthread_t thread;
        hy_pager *p;

        set_up();
        p = must_open(MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        base[0] = 1;
        HY_CHECK_EQ(hy_pager_pin(p, 0, 1), 0);
        HY_CHECK_EQ(hy_pager_freeze(p), -EBUSY);
        HY_CHECK_EQ(hy_pager_unpin(p, 0, 1), 0);
        HY_CHECK_EQ(hy_pager_freeze(p), 0);
        HY_CHECK_EQ(hy_pager_freeze(p), -EBUSY);
        HY_CHECK_EQ(hy_pager_release(p), -EBUSY);
        atomic_store(&writer.stop, false);
        HY_CHECK_EQ(hyi_os_thread_start(&thread, write_one, base), 0);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hyi_os_futex_wait(&never, 0, hy_after(20000000), false);
        HY_CHECK(!atomic_load(&writer.stop));
        HY_CHECK_EQ(look(base), 1);
        HY_CHECK_EQ(hy_pager_thaw(p), 0);
        HY_CHECK_EQ(hy_pager_thaw(p), -EINVAL);
        pthread_join(thread, NULL);
        HY_CHECK_EQ(base[0], 2);
        hy_pager_release(p);
        p = must_open(MIB, m, 0);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 1);
        hy_pager_release(p);
        tear_down();
    }
}

static void write_while_frozen(void *arg)
{
    struct rlimit none = {0, 0};
    hy_pager *p;

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    if (open_it(&p, MIB, *(unsigned *)arg, HY_PAGER_CREATE) == 0 &&
        hy_pager_freeze(p) == 0)
        ((volatile char *)hy_pager_base(p))[0] = 1;
}

HY_TEST(pager_file, the_freezer_does_not_wait_for_itself)
{
    EACH_MECHANISM(m)
    {
        int status;

        set_up();
        status = hy_test_child(write_while_frozen, &m);
        HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        tear_down();
    }
}

HY_TEST(pager_file, system_calls_write_pinned_pages_during_a_checkpoint)
{
    EACH_MECHANISM(m)
    {
        int zero = open("/dev/zero", O_RDONLY);
        size_t page = hyi_os_page_bytes();
        hy_pager *p;
        char *base;

        set_up();
        p = must_open(MIB, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        memset(base, 1, 200 * page);
        HY_CHECK_EQ(hy_pager_pin(p, 2 * page, 4 * page), 0);
        HY_CHECK_EQ(hyi_hold_begin(p), 0);
        HY_CHECK_EQ(read(zero, base + 2 * page, 4 * page), 4 * page);
        hyi_hold_end(p);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(read(zero, base + 5 * page, page), page);
        base[3 * page] = 7; /* still pinned: no trap, not lost */
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(hy_pager_unpin(p, 2 * page, 4 * page), 0);
        base[4 * page] = 8;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(MIB, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[page] == 1 && base[2 * page] == 0);
        HY_CHECK(base[3 * page] == 7 && base[4 * page] == 8);
        hy_pager_release(p);
        close(zero);
        tear_down();
    }
}

struct inherited {
    hy_pager *pager;
    const char *other;
};

static void release_in_child(void *arg)
{
    struct inherited *i = arg;
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    volatile char *base;
    hy_pager *own;

    if (hy_pager_checkpoint(i->pager) != -ESTALE ||
        hy_pager_freeze(i->pager) != -ESTALE ||
        hy_pager_thaw(i->pager) != -ESTALE ||
        hy_pager_commit(i->pager, 0, 0) != -ESTALE)
        _exit(1);
    if (hy_pager_release(i->pager) != 0)
        _exit(2);
    o.path = i->other;
    o.flags = HY_PAGER_CREATE;
    if (hy_pager_reserve(&own, MIB, &o) != 0)
        _exit(3);
    base = hy_pager_base(own);
    base[MIB / 2] = 4;
    if (hy_pager_checkpoint(own) != 0 || hy_pager_release(own) != 0)
        _exit(4);
}

/* Also a log behind the pages, which the parent's release cuts off. */
HY_TEST(pager_file, a_child_leaves_its_parents_file_alone)
{
    char other[256];
    struct inherited i;
    struct stat before, after;

    EACH_MECHANISM(m)
    {
        set_up();
        snprintf(other, sizeof(other), "%s/other", folder);
        i = (struct inherited){must_open(MIB, m, HY_PAGER_CREATE), other};
        memset(hy_pager_base(i.pager), 3, MIB);
        HY_CHECK_EQ(hy_pager_checkpoint(i.pager), 0);
        HY_CHECK_EQ(stat(path, &before), 0);
        HY_CHECK_EQ(hy_pager_freeze(i.pager), 0);
        HY_CHECK_EQ(hy_test_child(release_in_child, &i), 0);
        HY_CHECK_EQ(hy_pager_thaw(i.pager), 0);
        HY_CHECK_EQ(stat(path, &after), 0);
        HY_CHECK_EQ(after.st_size, before.st_size);
        ((char *)hy_pager_base(i.pager))[7] = 5;
        HY_CHECK_EQ(hy_pager_checkpoint(i.pager), 0);
        hy_pager_release(i.pager);
        i.pager = must_open(MIB, m, 0);
        HY_CHECK_EQ(((char *)hy_pager_base(i.pager))[7], 5);
        HY_CHECK_EQ(((char *)hy_pager_base(i.pager))[MIB - 1], 3);
        hy_pager_release(i.pager);
        unlink(other);
        tear_down();
    }
}

static sigjmp_buf rescue;
static void *volatile lost_address;

static void on_lost(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    lost_address = info->si_addr;
    siglongjmp(rescue, 1);
}

/* An access that nobody can serve is the host's SIGBUS, never other bytes. */
HY_TEST(pager_file, a_truncated_file_is_told_to_the_hosts_handler)
{
    struct sigaction host = {.sa_sigaction = on_lost}, old;
    char *base;
    hy_pager *p;
    int fd;

    host.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &host, &old);
    EACH_MECHANISM(m)
    {
        set_up();
        p = must_open(MIB, m, HY_PAGER_CREATE);
        memset(hy_pager_base(p), 1, MIB);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(MIB, m, 0);
        base = hy_pager_base(p);
        fd = open(path, O_RDWR);
        HY_CHECK_EQ(ftruncate(fd, (off_t)(16 * hyi_os_page_bytes())), 0);
        close(fd);
        lost_address = NULL;
        if (sigsetjmp(rescue, 1) == 0)
            (void)((volatile char *)base)[MIB / 2];
        HY_CHECK(lost_address == base + MIB / 2);
        HY_CHECK(strstr(reported, "truncated") != NULL);
        hy_pager_release(p);
        tear_down();
    }
    sigaction(SIGBUS, &old, NULL);
}

HY_TEST(pager_file, a_truncated_file_is_reported)
{
    hy_pager *p;
    int fd, status = 0;
    pid_t child;

    set_up();
    p = must_open(MIB, HY_PAGER_SIGNAL, HY_PAGER_CREATE);
    ((volatile char *)hy_pager_base(p))[MIB / 2] = 1;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    hy_pager_release(p);
    child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGBUS, SIG_DFL);
        if (open_it(&p, MIB, 0, 0) != 0)
            _exit(1);
        fd = open(path, O_RDWR);
        if (ftruncate(fd, (off_t)(16 * hyi_os_page_bytes())) != 0)
            _exit(2);
        (void)((volatile char *)hy_pager_base(p))[MIB / 2];
        _exit(3);
    }
    waitpid(child, &status, 0);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    tear_down();
}
