/*
 * test_jit_patch.c - keys, sites and batches; system calls that are refused;
 * sites in plug-ins; threads that run through sites while they are switched.
 * Run three times: as the machine allows, with HY_PATCH=remap, and with off.
 * HY_STRESS_SECONDS lengthens the last two tests.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

#include <hyperion/patch.h>

#include "fail.h"
#include "hy_test.h"
#include "os.h"
#include "patch_write.h"

#define NOINLINE __attribute__((noinline))

HY_PATCH_DEFINE(test_off, 0);
HY_PATCH_DEFINE(test_on, 1);
HY_PATCH_DECLARE(test_on); /* a header may say so too */
HY_PATCH_DEFINE(test_many, 0);
HY_PATCH_DEFINE(test_lonely, 0); /* has no site */
/* Seen by plug-ins whatever the build's visibility is. */
extern HY_API hy_patch test_shared;
HY_PATCH_DEFINE(test_shared, 0);

NOINLINE static int sees_off(void)
{
    if (HY_PATCH_IF(test_off))
        return 1;
    return 0;
}

NOINLINE static int sees_off_too(void)
{
    return HY_PATCH_IF_LIKELY(test_off) ? 1 : 0;
}

NOINLINE static int sees_on(void)
{
    if (HY_PATCH_IF_LIKELY(test_on))
        return 1;
    return 0;
}

NOINLINE static int sees_shared(void)
{
    if (HY_PATCH_IF(test_shared))
        return 1;
    return 0;
}

/* 256 sites; the number of those that are on. */
#define SITE    +(HY_PATCH_IF(test_many) ? 1 : 0)
#define FOUR(x) x x x x
NOINLINE static int sees_many(void)
{
    return 0 FOUR(FOUR(FOUR(FOUR(SITE))));
}

static hy_patch_stats stats(void)
{
    hy_patch_stats s = {.size = sizeof(s)};

    HY_CHECK_EQ(hy_patch_stats_get(&s), 0);
    return s;
}

/* The compiler may have made several of one. */
static int sites(const hy_patch *key)
{
    int n = 0;

    for (const struct hyi_patch_site *s = key->sites; s != NULL; s = s->next)
        n++;
    return n;
}

/* The sites of one key that code alone decides. */
static int decided(const hy_patch *key)
{
    int n = 0;

    for (const struct hyi_patch_site *s = key->sites; s != NULL; s = s->next)
        n += hyi_patch_form_of(s) != HYI_PATCH_UNDECIDED;
    return n;
}

HY_TEST(patch, a_site_starts_as_its_key_was_defined)
{
    HY_CHECK_EQ(sees_off(), 0);
    HY_CHECK_EQ(sees_off_too(), 0);
    HY_CHECK_EQ(sees_on(), 1);
    HY_CHECK_EQ(hy_patch_is_on(&test_off), 0);
    HY_CHECK_EQ(hy_patch_is_on(&test_on), 1);
    HY_CHECK_EQ(hy_patch_is_on(NULL), -EINVAL);
}

HY_TEST(patch, every_site_of_a_key_is_switched)
{
    for (int i = 1; i <= 5; i++) {
        errno = 77;
        HY_CHECK_EQ(hy_patch_switch(&test_off, i & 1), 0);
        HY_CHECK_EQ(errno, 77);
        HY_CHECK_EQ(hy_patch_switch(&test_on, i & 1 ? 0 : 7), 0);
        HY_CHECK_EQ(sees_off(), i & 1);
        HY_CHECK_EQ(sees_off_too(), i & 1);
        HY_CHECK_EQ(sees_on(), !(i & 1));
        HY_CHECK_EQ(hy_patch_is_on(&test_off), i & 1);
    }
    HY_CHECK_EQ(hy_patch_switch(&test_off, 0), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_on, 1), 0);
}

HY_TEST(patch, many_sites_at_once)
{
    HY_CHECK_EQ(sees_many(), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), 0);
    HY_CHECK_EQ(sees_many(), 256);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 0), 0);
    HY_CHECK_EQ(sees_many(), 0);
}

HY_TEST(patch, code_decides_where_it_can_be_written)
{
    unsigned caps = hy_patch_caps();
    hy_patch_stats s = stats();

    HY_CHECK_EQ(s.mechanism, caps);
    HY_CHECK_EQ(decided(&test_many), caps != 0 ? sites(&test_many) : 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), 0);
    HY_CHECK_EQ(decided(&test_many),
                caps == HY_PATCH_STORE ? sites(&test_many) : 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 0), 0);
    HY_CHECK_EQ(stats().switches, s.switches + 2);
    HY_CHECK(s.sites_decided <= s.sites);
    HY_CHECK_EQ(s.sites == 0, hy_arch_patch_bytes() == 0);
}

HY_TEST(patch, the_environment_caps_the_way)
{
    const char *wanted = getenv("HY_PATCH");

    if (wanted == NULL)
        return;
    if (strcmp(wanted, "off") == 0)
        HY_CHECK_EQ(hy_patch_caps(), 0);
    if (strcmp(wanted, "remap") == 0)
        HY_CHECK(hy_patch_caps() != HY_PATCH_STORE);
}

HY_TEST(patch, what_is_no_key_is_refused)
{
    hy_patch nothing = {0};
    hy_patch_batch b;

    HY_CHECK_EQ(hy_patch_switch(NULL, 1), -EINVAL);
    HY_CHECK_EQ(hy_patch_switch(&nothing, 1), -EINVAL);
    HY_CHECK_EQ(hy_patch_is_on(&nothing), -EINVAL);
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &nothing, 1), -EINVAL);
    HY_CHECK_EQ(hy_patch_commit(&b), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_lonely, 1), 0);
    HY_CHECK_EQ(hy_patch_is_on(&test_lonely), 1);
    HY_CHECK_EQ(hy_patch_stats_get(NULL), -EINVAL);
}

HY_TEST(patch, a_batch_switches_all_or_nothing)
{
    hy_patch_batch b;

    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_many, 1), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, 0), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_on, 0), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, 1), 0); /* the last one counts */
    HY_CHECK_EQ(sees_off() + sees_many() + !sees_on(), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), 0);
    HY_CHECK_EQ(sees_off(), 1);
    HY_CHECK_EQ(sees_many(), 256);
    HY_CHECK_EQ(sees_on(), 0);
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_many, 0), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, 0), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_on, 1), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), 0);
    HY_CHECK_EQ(sees_off() + sees_many() + !sees_on(), 0);
}

HY_TEST(patch, a_batch_is_used_in_order)
{
    hy_patch_batch b = {0};

    HY_CHECK_EQ(hy_patch_begin(NULL), -EINVAL);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, 1), -EINVAL);
    HY_CHECK_EQ(hy_patch_commit(&b), -EINVAL);
    HY_CHECK_EQ(hy_patch_abort(&b), -EINVAL);
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, 1), 0);
    HY_CHECK_EQ(hy_patch_abort(&b), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), -EINVAL);
    HY_CHECK_EQ(sees_off(), 0);
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), 0); /* an empty one */
    HY_CHECK_EQ(hy_patch_commit(&b), -EINVAL);
}

HY_TEST(patch, a_batch_holds_so_many_keys)
{
    hy_patch keys[HY_PATCH_BATCH_MAX + 1] = {{0}};
    hy_patch_batch b;

    for (int i = 0; i <= HY_PATCH_BATCH_MAX; i++)
        keys[i].abi = HY_PATCH_ABI;
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    for (int i = HY_PATCH_BATCH_MAX; i > 0; i--)
        HY_CHECK_EQ(hy_patch_set(&b, &keys[i], 1), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &keys[0], 1), -ENOSPC);
    HY_CHECK_EQ(hy_patch_set(&b, &keys[7], 0), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), 0);
    for (int i = 0; i <= HY_PATCH_BATCH_MAX; i++)
        HY_CHECK_EQ(hy_patch_is_on(&keys[i]), i != 0 && i != 7);
}

/* --- what can be refused -------------------------------------------------- */

/* test_many is off and decided. However step 1 or 2 fails, it stays off, every
 * site agrees, and the next attempt works. */
static void check_refused(int error)
{
    hy_patch_stats before = stats();

    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), error);
    HY_CHECK(hy_fail_hits() >= 1);
    HY_CHECK_EQ(hy_patch_is_on(&test_many), 0);
    HY_CHECK_EQ(sees_many(), 0);
    hy_fail_none();
    HY_CHECK_EQ(stats().failures, before.failures + 1);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), 0);
    HY_CHECK_EQ(sees_many(), 256);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 0), 0);
    HY_CHECK_EQ(sees_many(), 0);
    HY_CHECK_EQ(decided(&test_many), sites(&test_many));
}

HY_TEST(patch, a_refused_store_switches_nothing)
{
    if (hy_patch_caps() != HY_PATCH_STORE)
        return;
    hy_fail_at(HY_FAIL_OPEN, 1, EACCES);
    check_refused(-EACCES);
    for (unsigned nth = 1; nth <= 2; nth++) {
        hy_fail_at(HY_FAIL_PWRITE, nth, EIO);
        check_refused(-EIO);
    }
    hy_fail_syscall(SYS_membarrier, 1, ENOMEM);
    check_refused(-ENOMEM);
    hy_fail_from(HY_FAIL_PWRITE, 2, EIO); /* nor can it be decided again */
    check_refused(-EIO);
}

HY_TEST(patch, a_refused_remap_switches_nothing)
{
    if (hy_patch_caps() != HY_PATCH_REMAP)
        return;
    hy_fail_at(HY_FAIL_MEMFD_CREATE, 1, EMFILE);
    check_refused(-EMFILE);
    hy_fail_at(HY_FAIL_FTRUNCATE, 1, ENOSPC);
    check_refused(-ENOSPC);
    hy_fail_at(HY_FAIL_PWRITE, 1, ENOSPC);
    check_refused(-ENOSPC);
    hy_fail_syscall(SYS_mmap, 1, ENOMEM);
    check_refused(-ENOMEM);
    hy_fail_at(HY_FAIL_MALLOC, 2, ENOMEM); /* the copy of the page */
    check_refused(-ENOMEM);
}

HY_TEST(patch, refused_memory_switches_nothing)
{
    if (hy_patch_caps() == 0)
        return;
    hy_fail_at(HY_FAIL_MALLOC, 1, ENOMEM);
    check_refused(-ENOMEM);
}

/* Step 4 may fail: the key is switched all the same. */
HY_TEST(patch, an_undecided_site_is_right)
{
    if (hy_patch_caps() != HY_PATCH_STORE)
        return;
    HY_CHECK_EQ(hy_patch_switch(&test_off, 1), 0);
    for (int r = -1, nth = 1; r != 0; nth++) {
        hy_fail_none();
        hy_fail_from(HY_FAIL_PWRITE, (unsigned)nth, EIO);
        r = hy_patch_switch(&test_off, 0);
        HY_CHECK(r == 0 || (r == -EIO && sees_off() + sees_off_too() == 2));
    }
    HY_CHECK(hy_fail_hits() >= 1);
    hy_fail_none();
    HY_CHECK(decided(&test_off) < sites(&test_off));
    HY_CHECK_EQ(sees_off() + sees_off_too(), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_off, 0), 0); /* settles it */
    HY_CHECK_EQ(decided(&test_off), sites(&test_off));
}

HY_TEST(patch, a_breakpoint_is_not_overwritten)
{
    struct hyi_patch_site *site = test_many.sites;
    uint8_t kept, foreign = 0xcc;
    int fd;

    if (hy_patch_caps() != HY_PATCH_STORE)
        return;
    kept = *site->code;
    HY_CHECK_EQ(hyi_os_code_open(&fd), 0);
    HY_CHECK_EQ(hyi_os_code_write(fd, site->code, &foreign, 1), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), -EBUSY);
    HY_CHECK_EQ(hy_patch_is_on(&test_many), 0);
    HY_CHECK_EQ(*site->code, foreign);
    HY_CHECK_EQ(hyi_os_code_write(fd, site->code, &kept, 1), 0);
    hyi_os_code_close(fd);
    HY_CHECK_EQ(sees_many(), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 1), 0);
    HY_CHECK_EQ(sees_many(), 256);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 0), 0);
}

/* --- modules -------------------------------------------------------------- */

#ifndef PATCH_PLUGIN /* a static program has no dlopen */
#define PATCH_PLUGIN     NULL
#define PATCH_PLUGIN_OWN NULL
#endif

static const char *const shared_plugin = PATCH_PLUGIN;
static const char *const own_plugin = PATCH_PLUGIN_OWN;

struct plugin {
    void *handle;
    int (*sees_shared)(void), (*sees_own)(void), (*early)(void);
    hy_patch *(*key)(void);
};

static void load(struct plugin *p, const char *path)
{
    p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    HY_CHECK_MSG(p->handle != NULL, "%s", dlerror());
    *(void **)&p->sees_shared = dlsym(p->handle, "plugin_sees_shared");
    *(void **)&p->sees_own = dlsym(p->handle, "plugin_sees_own");
    *(void **)&p->early = dlsym(p->handle, "plugin_early");
    *(void **)&p->key = dlsym(p->handle, "plugin_key");
}

static void check_plugin(const char *path)
{
    unsigned modules = stats().modules;
    struct plugin p;

    if (path == NULL)
        return;
    /* Loaded while the key is on, and while it is off. */
    for (int on = 1; on >= 0; on--) {
        HY_CHECK_EQ(hy_patch_switch(&test_shared, on), 0);
        load(&p, path);
        HY_CHECK_EQ(p.early(), 1);
        HY_CHECK_EQ(p.sees_shared(), on);
        HY_CHECK_EQ(p.sees_own(), 1);
        for (int i = 0; i < 4; i++) {
            HY_CHECK_EQ(hy_patch_switch(&test_shared, i & 1), 0);
            HY_CHECK_EQ(hy_patch_switch(p.key(), i & 1), 0);
            HY_CHECK_EQ(p.sees_shared(), i & 1);
            HY_CHECK_EQ(sees_shared(), i & 1);
            HY_CHECK_EQ(p.sees_own(), i & 1);
        }
        HY_CHECK_EQ(dlclose(p.handle), 0);
        HY_CHECK_EQ(stats().modules, modules);
        HY_CHECK_EQ(hy_patch_switch(&test_shared, 1), 0);
        HY_CHECK_EQ(sees_shared(), 1);
        HY_CHECK_EQ(hy_patch_switch(&test_shared, 0), 0);
        HY_CHECK_EQ(sees_shared(), 0);
    }
}

HY_TEST(patch, sites_in_a_plugin)
{
    check_plugin(shared_plugin);
}

HY_TEST(patch, sites_in_a_plugin_with_its_own_library)
{
    check_plugin(own_plugin);
}

/* Its sites are not registered, never decided, and right. */
HY_TEST(patch, a_module_without_memory_still_runs)
{
    struct plugin p;

    if (hy_arch_patch_bytes() == 0 || shared_plugin == NULL)
        return;
    hy_fail_from(HY_FAIL_CALLOC, 1, ENOMEM);
    load(&p, shared_plugin);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK(p.key()->sites == NULL);
    for (int i = 0; i < 4; i++) {
        HY_CHECK_EQ(hy_patch_switch(p.key(), i & 1), 0);
        HY_CHECK_EQ(p.sees_own(), i & 1);
    }
    HY_CHECK_EQ(dlclose(p.handle), 0);
}

HY_TEST(patch, a_module_that_cannot_be_written_still_runs)
{
    struct plugin p;

    if (hy_patch_caps() != HY_PATCH_STORE || shared_plugin == NULL)
        return;
    hy_fail_from(HY_FAIL_OPEN, 1, EMFILE);
    load(&p, shared_plugin);
    HY_CHECK(hy_fail_hits() >= 1);
    HY_CHECK_EQ(decided(p.key()), 0);
    HY_CHECK_EQ(p.sees_own(), 1);
    HY_CHECK_EQ(hy_patch_switch(p.key(), 0), 0);
    HY_CHECK_EQ(p.sees_own(), 0);
    hy_fail_none();
    HY_CHECK_EQ(hy_patch_switch(p.key(), 1), 0);
    HY_CHECK_EQ(decided(p.key()), sites(p.key()));
    HY_CHECK_EQ(p.sees_own(), 1);
    HY_CHECK_EQ(dlclose(p.handle), 0);
}

static void switch_in_child(void *arg)
{
    (void)arg;
    if (hy_patch_switch(&test_off, 1) != 0 || sees_off() != 1)
        _exit(1);
}

HY_TEST(patch, a_child_switches_its_own_code)
{
    HY_CHECK_EQ(hy_test_child(switch_in_child, NULL), 0);
    HY_CHECK_EQ(sees_off(), 0);
    HY_CHECK_EQ(hy_patch_is_on(&test_off), 0);
}

/* --- threads -------------------------------------------------------------- */

/* 2n: stable, the key is n & 1. 2n + 1: being switched. */
static _Atomic uint64_t epoch;
static _Atomic int stop;
static _Atomic uint64_t runs, errors;
static bool with_many; /* set before the threads start */

static void *run_sites(void *arg)
{
    uint64_t mine = 0, wrong = 0;

    (void)arg;
    do {
        uint64_t before = atomic_load(&epoch);
        int off = sees_off(), too = sees_off_too();
        int many = with_many ? sees_many() : 0;
        uint64_t after = atomic_load(&epoch);
        int on = before >> 1 & 1;

        if ((off | too) & ~1 || many < 0 || many > 256)
            wrong++;
        if (before == after && !(before & 1) &&
            (off != on || too != on || (with_many && many != 256 * on)))
            wrong++;
        mine++;
    } while (!atomic_load_explicit(&stop, memory_order_relaxed));
    atomic_fetch_add(&runs, mine);
    atomic_fetch_add(&errors, wrong);
    return NULL;
}

static void switch_once(uint64_t n)
{
    hy_patch_batch b;

    atomic_store(&epoch, 2 * n - 1);
    HY_CHECK_EQ(hy_patch_begin(&b), 0);
    HY_CHECK_EQ(hy_patch_set(&b, &test_off, n & 1), 0);
    if (with_many)
        HY_CHECK_EQ(hy_patch_set(&b, &test_many, n & 1), 0);
    HY_CHECK_EQ(hy_patch_commit(&b), 0);
    atomic_store(&epoch, 2 * n);
}

static void switch_under_threads(unsigned count, bool many)
{
    const char *longer = getenv("HY_STRESS_SECONDS");
    uint64_t seconds = longer != NULL ? strtoull(longer, NULL, 10) : 0;
    uint64_t ms = seconds != 0 ? seconds * 1000 : 150, n = 0;
    uint64_t end = hyi_os_now() + ms * 1000000;
    pthread_t threads[4];

    with_many = many;
    atomic_store(&epoch, 0);
    atomic_store(&stop, 0);
    atomic_store(&runs, 0);
    for (unsigned i = 0; i < count; i++)
        HY_CHECK_EQ(hyi_os_thread_start(&threads[i], run_sites, NULL), 0);
    do
        switch_once(++n);
    while (hyi_os_now() < end);
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    if (longer != NULL)
        fprintf(stderr, "%llu switches, %llu runs, %llu errors\n",
                (unsigned long long)n, (unsigned long long)runs,
                (unsigned long long)errors);
    HY_CHECK_EQ(errors, 0);
    HY_CHECK(n > 0 && runs > 0);
    HY_CHECK_EQ(hy_patch_switch(&test_off, 0), 0);
    HY_CHECK_EQ(hy_patch_switch(&test_many, 0), 0);
}

HY_TEST(patch, threads_run_through_many_sites_that_are_switched)
{
    switch_under_threads(3, true);
}

HY_TEST(patch, threads_run_through_few_sites_that_are_switched)
{
    switch_under_threads(1, false);
}
