/*
 * mix_host.c - two copies of libhyperion in one process, by way of a plug-in.
 *
 *      mix_host PLUGIN...   for each: both orders of opening, both of closing,
 *                           the plug-in's calls bound to its own copy or to the
 *                           host's
 *
 * Each combination runs in a child: faults of both pagers are served at any
 * time, faults of neither reach the handler that the host had before, and that
 * handler is back at the end.
 */
#include <dlfcn.h>
#include <hyperion/pager.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mix.h"

#define CHECK(cond)                                                            \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);         \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

struct order {
    bool plugin_opens_first;
    bool first_closes_first;
    bool own_copy;
};

static sigjmp_buf escape;
static hy_pager *pager;
static const struct mix_plugin *plugin;
static bool has_own_copy; /* what the plug-in calls is not what we call */
static void *handle;

static void on_foreign_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    siglongjmp(escape, 1);
}

/* An address that no pager knows: the host's own handler must get it. */
static void check_foreign_fault(void)
{
    volatile char *nowhere =
        mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(nowhere != MAP_FAILED);
    if (sigsetjmp(escape, 1) == 0) {
        *nowhere = 1;
        CHECK(!"reached");
    }
    munmap((void *)nowhere, 4096);
}

static void check_handler_is_back(void)
{
    const int signals[] = {SIGSEGV, SIGBUS};
    struct sigaction now;

    for (int i = 0; i < 2; i++) {
        CHECK(sigaction(signals[i], NULL, &now) == 0);
        CHECK(now.sa_sigaction == on_foreign_fault);
    }
}

static void open_host(void)
{
    hy_pager_options options = HY_PAGER_OPTIONS_INIT;

    options.mechanism = HY_PAGER_SIGNAL;
    CHECK(hy_pager_reserve(&pager, 64 << 20, &options) == 0);
}

static void touch_host(size_t page)
{
    volatile char *base = hy_pager_base(pager);

    base[page << 12] = 'h';
    CHECK(base[page << 12] == 'h');
}

static void close_host(void)
{
    CHECK(hy_pager_release(pager) == 0);
}

static void open_plugin(const char *path, const struct order *order)
{
    int (*ours)(hy_pager **, uint64_t, const hy_pager_options *) =
        hy_pager_reserve;

    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL |
                              (order->own_copy ? RTLD_DEEPBIND : 0));
    if (handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(handle != NULL);
    plugin = dlsym(handle, "mix_plugin");
    CHECK(plugin != NULL);
    has_own_copy = plugin->library() != (void *)ours;
    CHECK(has_own_copy || !order->own_copy);
    CHECK(plugin->open() == 0);
}

static void close_plugin(void)
{
    CHECK(plugin->close() == 0);
    CHECK(dlclose(handle) == 0);
}

/* Each copy of the library watches fork, and none after it has gone. */
static void check_fork(void)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        alarm(20);
        open_host();
        touch_host(3);
        close_host();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void run(const char *path, const struct order *order)
{
    bool plugin_closes_first =
        order->plugin_opens_first == order->first_closes_first;

    if (order->plugin_opens_first)
        open_plugin(path, order);
    open_host();
    if (!order->plugin_opens_first)
        open_plugin(path, order);
    for (size_t page = 0; page < 4096; page += 512) {
        touch_host(page);
        CHECK(plugin->touch(page) == 0);
    }
    check_foreign_fault();
    check_fork();
    if (plugin_closes_first) {
        close_plugin();
        touch_host(4097);
        check_foreign_fault();
        close_host();
    } else {
        close_host();
        CHECK(plugin->touch(4097) == 0);
        check_foreign_fault();
        close_plugin();
    }
    check_foreign_fault();
    /* A handler that could not leave, because another stood on it, still
     * forwards; where the last opened closed first, nothing is left. */
    if (!order->first_closes_first || !has_own_copy)
        check_handler_is_back();
    open_host();
    touch_host(1);
    close_host();
    check_foreign_fault();
    check_fork();
}

static int run_in_child(const char *path, const struct order *order)
{
    struct sigaction action = {.sa_sigaction = on_foreign_fault};
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
        run(path, order);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr,
                "%s, %s opens first, %s closes first, own copy %d: "
                "status %#x\n",
                path, order->plugin_opens_first ? "plug-in" : "host",
                order->first_closes_first ? "it" : "the other", order->own_copy,
                (unsigned)status);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0, count = 0;

    for (int i = 1; i < argc; i++)
        for (int bits = 0; bits < 8; bits++, count++) {
            struct order order = {bits & 1, bits & 2, bits & 4};

            failed += run_in_child(argv[i], &order);
        }
    printf("%d of %d combinations failed\n", failed, count);
    return failed != 0 || count == 0;
}
