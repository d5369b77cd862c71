/*
 * test_pager_extents.c - a store's holes are not its file's: what of the memory
 * is mapped from the file, what it costs, and what a full file system does.
 *
 * The tests of full file systems mount a small tmpfs of their own, in a child
 * with its own mounts, and pass where nobody lets them.
 */
#include <errno.h>
#include <fcntl.h>
#include <hyperion/pager.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "bits.h"
#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "pager_impl.h"

#define MIB ((uint64_t)1 << 20)

/* Emulators pay for reserved addresses. */
#ifdef HY_TEST_PLAIN
#define LARGE (64 * MIB)
#else
#define LARGE ((uint64_t)1 << 40)
#endif

/* For children: a failed check must end the process, not the test. */
#define MUST(cond)                                                             \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: failed in a child: %s\n", __FILE__,        \
                    __LINE__, #cond);                                          \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

enum { SKIPPED = 77 };

static char folder[128], path[192];

static void set_up(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/hy-extents-XXXXXX",
             tmp != NULL ? tmp : "/tmp");
    HY_CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/store", folder);
}

static void tear_down(void)
{
    unlink(path);
    HY_CHECK_EQ(rmdir(folder), 0);
}

static hy_pager *open_it(uint64_t bytes, unsigned mechanism, unsigned flags)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;
    int r;

    o.mechanism = mechanism;
    o.flags = flags;
    o.path = path;
    r = hy_pager_reserve(&p, bytes, &o);
    if (r != 0)
        fprintf(stderr, "reserve: %d\n", r);
    return p;
}

static hy_pager_stats stats_of(hy_pager *p)
{
    hy_pager_stats s = {.size = sizeof(s)};

    hy_pager_stats_get(p, &s);
    return s;
}

static uint64_t blocks(void)
{
    struct stat s = {0};

    stat(path, &s);
    return (uint64_t)s.st_blocks;
}

static unsigned first_mechanism(void)
{
    return hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE ? HY_PAGER_KERNEL
                                                      : HY_PAGER_SIGNAL;
}

#define EACH_MECHANISM(m)                                                      \
    for (unsigned m = first_mechanism(); m <= HY_PAGER_SIGNAL; m++)

/* Mappings of the pager, and pages of it that are mapped from a file. */
static uint64_t mappings_in(hy_pager *p, uint64_t *file_pages)
{
    uint64_t base = (uintptr_t)hy_pager_base(p), count = 0;
    unsigned long long start, end, inode;
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];

    *file_pages = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%llx-%llx %*s %*s %*s %llu", &start, &end, &inode) !=
                3 ||
            start < base || end > base + hy_pager_bytes(p))
            continue;
        count++;
        if (inode != 0)
            *file_pages += (end - start) / hy_pager_page_bytes(p);
    }
    if (f != NULL)
        fclose(f);
    return count;
}

/* --- a tmpfs of one's own ------------------------------------------------- */

static void put(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    (void)n; /* the mount tells whether it was enough */
    if (fd >= 0)
        close(fd);
}

/* On folder, for this process alone. */
static void mount_small(const char *size)
{
    char map[64];
    bool root = geteuid() == 0;

    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    if (unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
        _exit(SKIPPED);
    if (!root) {
        put("/proc/self/uid_map", map);
        put("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "0 %u 1", (unsigned)getegid());
        put("/proc/self/gid_map", map);
    }
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", folder, "tmpfs", 0, size) != 0)
        _exit(SKIPPED);
}

/* Nothing is left of it. */
static void fill_up(void)
{
    static const char zero[4096];
    char name[sizeof(folder) + 8];
    int fd;

    snprintf(name, sizeof(name), "%s/full", folder);
    fd = open(name, O_WRONLY | O_CREAT, 0600);
    MUST(fd >= 0);
    while (write(fd, zero, sizeof(zero)) > 0)
        continue;
    MUST(errno == ENOSPC);
    close(fd);
}

static void in_child(void (*run)(void *), unsigned m)
{
    int status;

    set_up();
    status = hy_test_child(run, &m);
    HY_CHECK_MSG(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
    HY_CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED);
    tear_down();
}

static uint64_t sum_of(volatile char *base, uint64_t bytes)
{
    uint64_t sum = 0;

    for (uint64_t at = 0; at < bytes; at += hyi_os_page_bytes())
        sum += (unsigned char)base[at];
    return sum;
}

static void set_all(volatile char *base, uint64_t bytes, char to)
{
    for (uint64_t at = 0; at < bytes; at += hyi_os_page_bytes())
        base[at] = to;
}

static void use_full(void *arg)
{
    unsigned m = *(unsigned *)arg;
    size_t page = hyi_os_page_bytes();
    volatile char *base;
    uint64_t before;
    hy_pager *p;

    mount_small("size=8m");
    p = open_it(LARGE, m, HY_PAGER_CREATE);
    MUST(p != NULL);
    base = hy_pager_base(p);
    base[0] = base[MIB] = 1;
    MUST(hy_pager_checkpoint(p) == 0);
    before = blocks();
    MUST(sum_of(base, 16 * MIB) == 2);
    MUST(blocks() == before);
    set_all(base, 16 * MIB, 2);
    MUST(blocks() == before);
    MUST(hy_pager_checkpoint(p) == -ENOSPC);
    MUST(sum_of(base, 16 * MIB) == 2 * 16 * MIB / page);
    hy_pager_release(p);

    fill_up();
    p = open_it(LARGE, m, HY_PAGER_READ_ONLY);
    MUST(p != NULL);
    MUST(sum_of(hy_pager_base(p), 16 * MIB) == 2);
    hy_pager_release(p);

    p = open_it(LARGE, m, 0);
    MUST(p != NULL);
    base = hy_pager_base(p);
    MUST(hy_pager_touch(p, 0, 16 * MIB, HY_FOREVER) == 0);
    MUST(sum_of(base, 16 * MIB) == 2);
    set_all(base, 16 * MIB, 3);
    MUST(hy_pager_decommit(p, 0, 16 * MIB) == 0);
    MUST(sum_of(base, 16 * MIB) == 0);
    hy_pager_release(p);
}

HY_TEST(pager_extents, a_full_file_system_is_an_error_and_no_death)
{
    EACH_MECHANISM(m)
    in_child(use_full, m);
}

/* More extents than may have a mapping each: the large ones have. */
static void use_fragments(void *arg)
{
    enum { SINGLES = 3000 };
    unsigned m = *(unsigned *)arg;
    size_t page = hyi_os_page_bytes();
    uint64_t large = (2 * SINGLES + 1) * page, expected, mapped;
    volatile char *base;
    hy_pager *p;

    mount_small("size=512m");
    p = open_it(LARGE, m, HY_PAGER_CREATE);
    MUST(p != NULL);
    base = hy_pager_base(p);
    for (size_t i = 0; i < SINGLES; i++)
        base[2 * i * page] = (char)(1 + i % 100);
    set_all(base + large, 100 * page, 7);
    expected = sum_of(base, large + 200 * page);
    MUST(hy_pager_checkpoint(p) == 0);
    hy_pager_release(p);

    fill_up();
    p = open_it(LARGE, m, 0);
    MUST(p != NULL);
    base = hy_pager_base(p);
    MUST(mappings_in(p, &mapped) <= stats_of(p).mappings);
    MUST(stats_of(p).mappings < 2100);
    MUST(mapped >= 100 && mapped < 1200);
    MUST(stats_of(p).dirty_bytes == 0 || !stats_of(p).write_tracking);
    MUST(sum_of(base, large + 200 * page) == expected);
    MUST(hy_pager_checkpoint(p) == 0 && stats_of(p).write_backs == 0);
    set_all(base, large, 0);
    MUST(hy_pager_decommit(p, large, 100 * page) == 0);
    MUST(sum_of(base, large + 200 * page) == 0);
    hy_pager_release(p);
}

HY_TEST(pager_extents, more_extents_than_mappings)
{
    EACH_MECHANISM(m)
    in_child(use_fragments, m);
}

/* --- any file system ------------------------------------------------------ */

static hy_pager *must_open(uint64_t bytes, unsigned mechanism, unsigned flags)
{
    hy_pager *p = open_it(bytes, mechanism, flags);

    HY_CHECK(p != NULL);
    return p;
}

HY_TEST(pager_extents, a_new_store_is_anonymous_and_reading_leaves_it_clean)
{
    EACH_MECHANISM(m)
    {
        uint64_t mapped, before;
        hy_pager *p;
        char *base;

        set_up();
        p = must_open(LARGE, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        HY_CHECK_EQ(mappings_in(p, &mapped), stats_of(p).mappings);
        HY_CHECK_EQ(mapped, 0);
        before = blocks();
        HY_CHECK_EQ(sum_of(base, 8 * MIB), 0);
        if (stats_of(p).write_tracking || m == HY_PAGER_SIGNAL)
            HY_CHECK_EQ(stats_of(p).dirty_bytes, 0);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 0);
        HY_CHECK_EQ(blocks(), before);
        /* One of those that were read, and one that was not. */
        base[MIB] = base[9 * MIB] = 1;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 2);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 2);
        base[MIB] = 2;
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(stats_of(p).write_backs, 3);
        hy_pager_release(p);
        tear_down();
    }
}

/* Pages of the file, of memory, and of memory that the file holds meanwhile. */
static void change_each_kind(hy_pager *p)
{
    size_t page = hyi_os_page_bytes();
    volatile char *base = hy_pager_base(p);
    uint64_t mapped;

    HY_CHECK_EQ(mappings_in(p, &mapped), 3);
    HY_CHECK_EQ(stats_of(p).mappings, 3);
    HY_CHECK_EQ(mapped, 8);
    HY_CHECK(base[MIB] == 1 && base[MIB + 7 * page] == 1);
    set_all(base + MIB + 8 * page, 8 * page, 2);
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    HY_CHECK_EQ(stats_of(p).write_backs, 8);
    HY_CHECK_EQ(hy_pager_decommit(p, MIB + 4 * page, 8 * page), 0);
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    HY_CHECK_EQ(stats_of(p).write_backs, 16);
    HY_CHECK_EQ(hy_pager_freeze(p), 0);
    HY_CHECK_EQ(sum_of(base + MIB, 16 * page), 4 * 1 + 4 * 2);
    HY_CHECK_EQ(hy_pager_thaw(p), 0);
    base[MIB] = base[MIB + 8 * page] = 3;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    HY_CHECK_EQ(stats_of(p).write_backs, 18);
}

HY_TEST(pager_extents, each_kind_of_page_is_saved_and_given_back)
{
    EACH_MECHANISM(m)
    {
        size_t page = hyi_os_page_bytes();
        char *base;
        hy_pager *p;

        set_up();
        p = must_open(LARGE, m, HY_PAGER_CREATE);
        base = hy_pager_base(p);
        set_all(base + MIB, 8 * page, 1);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(LARGE, m, 0);
        change_each_kind(p);
        hy_pager_release(p);
        p = must_open(LARGE, m, 0);
        base = hy_pager_base(p);
        HY_CHECK(base[MIB] == 3 && base[MIB + 8 * page] == 3);
        HY_CHECK_EQ(sum_of(base + MIB, 16 * page), 2 * 3 + 3 * 1 + 4 * 2);
        hy_pager_release(p);
        tear_down();
    }
}

/* Written apart and closed again, the parts of each kind are one mapping. */
HY_TEST(pager_extents, what_was_split_joins_again)
{
    EACH_MECHANISM(m)
    {
        uint64_t mapped;
        char *base;
        hy_pager *p;

        set_up();
        p = must_open(LARGE, m, HY_PAGER_CREATE);
        set_all((char *)hy_pager_base(p) + 2 * MIB, 4 * MIB, 1);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        hy_pager_release(p);
        p = must_open(LARGE, m, 0);
        base = hy_pager_base(p);
        for (uint64_t at = 0; at < 8 * MIB; at += MIB / 4)
            base[at] = 2;
        HY_CHECK(mappings_in(p, &mapped) <= stats_of(p).mappings);
        HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
        HY_CHECK_EQ(mappings_in(p, &mapped), 3);
        HY_CHECK_EQ(stats_of(p).mappings, 3);
        hy_pager_release(p);
        tear_down();
    }
}

HY_TEST(pager_extents, where_holes_are_free_small_gaps_are_mapped_too)
{
    enum { SINGLES = 150 };
    size_t page = hyi_os_page_bytes();
    uint64_t mapped;
    bool exact;
    char *base;
    hy_pager *p;

    set_up();
    p = must_open(LARGE, 0, HY_PAGER_CREATE);
    base = hy_pager_base(p);
    for (size_t i = 0; i < SINGLES; i++)
        base[(2 * i + i / 50 * 4096) * page] = 1;
    HY_CHECK_EQ(hy_pager_checkpoint(p), 0);
    exact = hyi_os_holes_take_space(p->file.fd, 3 * page, p->file.home + LARGE);
    hy_pager_release(p);
    p = must_open(LARGE, 0, 0);
    HY_CHECK_EQ(mappings_in(p, &mapped), stats_of(p).mappings);
    HY_CHECK(exact ? mapped == SINGLES : stats_of(p).mappings <= 64);
    HY_CHECK(mapped < 1000); /* not the large gaps */
    HY_CHECK_EQ(sum_of(hy_pager_base(p), 10000 * page), SINGLES);
    hy_pager_release(p);
    tear_down();
}

HY_TEST(pager_extents, where_nobody_tells_holes_all_is_the_file)
{
    static const int errors[] = {EINVAL, ENOTSUP, ENOTTY};
    uint64_t mapped;
    hy_pager *p;

    for (size_t i = 0; i < HYI_ARRAY_COUNT(errors); i++) {
        set_up();
        hy_fail_from(HY_FAIL_LSEEK, 1, errors[i]);
        p = must_open(MIB, 0, HY_PAGER_CREATE);
        HY_CHECK(hy_fail_hits() != 0);
        HY_CHECK_EQ(mappings_in(p, &mapped), 1);
        HY_CHECK_EQ(mapped, MIB / hyi_os_page_bytes());
        ((volatile char *)hy_pager_base(p))[0] = 1;
        HY_CHECK_EQ(hy_pager_decommit(p, 0, MIB), 0);
        HY_CHECK_EQ(((volatile char *)hy_pager_base(p))[0], 0);
        hy_fail_none();
        hy_pager_release(p);
        tear_down();
    }
}

HY_TEST(pager_extents, a_file_that_cannot_be_looked_at_is_an_error)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;

    set_up();
    o.path = path;
    o.flags = HY_PAGER_CREATE;
    hy_fail_from(HY_FAIL_LSEEK, 1, EIO);
    HY_CHECK_EQ(hy_pager_reserve(&p, MIB, &o), -EIO);
    hy_fail_none();
    tear_down();
}
