/*
 * test_pager_crash.c - a checkpoint is all or nothing: under kill -9 at random
 * moments, and on a disk that loses or reorders what was not synced.
 *
 * Step k writes page 0 and about a quarter of the others, each with a pattern
 * of its page and step, and then checkpoints. So page 0 names the step that a
 * file holds, and every other page must be as that step left it.
 */
#include <errno.h>
#include <fcntl.h>
#include <hyperion/pager.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "pager_impl.h"

enum { PAGES = 48, SECTOR = 512 };

#ifdef HY_TEST_PLAIN
enum { KILLS = 40, LOSSES = 60 };
#else
enum { KILLS = 200, LOSSES = 400 };
#endif

static char folder[128], path[192];
static uint64_t seed;

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a * 0x9E3779B97F4A7C15u) ^ (b + 0x632BE59BD9B4E019u);

    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93u;
    return x ^ x >> 29;
}

static uint64_t next_random(uint64_t below)
{
    seed = mix(seed, 1);
    return seed % below;
}

static bool writes(uint64_t step, size_t page)
{
    return page == 0 || mix(step, page) % 4 == 0;
}

/* The last step up to this one that wrote the page; 0 for none. */
static uint64_t step_of(uint64_t step, size_t page)
{
    while (step != 0 && !writes(step, page))
        step--;
    return step;
}

static void fill(uint64_t *words, uint64_t step, size_t page, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(*words); i++)
        words[i] = i == 0 ? step : mix(step * PAGES + page, i);
}

static bool is_filled(const uint64_t *words, uint64_t step, size_t page,
                      size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(*words); i++) {
        uint64_t wanted = i == 0 ? step : mix(step * PAGES + page, i);

        if (words[i] != (step == 0 ? 0 : wanted))
            return false;
    }
    return true;
}

static void take_step(hy_pager *p, uint64_t step)
{
    size_t bytes = hy_pager_page_bytes(p);
    char *base = hy_pager_base(p);

    for (size_t i = 0; i < PAGES; i++)
        if (writes(step, i))
            fill((uint64_t *)(base + i * bytes), step, i, bytes);
}

/* The step that the pager holds, whole; UINT64_MAX when it is torn. */
static uint64_t step_held(hy_pager *p)
{
    size_t bytes = hy_pager_page_bytes(p);
    char *base = hy_pager_base(p);
    uint64_t step = *(uint64_t *)base;

    for (size_t i = 0; i < PAGES; i++)
        if (!is_filled((uint64_t *)(base + i * bytes), step_of(step, i), i,
                       bytes))
            return UINT64_MAX;
    return step;
}

static char reported[768];

static void keep_report(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    snprintf(reported, sizeof(reported), "%s", message);
}

static int open_path(hy_pager **p, const char *name, unsigned mechanism,
                     unsigned flags)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;

    o.path = name;
    o.flags = flags;
    o.mechanism = mechanism;
    o.report.write = keep_report;
    return hy_pager_reserve(p, PAGES * hyi_os_page_bytes(), &o);
}

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");

    seed = mix((uint64_t)getpid(), hyi_os_now());
    printf("seed %llu\n", (unsigned long long)seed);
    snprintf(folder, sizeof(folder), "%s/hy-crash-XXXXXX",
             tmp != NULL ? tmp : "/tmp");
    HY_CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/store", folder);
}

static unsigned mechanism_of(unsigned round)
{
    if (round % 2 == 1 || !(hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE))
        return HY_PAGER_SIGNAL;
    return HY_PAGER_KERNEL;
}

/* --- kill -9 -------------------------------------------------------------- */

struct progress {
    _Atomic uint64_t started, finished;
    _Atomic int error;
};

static void run_until_killed(unsigned mechanism, struct progress *progress)
{
    hy_pager *p;
    uint64_t step;
    int r = open_path(&p, path, mechanism, HY_PAGER_CREATE);

    if (r != 0) {
        atomic_store(&progress->error, r);
        _exit(1);
    }
    for (step = step_held(p) + 1;; step++) {
        take_step(p, step);
        atomic_store(&progress->started, step);
        r = hy_pager_checkpoint(p);
        if (r != 0) {
            atomic_store(&progress->error, r);
            _exit(1);
        }
        atomic_store(&progress->finished, step);
    }
}

static void kill_soon(pid_t child)
{
    struct timespec pause = {0, (long)(1000 + next_random(25000000))};
    int status;

    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    HY_CHECK(WIFSIGNALED(status));
}

HY_TEST(pager_crash, kill_at_any_moment)
{
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t held = 0, last = 0;

    set_up();
    hy_pager_caps();
    for (unsigned round = 0; round < KILLS; round++) {
        pid_t child = fork();
        hy_pager *p;

        if (child == 0)
            run_until_killed(mechanism_of(round), progress);
        kill_soon(child);
        HY_CHECK_EQ(atomic_load(&progress->error), 0);
        if (access(path, F_OK) != 0)
            continue;         /* killed before it was created */
        if (round % 8 == 0) { /* an overlay shows the same as the repair */
            HY_CHECK_EQ(open_path(&p, path, 0, HY_PAGER_READ_ONLY), 0);
            held = step_held(p);
            HY_CHECK_EQ(hy_pager_release(p), 0);
            HY_CHECK_EQ(open_path(&p, path, mechanism_of(round / 2), 0), 0);
            HY_CHECK(step_held(p) == held);
        } else {
            HY_CHECK_EQ(open_path(&p, path, mechanism_of(round / 2), 0), 0);
        }
        held = step_held(p);
        HY_CHECK_MSG(held >= atomic_load(&progress->finished) &&
                         held <= atomic_load(&progress->started),
                     "step %lld after %lld to %lld", (long long)held,
                     (long long)atomic_load(&progress->finished),
                     (long long)atomic_load(&progress->started));
        HY_CHECK(held >= last);
        last = held;
        HY_CHECK_EQ(hy_pager_release(p), 0);
    }
    HY_CHECK(last > KILLS / 10);
    munmap(progress, sizeof(*progress));
    unlink(path);
    /* Killed while it created, it may have left a file of another name. */
    snprintf(path, sizeof(path), "rm -rf %s", folder);
    HY_CHECK_EQ(system(path), 0);
}

/* --- a disk that forgets -------------------------------------------------- */

struct operation {
    uint64_t at;
    size_t bytes; /* 0: the file is cut, or made longer, to at */
    char *data;
};

static struct {
    int store;   /* whose writes are watched */
    int platter; /* a file with what was synced */
    struct operation pending[4096];
    size_t count;
    uint64_t low, high; /* steps that a crash may leave behind */
    unsigned crashes, torn_back, forward;
    bool quiet; /* calls are armed to fail: not those of a check */
} disk;

/* Past the calls that are armed to fail (fail.h). */
int __real_ftruncate(int fd, off_t bytes);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t at);

static void put(int fd, const struct operation *op)
{
    if (op->bytes == 0)
        HY_CHECK_EQ(__real_ftruncate(fd, (off_t)op->at), 0);
    else
        HY_CHECK(__real_pwrite(fd, op->data, op->bytes, (off_t)op->at) > 0);
}

/* Any part of what is not synced, by sectors or less, in any order. */
static void put_some(int fd, const struct operation *op, uint64_t odds,
                     size_t sector)
{
    struct operation part = *op;

    if (op->bytes == 0) {
        if (next_random(100) < odds)
            put(fd, op);
        return;
    }
    for (size_t at = 0; at < op->bytes; at += sector) {
        part.at = op->at + at;
        part.data = op->data + at;
        part.bytes = op->bytes - at < sector ? op->bytes - at : sector;
        if (next_random(100) < odds)
            put(fd, &part);
    }
}

static void copy_file(int from, int to)
{
    static char buffer[1 << 16];
    off_t at = 0;
    ssize_t n;

    HY_CHECK_EQ(__real_ftruncate(to, 0), 0);
    while ((n = pread(from, buffer, sizeof(buffer), at)) > 0) {
        HY_CHECK_EQ(__real_pwrite(to, buffer, (size_t)n, at), n);
        at += n;
    }
}

/* What an open finds after a loss of power at this moment. */
static void crash(void)
{
    /* All, none, or a part: a whole commit without its pages is what a single
     * sync must survive. */
    static const uint64_t odds[] = {0, 10, 50, 90, 99, 100};
    uint64_t chance = odds[next_random(6)], held;
    size_t sector = next_random(4) == 0 ? SECTOR / 16 : SECTOR;
    char name[256];
    hy_pager *p = NULL;
    int fd, r;

    hy_fail_observe(NULL);
    snprintf(name, sizeof(name), "%s/crashed", folder);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    copy_file(disk.platter, fd);
    for (size_t i = 0; i < disk.count; i++)
        put_some(fd, &disk.pending[i], chance, sector);
    close(fd);
    r = open_path(&p, name, mechanism_of(disk.crashes), 0);
    HY_CHECK_MSG(r == 0, "open gives %d with odds %d: %s", r, (int)chance,
                 reported);
    held = step_held(p);
    HY_CHECK_MSG(held == disk.low || held == disk.high,
                 "step %lld, not %lld or %lld, with odds %d", (long long)held,
                 (long long)disk.low, (long long)disk.high, (int)chance);
    disk.torn_back += held != disk.high;
    disk.forward += held == disk.high && disk.high != disk.low;
    disk.crashes++;
    hy_pager_release(p);
    unlink(name);
}

static void forget(void)
{
    for (size_t i = 0; i < disk.count; i++)
        free(disk.pending[i].data);
    disk.count = 0;
}

static void watch(enum hy_fail_call call, int fd, const void *data,
                  size_t bytes, uint64_t at)
{
    struct stat a, b;

    if (fstat(fd, &a) != 0 || fstat(disk.store, &b) != 0 ||
        a.st_ino != b.st_ino)
        return;
    if (!disk.quiet && next_random(4) == 0)
        crash();
    hy_fail_observe(NULL);
    if (call == HY_FAIL_FDATASYNC) {
        for (size_t i = 0; i < disk.count; i++)
            put(disk.platter, &disk.pending[i]);
        forget();
    } else {
        struct operation *op = &disk.pending[disk.count++];

        HY_CHECK(disk.count < sizeof(disk.pending) / sizeof(disk.pending[0]));
        *op = (struct operation){at, bytes, bytes == 0 ? NULL : malloc(bytes)};
        if (bytes != 0)
            memcpy(op->data, data, bytes);
    }
    if (!disk.quiet && next_random(4) == 0)
        crash();
    hy_fail_observe(watch);
}

static hy_pager *open_watched(unsigned mechanism)
{
    hy_pager *p = NULL;

    hy_fail_observe(watch);
    HY_CHECK_EQ(open_path(&p, path, mechanism, 0), 0);
    return p;
}

HY_TEST(pager_crash, a_disk_that_loses_what_was_not_synced)
{
    hy_pager *p = NULL;
    char name[256];
    uint64_t step = 0;

    set_up();
    memset(&disk, 0, sizeof(disk));
    HY_CHECK_EQ(open_path(&p, path, 0, HY_PAGER_CREATE), 0);
    hy_pager_release(p);
    snprintf(name, sizeof(name), "%s/platter", folder);
    disk.platter = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    disk.store = open(path, O_RDONLY | O_CLOEXEC);
    copy_file(disk.store, disk.platter);
    p = open_watched(HY_PAGER_SIGNAL);
    p->file.wrap_bytes = 100000; /* so that it happens here */
    for (unsigned round = 0; disk.crashes < LOSSES; round++) {
        disk.high = ++step;
        take_step(p, step);
        disk.quiet = next_random(5) == 0;
        if (disk.quiet) { /* one that fails half way */
            hy_fail_at(next_random(2) ? HY_FAIL_FDATASYNC : HY_FAIL_PWRITE,
                       1 + (unsigned)next_random(4), EIO);
        }
        if (hy_pager_checkpoint(p) == 0)
            disk.low = step;
        else
            disk.high = disk.low;
        hy_fail_none();
        disk.quiet = false;
        if (disk.low != step)
            step--;
        if (next_random(4) == 0) { /* a clean end, and a new life */
            uint64_t held;

            hy_pager_release(p);
            disk.high = disk.low;
            p = open_watched(mechanism_of(round));
            p->file.wrap_bytes = 100000;
            held = step_held(p);
            HY_CHECK(held == disk.low);
            step = held;
        }
    }
    hy_fail_observe(NULL);
    hy_pager_release(p);
    printf("%u crashes: %u stayed at the checkpoint before, %u went on to one "
           "that had not returned\n",
           disk.crashes, disk.torn_back, disk.forward);
    HY_CHECK(disk.torn_back > 0 && disk.forward > 0);
    forget();
    close(disk.store);
    close(disk.platter);
    unlink(name);
    unlink(path);
    HY_CHECK_EQ(rmdir(folder), 0);
}

/* --- killed, and then the power fails ------------------------------------- */

static unsigned events_left;

/* In the child: what it syncs is on the platter, which both have open. */
static void die_soon(enum hy_fail_call call, int fd, const void *data,
                     size_t bytes, uint64_t at)
{
    (void)fd;
    (void)data;
    (void)bytes;
    (void)at;
    hy_fail_observe(NULL);
    if (call == HY_FAIL_FDATASYNC)
        copy_file(disk.store, disk.platter);
    if (events_left-- == 1)
        _exit(9);
    hy_fail_observe(die_soon);
}

/* A second checkpoint that ends after some of its calls; status 0: it did not.
 */
static void die_in_checkpoint(void *arg)
{
    hy_pager *p;

    if (open_path(&p, path, HY_PAGER_SIGNAL, 0) != 0)
        _exit(1);
    take_step(p, 2);
    events_left = *(unsigned *)arg;
    hy_fail_observe(die_soon);
    if (hy_pager_checkpoint(p) != 0)
        _exit(2);
}

/* What the page cache holds and the disk does not. */
static void pend_difference(void)
{
    char cached[SECTOR], synced[SECTOR];
    struct stat s;

    HY_CHECK_EQ(fstat(disk.store, &s), 0);
    for (off_t at = 0; at < s.st_size; at += SECTOR) {
        memset(cached, 0, SECTOR);
        memset(synced, 0, SECTOR);
        HY_CHECK(pread(disk.store, cached, SECTOR, at) >= 0);
        HY_CHECK(pread(disk.platter, synced, SECTOR, at) >= 0);
        if (memcmp(cached, synced, SECTOR) == 0)
            continue;
        watch(HY_FAIL_PWRITE, disk.store, cached, SECTOR, (uint64_t)at);
    }
    watch(HY_FAIL_FTRUNCATE, disk.store, NULL, 0, (uint64_t)s.st_size);
}

static void prepare_first_step(void)
{
    char name[256];
    hy_pager *p;

    unlink(path);
    HY_CHECK_EQ(open_path(&p, path, 0, HY_PAGER_CREATE), 0);
    take_step(p, 1);
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    hy_pager_release(p);
    memset(&disk, 0, sizeof(disk));
    disk.low = 1;
    disk.high = 2;
    disk.quiet = true;
    snprintf(name, sizeof(name), "%s/platter", folder);
    disk.platter = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    disk.store = open(path, O_RDONLY | O_CLOEXEC);
    copy_file(disk.store, disk.platter);
}

HY_TEST(pager_crash, the_power_fails_while_a_killed_one_is_repaired)
{
    unsigned crashes = 0, last = 0;
    char name[256];

    set_up();
    for (unsigned i = 4; last == 0 && i < 160; i++) {
        unsigned n = i / 4; /* each moment a few times */
        uint64_t held;
        hy_pager *p;
        int status;

        prepare_first_step();
        status = hy_test_child(die_in_checkpoint, &n);
        HY_CHECK(WIFEXITED(status));
        if (WEXITSTATUS(status) == 0)
            last = n;
        else
            HY_CHECK_EQ(WEXITSTATUS(status), 9);
        pend_difference();
        disk.quiet = false;
        for (int k = 0; k < 3; k++)
            crash();
        p = open_watched(mechanism_of(i));
        hy_fail_observe(NULL);
        held = step_held(p);
        HY_CHECK(held == 1 || held == 2);
        hy_pager_release(p);
        crashes += disk.crashes;
        forget();
        close(disk.store);
        close(disk.platter);
    }
    printf("%u crashes while checkpoints killed at %u moments were repaired\n",
           crashes, last);
    HY_CHECK(last > 8);
    snprintf(name, sizeof(name), "%s/platter", folder);
    unlink(name);
    unlink(path);
    HY_CHECK_EQ(rmdir(folder), 0);
}
