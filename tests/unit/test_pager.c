/*
 * test_pager.c - anonymous pagers: addresses, commits, faults, pins, options,
 * under each mechanism.
 */
#include <errno.h>
#include <fcntl.h>
#include <hyperion/pager.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "pager_impl.h"

/* Emulators and sanitizers pay for reserved addresses. */
#ifdef HY_TEST_PLAIN
#define LARGE   ((uint64_t)1 << 30)
#define TOUCHES 3000
#else
#define LARGE   ((uint64_t)1 << 40)
#define TOUCHES 20000
#endif

static const unsigned mechanisms[] = {HY_PAGER_KERNEL, HY_PAGER_SIGNAL};

static char reported[512];
static int reports;

static void keep_report(void *ctx, int level, const char *message)
{
    (void)ctx;
    (void)level;
    reports++;
    snprintf(reported, sizeof(reported), "%s", message);
}

static hy_pager *make(uint64_t bytes, unsigned mechanism, unsigned flags)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;

    o.mechanism = mechanism;
    o.flags = flags;
    o.report.write = keep_report;
    HY_CHECK_EQ(hy_pager_reserve(&pager, bytes, &o), 0);
    HY_CHECK(pager != NULL);
    return pager;
}

static hy_pager_stats stats_of(hy_pager *pager)
{
    hy_pager_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_pager_stats_get(pager, &s), 0);
    return s;
}

HY_TEST(pager, a_terabyte_is_there_when_touched)
{
    for (size_t m = 0; m < 2; m++) {
        hy_pager *pager = make(LARGE, mechanisms[m], 0);
        volatile char *base = hy_pager_base(pager);
        hy_pager_stats s;

        HY_CHECK_EQ(hy_pager_bytes(pager), LARGE);
        for (uint64_t at = 0; at < LARGE; at += LARGE / 64) {
            HY_CHECK_EQ(base[at], 0);
            base[at] = (char)(at >> 27 | 1);
        }
        base[LARGE - 1] = 9;
        for (uint64_t at = 0; at < LARGE; at += LARGE / 64)
            HY_CHECK_EQ(base[at], (char)(at >> 27 | 1));
        s = stats_of(pager);
        HY_CHECK_EQ(s.mechanism, mechanisms[m]);
        HY_CHECK_EQ(s.reserved_bytes, LARGE);
        if (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE)
            HY_CHECK(s.resident_bytes >= 65 * hy_pager_page_bytes(pager) &&
                     s.resident_bytes < (uint64_t)200 << 20);
        if (mechanisms[m] == HY_PAGER_SIGNAL)
            HY_CHECK(s.faults >= 65 && s.mappings >= 65);
        HY_CHECK_EQ(hy_pager_release(pager), 0);
    }
    HY_CHECK_EQ(hy_pager_release(NULL), 0);
}

HY_TEST(pager, auto_takes_the_kernel_for_plain_memory)
{
    hy_pager *pager = NULL;

    HY_CHECK_EQ(hy_pager_reserve(&pager, 1, NULL), 0);
    HY_CHECK_EQ(hy_pager_bytes(pager), hy_pager_page_bytes(pager));
    HY_CHECK_EQ(stats_of(pager).mechanism, HY_PAGER_KERNEL);
    HY_CHECK_EQ(hy_pager_checkpoint(pager), -ENOTSUP);
    HY_CHECK_EQ(hy_pager_freeze(pager), -ENOTSUP);
    HY_CHECK_EQ(hy_pager_thaw(pager), -EINVAL);
    hy_pager_release(pager);
}

HY_TEST(pager, bad_options_are_refused)
{
    static const struct {
        unsigned mechanism, flags;
        size_t cluster, budget;
        const char *path;
        int error;
    } bad[] = {
        {9, 0, 0, 0, NULL, -EINVAL},
        {0, 1u << 20, 0, 0, NULL, -EINVAL},
        {0, 0, 100, 0, NULL, -EINVAL},
        {0, 0, 8 << 20, 0, NULL, -EINVAL},
        {0, HY_PAGER_CREATE, 0, 0, NULL, -EINVAL},
        {0, HY_PAGER_READ_ONLY, 0, 0, NULL, -EINVAL},
        {0, HY_PAGER_READ_ONLY | HY_PAGER_CREATE, 0, 0, "x", -EINVAL},
        {0, HY_PAGER_CREATE, 0, 0, "", -EINVAL},
        {HY_PAGER_UFFD, 0, 0, 0, NULL, -ENOTSUP},
        {0, HY_PAGER_PARK, 0, 0, NULL, -ENOTSUP},
        {0, HY_PAGER_STRICT_COMMIT, 0, 0, NULL, -ENOTSUP},
        {0, 0, 0, 1 << 20, NULL, -ENOTSUP},
        {0, HY_PAGER_HUGE | HY_PAGER_CREATE, 0, 0, "x", -ENOTSUP},
        {HY_PAGER_SIGNAL, HY_PAGER_SYSCALL_SAFE, 0, 0, NULL, -EPERM},
        {0, HY_PAGER_SYSCALL_SAFE | HY_PAGER_CREATE, 0, 0, "x", -EPERM},
    };
    hy_pager *pager = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hy_pager_options o = HY_PAGER_OPTIONS_INIT;

        o.mechanism = bad[i].mechanism;
        o.flags = bad[i].flags;
        o.cluster_bytes = bad[i].cluster;
        o.budget_bytes = bad[i].budget;
        o.path = bad[i].path;
        HY_CHECK_MSG(hy_pager_reserve(&pager, 4096, &o) == bad[i].error,
                     "row %zu", i);
    }
    HY_CHECK(pager == NULL && access("x", F_OK) != 0);
    HY_CHECK_EQ(hy_pager_reserve(NULL, 4096, NULL), -EINVAL);
    HY_CHECK_EQ(hy_pager_reserve(&pager, 0, NULL), -EINVAL);
    HY_CHECK_EQ(hy_pager_reserve(&pager, UINT64_MAX, NULL), -ENOMEM);
    HY_CHECK_EQ(hy_pager_reserve(&pager, (uint64_t)1 << 62, NULL), -ENOMEM);
    HY_CHECK(pager == NULL);
}

HY_TEST(pager, a_store_and_an_unknown_tail_are_refused)
{
    struct {
        hy_pager_options o;
        uint64_t tail;
    } newer = {HY_PAGER_OPTIONS_INIT, 1};
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager_store store = {.size = sizeof(store)};
    hy_pager *pager = NULL;

    o.store = &store;
    HY_CHECK_EQ(hy_pager_reserve(&pager, 4096, &o), -ENOTSUP);
    o.path = "x";
    HY_CHECK_EQ(hy_pager_reserve(&pager, 4096, &o), -EINVAL);
    newer.o.size = sizeof(newer);
    HY_CHECK_EQ(hy_pager_reserve(&pager, 4096, &newer.o), -E2BIG);
    newer.o.size = 3;
    HY_CHECK_EQ(hy_pager_reserve(&pager, 4096, &newer.o), -EINVAL);
}

/* Sanitizers have more addresses than that before they begin. */
#if !HY_TEST_SANITIZER
static void reserve_without_addresses(void *arg)
{
    struct rlimit limit = {(rlim_t)2 << 30, (rlim_t)2 << 30};
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    void *there;

    (void)arg;
    o.report.write = keep_report;
    setrlimit(RLIMIT_AS, &limit);
    if (hyi_os_reserve(&there, (size_t)4 << 30, HYI_OS_NONE, NULL, false) == 0)
        return; /* an emulator: it keeps no such limit */
    if (hy_pager_reserve(&pager, (uint64_t)1 << 40, &o) != -ENOMEM)
        _exit(1);
    if (strstr(reported, "ulimit -v") == NULL || pager != NULL)
        _exit(2);
    if (hy_pager_reserve(&pager, (uint64_t)64 << 20, &o) != 0)
        _exit(3);
    ((volatile char *)hy_pager_base(pager))[0] = 1;
    hy_pager_release(pager);
}

HY_TEST(pager, a_refused_terabyte_says_what_to_do)
{
    HY_CHECK_EQ(hy_test_child(reserve_without_addresses, NULL), 0);
}
#endif

HY_TEST(pager, refused_system_calls_leave_nothing_behind)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    uint64_t before, after;

    hy_pager_caps();
    before = hyi_os_map_count();
    o.mechanism = HY_PAGER_SIGNAL;
    for (unsigned n = 1; n <= 3; n++) {
        hy_fail_at(HY_FAIL_MMAP, n, ENOMEM);
        HY_CHECK_EQ(hy_pager_reserve(&pager, 1 << 20, &o), -ENOMEM);
        HY_CHECK_EQ(hy_fail_hits(), 1);
        hy_fail_none();
    }
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_pager_reserve(&pager, 1 << 20, &o), -ENOMEM);
    hy_fail_none();
    hy_fail_at(HY_FAIL_MPROTECT, 1, EACCES);
    HY_CHECK_EQ(hy_pager_reserve(&pager, 1 << 20, &o), -EACCES);
    hy_fail_none();
    hy_fail_at(HY_FAIL_SIGACTION, 2, EINVAL);
    HY_CHECK_EQ(hy_pager_reserve(&pager, 1 << 20, &o), -EINVAL);
    hy_fail_none();
    HY_CHECK(pager == NULL);
    after = hyi_os_map_count();
    HY_CHECK(after <= before + 2); /* malloc's, not one for each refusal */
}

HY_TEST(pager, a_base_can_be_asked_for)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *first = make(4 << 20, 0, 0), *second = NULL;
    char *base = hy_pager_base(first);

    HY_CHECK_EQ((uintptr_t)base % HYI_HUGE_BYTES, 0);
    o.base = base + 1;
    HY_CHECK_EQ(hy_pager_reserve(&second, 1 << 20, &o), -EINVAL);
    o.base = base;
    HY_CHECK_EQ(hy_pager_reserve(&second, 1 << 20, &o), -EADDRNOTAVAIL);
    hy_pager_release(first);
    HY_CHECK_EQ(hy_pager_reserve(&second, 1 << 20, &o), 0);
    HY_CHECK(hy_pager_base(second) == base);
    hy_pager_release(second);
}

HY_TEST(pager, ranges_are_checked)
{
    uint8_t heat[4];

    for (size_t m = 0; m < 2; m++) {
        hy_pager *p = make(1 << 20, mechanisms[m], 0);
        size_t page = hy_pager_page_bytes(p);
        uint64_t end = hy_pager_bytes(p);

        HY_CHECK_EQ(hy_pager_commit(NULL, 0, page), -EINVAL);
        HY_CHECK_EQ(hy_pager_commit(p, 1, page), -EINVAL);
        HY_CHECK_EQ(hy_pager_commit(p, 0, page + 1), -EINVAL);
        HY_CHECK_EQ(hy_pager_commit(p, end, page), -ERANGE);
        HY_CHECK_EQ(hy_pager_commit(p, page, UINT64_MAX - page + 1), -ERANGE);
        HY_CHECK_EQ(hy_pager_commit(p, end, 0), 0);
        HY_CHECK_EQ(hy_pager_decommit(p, 7, page), -EINVAL);
        HY_CHECK_EQ(hy_pager_decommit(p, 0, end + page), -ERANGE);
        HY_CHECK_EQ(hy_pager_touch(p, end - 1, 2, HY_FOREVER), -ERANGE);
        HY_CHECK_EQ(hy_pager_touch(p, end - 1, 1, HY_FOREVER), 0);
        HY_CHECK_EQ(hy_pager_prefetch(p, 0, end + 1), -ERANGE);
        HY_CHECK_EQ(hy_pager_prefetch(p, 0, end), 0);
        HY_CHECK_EQ(hy_pager_pin(p, end, 1), -ERANGE);
        HY_CHECK_EQ(hy_pager_unpin(p, 0, 1), -EINVAL);
        HY_CHECK_EQ(hy_pager_advise(p, 0, end, 99), -EINVAL);
        HY_CHECK_EQ(hy_pager_advise(p, 0, end, -1), -EINVAL);
        for (int a = HY_PAGER_ADVICE_NORMAL; a <= HY_PAGER_ADVICE_COLD; a++)
            HY_CHECK_EQ(hy_pager_advise(p, 0, end, a), 0);
        HY_CHECK_EQ(hy_pager_heat(p, 0, end, heat, 0), -EINVAL);
        HY_CHECK_EQ(hy_pager_heat(p, 0, 2, heat, 3), -EINVAL);
        HY_CHECK_EQ(hy_pager_heat(p, 0, end, NULL, 1), -EINVAL);
        HY_CHECK_EQ(hy_pager_heat(p, 0, end + 1, heat, 1), -ERANGE);
        HY_CHECK_EQ(hy_pager_stats_get(p, NULL), -EINVAL);
        hy_pager_release(p);
    }
}

HY_TEST(pager, commit_and_decommit)
{
    for (size_t m = 0; m < 2; m++) {
        hy_pager *p = make((uint64_t)64 << 20, mechanisms[m], 0);
        volatile char *base = hy_pager_base(p);
        size_t page = hy_pager_page_bytes(p);
        uint64_t bytes = 8 << 20;
        uint8_t heat[8];

        HY_CHECK_EQ(hy_pager_commit(p, 0, bytes), 0);
        HY_CHECK_EQ(stats_of(p).faults, 0);
        for (uint64_t at = 0; at < bytes; at += page)
            base[at] = 5;
        HY_CHECK_EQ(stats_of(p).faults, 0);
        if (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE) {
            HY_CHECK_EQ(stats_of(p).resident_bytes, bytes);
            HY_CHECK_EQ(hy_pager_heat(p, 0, 2 * bytes, heat, 8), 0);
            HY_CHECK(heat[0] == 255 && heat[3] == 255 && heat[4] == 0);
        }
        HY_CHECK_EQ(hy_pager_decommit(p, page, bytes - 2 * page), 0);
        HY_CHECK(base[0] == 5 && base[page] == 0 && base[bytes / 2] == 0);
        HY_CHECK_EQ(base[bytes - page], 5);
        base[page] = 6;
        HY_CHECK_EQ(base[page], 6);
        HY_CHECK_EQ(stats_of(p).decommits, bytes / page - 2);
        hy_pager_release(p);
    }
}

HY_TEST(pager, heat_counts_single_pages)
{
    hy_pager *p = make(LARGE, 0, 0);
    uint8_t heat[5];

    if (hy_pager_caps() & HY_PAGER_CAP_KERNEL_FILE) {
        ((volatile char *)hy_pager_base(p))[LARGE / 2] = 1;
        HY_CHECK_EQ(hy_pager_heat(p, 0, LARGE, heat, 5), 0);
        HY_CHECK(heat[0] == 0 && heat[1] == 0 && heat[2] == 1 && heat[4] == 0);
    }
    hy_pager_release(p);
}

HY_TEST(pager, pins_count_and_keep_system_calls_working)
{
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    for (size_t m = 0; m < 2; m++) {
        hy_pager *p = make(1 << 20, mechanisms[m], 0);
        char *base = hy_pager_base(p);
        size_t page = hy_pager_page_bytes(p);

        HY_CHECK_EQ(hy_pager_pin(p, page + 10, page), 0);
        HY_CHECK_EQ(hy_pager_pin(p, page, page), 0);
        HY_CHECK_EQ(stats_of(p).pinned_bytes, 2 * page);
        HY_CHECK_EQ(read(zero, base + page, 2 * page), 2 * page);
        HY_CHECK_EQ(hy_pager_decommit(p, 0, 4 * page), -EBUSY);
        HY_CHECK_EQ(hy_pager_unpin(p, page, 2 * page), 0);
        HY_CHECK_EQ(hy_pager_unpin(p, page, 2 * page), -EINVAL);
        HY_CHECK_EQ(hy_pager_decommit(p, 0, 4 * page), -EBUSY);
        HY_CHECK_EQ(hy_pager_unpin(p, page, page), 0);
        HY_CHECK_EQ(hy_pager_decommit(p, 0, 4 * page), 0);
        HY_CHECK_EQ(stats_of(p).pinned_bytes, 0);
        hy_pager_release(p);
    }
    close(zero);
}

HY_TEST(pager, huge_pages_are_had_or_refused)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;
    int r;

    o.flags = HY_PAGER_HUGE;
    r = hy_pager_reserve(&p, (uint64_t)16 << 20, &o);
    if (!(hy_pager_caps() & HY_PAGER_CAP_HUGE)) {
        HY_CHECK_EQ(r, -ENOTSUP);
        return;
    }
    HY_CHECK_EQ(r, 0);
    HY_CHECK_EQ((uintptr_t)hy_pager_base(p) % HYI_HUGE_BYTES, 0);
    HY_CHECK_EQ(hy_pager_commit(p, 0, HYI_HUGE_BYTES), 0);
    hy_pager_release(p);
}

/* --- signal mechanism ----------------------------------------------------- */

HY_TEST(pager, clusters_are_as_large_as_asked_and_streams_grow)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;
    volatile char *base;
    size_t page = hyi_os_page_bytes();

    o.mechanism = HY_PAGER_SIGNAL;
    o.cluster_bytes = page;
    HY_CHECK_EQ(hy_pager_reserve(&p, 64 * page, &o), 0);
    base = hy_pager_base(p);
    for (int i = 0; i < 64; i++)
        base[(size_t)i * page] = 1;
    HY_CHECK_EQ(stats_of(p).faults, 64);
    HY_CHECK_EQ(stats_of(p).mappings, 1);
    HY_CHECK_EQ(stats_of(p).cluster_bytes, page);
    hy_pager_release(p);
    p = make((uint64_t)64 << 20, HY_PAGER_SIGNAL, 0);
    base = hy_pager_base(p);
    for (size_t i = 0; i < ((size_t)64 << 20) / page; i++)
        base[i * page] = 1;
    HY_CHECK(stats_of(p).faults < 64);
    HY_CHECK_EQ(stats_of(p).mappings, 1);
    hy_pager_release(p);
}

static uint64_t mappings_in(hy_pager *p)
{
    uintptr_t base = (uintptr_t)hy_pager_base(p), start, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    uint64_t count = 0;
    char line[512];

    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long a, b;

        if (sscanf(line, "%lx-%lx", &a, &b) != 2)
            continue;
        start = a;
        end = b;
        count += start < base + hy_pager_bytes(p) && end > base;
    }
    fclose(maps);
    return count;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void touch_at_random(hy_pager *p, unsigned touches, uint64_t limit)
{
    uint64_t state = 88172645463325252u, own, most = 0;
    volatile char *base = hy_pager_base(p);

    for (unsigned i = 0; i < touches; i++) {
        base[next_random(&state) % hy_pager_bytes(p)] = 1;
        own = p->governor.own;
        most = own > most ? own : most;
    }
    HY_CHECK_MSG(most <= limit, "%llu mappings", (unsigned long long)most);
}

HY_TEST(pager, isolated_touches_never_run_out_of_mappings)
{
    hy_pager *p = make(LARGE, HY_PAGER_SIGNAL, 0);

    hyi_governor_count(&p->governor);
    p->governor.limit = p->governor.others + TOUCHES / 20;
    touch_at_random(p, TOUCHES, TOUCHES / 20);
    /* What the governor believes is what the kernel has. */
    HY_CHECK_EQ(mappings_in(p), p->governor.own);
    hy_pager_release(p);
}

HY_TEST(pager, a_commit_without_mappings_is_enospc)
{
    hy_pager *p = make((uint64_t)64 << 20, HY_PAGER_SIGNAL, 0);
    volatile char *base = hy_pager_base(p);
    size_t page = hy_pager_page_bytes(p);

    base[0] = 1;
    p->governor.limit = p->governor.others + p->governor.own + 1;
    HY_CHECK_EQ(hy_pager_commit(p, 8 << 20, page), -ENOSPC);
    HY_CHECK_EQ(hy_pager_pin(p, 8 << 20, page), -ENOSPC);
    HY_CHECK_EQ(stats_of(p).pinned_bytes, 0);
    base[8 << 20] = 1; /* a fault is served all the same */
    HY_CHECK_EQ(base[8 << 20], 1);
    HY_CHECK(p->governor.own <= 2);
    hy_pager_release(p);
}

HY_TEST(pager, a_fault_survives_a_host_that_took_the_mappings)
{
    hy_pager *p = make((uint64_t)64 << 20, HY_PAGER_SIGNAL, 0);
    volatile char *base = hy_pager_base(p);

    base[0] = 1;
    hy_fail_at(HY_FAIL_MPROTECT, 1, ENOMEM);
    base[8 << 20] = 1;
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(base[8 << 20], 1);
    hy_pager_release(p);
}

static void touch_without_any_mapping(void *arg)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    hy_fail_from(HY_FAIL_MPROTECT, 1, ENOMEM);
    ((volatile char *)arg)[8 << 20] = 1;
}

static void write_to_stderr(void *ctx, int level, const char *message)
{
    (void)ctx;
    if (level == HY_REPORT_FATAL && strstr(message, "offset 8388608") != NULL)
        _exit(42);
}

static void report_and_die(void *arg)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *p = NULL;

    (void)arg;
    o.mechanism = HY_PAGER_SIGNAL;
    o.report.write = write_to_stderr;
    if (hy_pager_reserve(&p, (uint64_t)64 << 20, &o) == 0)
        touch_without_any_mapping(hy_pager_base(p));
}

HY_TEST(pager, a_fault_that_cannot_be_served_is_reported)
{
    int status = hy_test_child(report_and_die, NULL);

    HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

enum { THREADS = 4, PAGES = 512 };

static struct {
    volatile char *base;
    _Atomic int ready;
    _Atomic uint64_t sum;
} race;

static void *touch_together(void *arg)
{
    size_t page = hyi_os_page_bytes();
    uint64_t wrong = 0;

    (void)arg;
    atomic_fetch_add(&race.ready, 1);
    while (atomic_load(&race.ready) < THREADS)
        ;
    for (size_t i = 0; i < PAGES; i++) {
        _Atomic char *cell = (_Atomic char *)&race.base[i * page * 3];

        wrong += atomic_load(cell) > THREADS;
        atomic_fetch_add(cell, 1);
    }
    atomic_fetch_add(&race.sum, wrong);
    return NULL;
}

HY_TEST(pager, threads_that_fault_together_lose_nothing)
{
    size_t page = hyi_os_page_bytes();

    for (int round = 0; round < 10; round++) {
        hy_pager *p = make((uint64_t)PAGES * 3 * page, HY_PAGER_SIGNAL, 0);
        pthread_t threads[THREADS];

        race.base = hy_pager_base(p);
        atomic_store(&race.ready, 0);
        atomic_store(&race.sum, 0);
        for (int i = 0; i < THREADS; i++)
            HY_CHECK_EQ(hyi_os_thread_start(&threads[i], touch_together, NULL),
                        0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        HY_CHECK_EQ(atomic_load(&race.sum), 0);
        for (size_t i = 0; i < PAGES; i++)
            HY_CHECK_EQ(race.base[i * page * 3], THREADS);
        hy_pager_release(p);
    }
}

static void touch_in_child(void *arg)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    ((volatile char *)arg)[0] = 1;
}

/* Some emulators let a child have what it should not. */
static bool fork_can_exclude(void)
{
    const size_t bytes = (size_t)256 << 20;
    void *memory;
    int status;

    HY_CHECK_EQ(
        hyi_os_reserve(&memory, bytes, HYI_OS_READ | HYI_OS_WRITE, NULL, false),
        0);
    madvise(memory, bytes, MADV_DONTFORK);
    status = hy_test_child(touch_in_child, (char *)memory + bytes / 2);
    hyi_os_release(memory, bytes);
    return WIFSIGNALED(status);
}

HY_TEST(pager, a_forked_child_has_none_of_it)
{
    if (!fork_can_exclude())
        return;
    for (size_t m = 0; m < 2; m++) {
        hy_pager *p = make(LARGE, mechanisms[m], 0);
        /* In the middle: the child's own mappings may go into the gap. */
        volatile char *there = (char *)hy_pager_base(p) + LARGE / 2;
        int status;

        *there = 1;
        status = hy_test_child(touch_in_child, (void *)there);
        HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        HY_CHECK_EQ(*there, 1);
        hy_pager_release(p);
    }
}

static void reserve_there(void *arg)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    volatile char *base = hy_pager_base(arg);
    hy_pager *own;
    int r;

    o.mechanism = HY_PAGER_SIGNAL;
    o.base = (void *)(uintptr_t)base;
    r = hy_pager_reserve(&own, 1 << 20, &o);
    if (r == -EADDRNOTAVAIL) /* valgrind thinks that it is still taken */
        _exit(0);
    if (r != 0)
        _exit(1);
    base[5] = 6;
    if (base[5] != 6 || hy_pager_release(arg) != 0 || base[5] != 6 ||
        hy_pager_release(own) != 0)
        _exit(2);
}

/* The gap is the child's to use, by a pager too. */
HY_TEST(pager, a_forked_child_may_reserve_the_same_addresses)
{
    hy_pager *p;

    if (!fork_can_exclude())
        return;
    p = make(LARGE, HY_PAGER_SIGNAL, 0);
    *(volatile char *)hy_pager_base(p) = 1;
    HY_CHECK_EQ(hy_test_child(reserve_there, p), 0);
    HY_CHECK_EQ(*(volatile char *)hy_pager_base(p), 1);
    hy_pager_release(p);
}

HY_TEST(pager, stats_of_an_older_header_are_not_overrun)
{
    hy_pager *p = make(1 << 20, 0, 0);
    struct {
        size_t size;
        unsigned mechanism, write_tracking;
        uint64_t reserved_bytes, sentinel;
    } old = {offsetof(hy_pager_stats, resident_bytes), 0, 0, 0, 77};

    HY_CHECK_EQ(hy_pager_stats_get(p, (hy_pager_stats *)&old), 0);
    HY_CHECK_EQ(old.reserved_bytes, 1 << 20);
    HY_CHECK_EQ(old.sentinel, 77);
    HY_CHECK_EQ(hy_pager_stats_get(NULL, (hy_pager_stats *)&old), -EINVAL);
    hy_pager_release(p);
}
