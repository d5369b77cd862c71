/*
 * test_monitor_top.c - hyperion-top, run as a program: its JSON is parsed and
 * holds what was done, its text fits into any width, its errors say what to do,
 * and on a terminal it follows keys and resizing. HY_TOP is its path; without
 * it (cross-compiled, or programs not built) there is nothing to run.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <hyperion/fiber.h>
#include <hyperion/monitor.h>
#include <hyperion/pager.h>
#include <hyperion/ring.h>
#include <hyperion/sync.h>

#include "hy_test.h"
#include "os.h"
#include "segment.h"

#ifdef HY_TOP

static char output[1 << 20];

/* Runs it with these arguments, fills output, and gives its exit status. */
static int run_top(const char *format, ...)
{
    char command[512];
    size_t used;
    va_list list;
    FILE *pipe;

    used = (size_t)snprintf(command, sizeof(command), "'%s' ", HY_TOP);
    va_start(list, format);
    vsnprintf(command + used, sizeof(command) - used, format, list);
    va_end(list);
    strncat(command, " 2>&1", sizeof(command) - strlen(command) - 1);
    pipe = popen(command, "r");
    HY_CHECK(pipe != NULL);
    used = fread(output, 1, sizeof(output) - 1, pipe);
    output[used] = '\0';
    return WEXITSTATUS(pclose(pipe));
}

/* --- JSON: RFC 8259, enough to tell whether it is some ---------------------
 */

static const char *skip_value(const char *p);

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

/* NULL: not one. Likewise below. */
static const char *skip_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p == '\\' && strchr("\"\\/bfnrtu", *++p) == NULL)
            return NULL;
    }
    return p + 1;
}

static const char *skip_number(const char *p)
{
    const char *start = p;

    if (*p == '-')
        p++;
    while (isdigit((unsigned char)*p))
        p++;
    return p > start ? p : NULL;
}

static const char *skip_members(const char *p, char end, bool keys)
{
    p = skip_space(p);
    if (*p == end)
        return p + 1;
    for (;;) {
        if (keys) {
            p = skip_string(skip_space(p));
            if (p == NULL || *(p = skip_space(p)) != ':')
                return NULL;
            p++;
        }
        p = skip_value(p);
        if (p == NULL)
            return NULL;
        p = skip_space(p);
        if (*p == end)
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

static const char *skip_value(const char *p)
{
    p = skip_space(p);
    if (*p == '{')
        return skip_members(p + 1, '}', true);
    if (*p == '[')
        return skip_members(p + 1, ']', false);
    if (*p == '"')
        return skip_string(p);
    if (strncmp(p, "true", 4) == 0)
        return p + 4;
    if (strncmp(p, "false", 5) == 0)
        return p + 5;
    return skip_number(p);
}

static bool is_json(const char *text)
{
    const char *end = skip_value(text);

    return end != NULL && *skip_space(end) == '\0';
}

static bool contains(const char *what)
{
    return strstr(output, what) != NULL;
}

/* --- what is published ---------------------------------------------------- */

struct world {
    char name[HY_MONITOR_NAME];
    hy_monitor *monitor;
    hy_runtime *runtime;
    hy_ring *ring;
    hy_pager *pager;
};

static void wait_a_little(void *arg)
{
    (void)arg;
    hy_fiber_sleep(hy_after(1000000));
}

static void end_at_once(void *arg)
{
    (void)arg;
}

/* Until a sample stands there that was begun after this call. */
static void await_sample(const struct world *w)
{
    static hy_monitor_sample sample;
    hy_deadline end = hy_after(UINT64_C(20000000000));
    hy_monitor_reader *reader = NULL;
    uint64_t first = 0, number = 0;

    HY_CHECK_EQ(hy_monitor_attach(&reader, w->name), 0);
    while ((first == 0 || number < first + 2) && hy_now() < end) {
        sample.size = sizeof(sample);
        number = hy_monitor_read(reader, &sample) == 0 ? sample.number : 0;
        if (first == 0)
            first = number;
        hy_fiber_sleep(hy_after(1000000));
    }
    hy_monitor_detach(reader);
    HY_CHECK(first != 0 && number >= first + 2);
}

static void set_up_flags(struct world *w, const char *what, unsigned flags)
{
    hy_ring_options ring = {
        .size = sizeof(ring), .item_bytes = 8, .capacity = 32};
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_runtime_options run = HY_RUNTIME_OPTIONS_INIT;
    hy_fiber_options fiber = HY_FIBER_OPTIONS_INIT;
    uint64_t item = 1;

    snprintf(w->name, sizeof(w->name), "top-%s-%d", what, (int)getpid());
    o.name = w->name;
    o.period_ns = 5000000;
    run.workers = 1;
    run.flags = flags;
    run.name = "a \"quoted\"\\name";
    fiber.name = "tab\there\xff";
    HY_CHECK_EQ(hy_monitor_create(&w->monitor, &o), 0);
    HY_CHECK_EQ(hy_runtime_init(&w->runtime, &run), 0);
    HY_CHECK_EQ(hy_ring_create(&w->ring, &ring), 0);
    HY_CHECK_EQ(hy_pager_reserve(&w->pager, 1 << 20, NULL), 0);
    HY_CHECK_EQ(hy_fiber_spawn(w->runtime, end_at_once, NULL, &fiber, NULL), 0);
    for (int i = 0; i < 13; i++)
        HY_CHECK_EQ(hy_ring_push(w->ring, &item), 0);
    for (int i = 0; i < 3; i++)
        HY_CHECK_EQ(hy_ring_pop(w->ring, &item), 0);
    HY_CHECK_EQ(
        hy_monitor_watch(w->monitor, HY_MONITOR_RUNTIME, w->runtime, NULL), 0);
    HY_CHECK_EQ(
        hy_monitor_watch(w->monitor, HY_MONITOR_PAGER, w->pager, "store"), 0);
    HY_CHECK_EQ(hy_monitor_watch(w->monitor, HY_MONITOR_RING, w->ring, "work"),
                0);
    await_sample(w);
}

static void set_up(struct world *w, const char *what)
{
    set_up_flags(w, what, 0);
}

static void tear_down(struct world *w)
{
    hy_monitor_destroy(w->monitor);
    hy_ring_destroy(w->ring);
    HY_CHECK_EQ(hy_pager_release(w->pager), 0);
    HY_CHECK_EQ(hy_runtime_destroy(w->runtime), 0);
}

HY_TEST(monitor_top, json_holds_what_was_done)
{
    struct world w;

    set_up(&w, "json");
    HY_CHECK_EQ(run_top("--once --json %s", w.name), 0);
    HY_CHECK_MSG(is_json(output), "%s", output);
    HY_CHECK(contains("\"alive\":true"));
    HY_CHECK(contains("\"pushed\":13"));
    HY_CHECK(contains("\"popped\":3"));
    HY_CHECK(contains("\"depth\":10"));
    HY_CHECK(contains("\"spawned\":1"));
    HY_CHECK(contains("\"state\":\"new\""));
    HY_CHECK(contains("a \\\"quoted\\\"\\\\name"));
    HY_CHECK(contains("tab\\u0009here\\ufffd"));
    HY_CHECK(contains("\"reserved_bytes\":1048576"));
    HY_CHECK_EQ(run_top("--once --json %d", (int)getpid()), 0);
    HY_CHECK(is_json(output));
    tear_down(&w);
}

HY_TEST(monitor_top, what_is_measured_is_shown)
{
    struct world w;

    set_up(&w, "unmeasured");
    HY_CHECK_EQ(hy_runtime_run(w.runtime), 0);
    await_sample(&w);
    HY_CHECK_EQ(run_top("--once %s", w.name), 0);
    HY_CHECK(contains("no fiber has waited yet"));
    HY_CHECK(contains("times are not measured"));
    HY_CHECK(contains("events are not recorded"));
    HY_CHECK_EQ(run_top("--once --json %s", w.name), 0);
    HY_CHECK(contains("\"parked\":{},\"measures\":{}"));
    tear_down(&w);

    set_up_flags(&w, "measured", HY_RUNTIME_MEASURE | HY_RUNTIME_TRACE);
    HY_CHECK_EQ(hy_fiber_spawn(w.runtime, wait_a_little, NULL, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(w.runtime), 0);
    await_sample(&w);
    HY_CHECK_EQ(run_top("--once %s", w.name), 0);
    HY_CHECK(contains("\nrun                3 "));
    HY_CHECK(contains("\nwait               1 "));
    HY_CHECK(contains("\ndelay              3 "));
    HY_CHECK(contains("\nstack              2 "));
    HY_CHECK(contains("sleep 1"));
    HY_CHECK(contains("dropped 0"));
    HY_CHECK_EQ(run_top("--once --json %s", w.name), 0);
    HY_CHECK_MSG(is_json(output), "%s", output);
    HY_CHECK(contains("\"parked\":{\"sleep\":1}"));
    HY_CHECK(contains("\"wait\":{\"count\":1,\"sum\":"));
    HY_CHECK_EQ(run_top("--prometheus %s", w.name), 0);
    HY_CHECK(contains(",reason=\"sleep\"} 1\n"));
    HY_CHECK(contains("# TYPE hyperion_runtime_delay_ns histogram\n"));
    HY_CHECK(contains(",le=\"+Inf\"} 3\n"));
    HY_CHECK(contains("hyperion_runtime_wait_ns_count{monitor=\""));
    tear_down(&w);
}

enum { AT_ONCE = 200 };

static hy_event all_are_there;
static unsigned yet_to_come;

static void wait_for_the_others(void *arg)
{
    (void)arg;
    if (--yet_to_come == 0)
        hy_event_set(&all_are_there);
    hy_event_wait(&all_are_there, HY_FOREVER);
}

/* What is shown of the stacks' watermark, against what the runtime says. */
static void check_stacks(const struct world *w)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    char text[80];

    HY_CHECK_EQ(hy_runtime_stats_get(w->runtime, &s), 0);
    await_sample(w);
    HY_CHECK_EQ(run_top("--once %s", w->name), 0);
    snprintf(text, sizeof(text), "kept %u ", (unsigned)s.stacks_kept);
    HY_CHECK_MSG(contains(text), "%s: %s", text, output);
    snprintf(text, sizeof(text), "trimmed %u", (unsigned)s.stacks_trimmed);
    HY_CHECK_MSG(contains(text), "%s: %s", text, output);
    HY_CHECK_EQ(run_top("--once --json %s", w->name), 0);
    snprintf(text, sizeof(text), "\"stacks_kept\":%u,\"stacks_trimmed\":%u,",
             (unsigned)s.stacks_kept, (unsigned)s.stacks_trimmed);
    HY_CHECK_MSG(contains(text), "%s: %s", text, output);
    HY_CHECK_EQ(run_top("--prometheus %s", w->name), 0);
    HY_CHECK(contains("\nhyperion_runtime_stacks_trimmed_total{monitor=\""));
}

HY_TEST(monitor_top, what_the_watermark_keeps_is_shown)
{
    hy_runtime_stats s = {.size = sizeof(s)};
    struct world w;

    set_up(&w, "stacks");
    all_are_there = (hy_event){0};
    yet_to_come = AT_ONCE;
    for (int i = 0; i < AT_ONCE; i++)
        HY_CHECK_EQ(
            hy_fiber_spawn(w.runtime, wait_for_the_others, NULL, NULL, NULL),
            0);
    HY_CHECK_EQ(hy_runtime_run(w.runtime), 0);
    HY_CHECK_EQ(hy_runtime_stats_get(w.runtime, &s), 0);
    HY_CHECK(s.stacks_kept >= AT_ONCE / 2);
    HY_CHECK_EQ(s.stacks_trimmed, 0);
    check_stacks(&w);
    HY_CHECK_EQ(hy_runtime_trim(w.runtime), 0);
    s.size = sizeof(s);
    HY_CHECK_EQ(hy_runtime_stats_get(w.runtime, &s), 0);
    HY_CHECK(s.stacks_trimmed >= AT_ONCE / 2);
    check_stacks(&w);
    tear_down(&w);
}

HY_TEST(monitor_top, prometheus_lines_are_well_formed)
{
    struct world w;
    unsigned lines = 0;

    set_up(&w, "prom");
    HY_CHECK_EQ(run_top("--prometheus %s", w.name), 0);
    HY_CHECK(contains("hyperion_ring_pushed_total{monitor=\""));
    HY_CHECK(contains("name=\"work\"} 13\n"));
    HY_CHECK(contains("name=\"a \\\"quoted\\\"\\\\name\"} 1\n"));
    for (char *line = strtok(output, "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        char *value = strrchr(line, ' ');

        lines++;
        if (strncmp(line, "# TYPE hyperion_", 16) == 0)
            continue;
        HY_CHECK_MSG(strncmp(line, "hyperion_", 9) == 0, "%s", line);
        HY_CHECK_MSG(value[-1] == '}' && isdigit((unsigned char)value[1]), "%s",
                     line);
    }
    HY_CHECK(lines > 40);
    tear_down(&w);
}

HY_TEST(monitor_top, text_fits_any_width)
{
    struct world w;

    set_up(&w, "text");
    for (unsigned width = 10; width <= 200; width += 10) {
        HY_CHECK_EQ(run_top("--once --width %u %s", width, w.name), 0);
        HY_CHECK(!contains("\033"));
        for (char *line = strtok(output, "\n"); line != NULL;
             line = strtok(NULL, "\n"))
            HY_CHECK_MSG(strlen(line) <= width, "%u: %s", width, line);
    }
    HY_CHECK_EQ(run_top("--once %s", w.name), 0);
    HY_CHECK(contains("-- memory"));
    HY_CHECK(contains("depth 10 of 32"));
    HY_CHECK(contains("tab?here?"));
    HY_CHECK(contains("no code memory is watched"));
    tear_down(&w);
}

HY_TEST(monitor_top, an_empty_monitor_says_so)
{
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    char name[HY_MONITOR_NAME];
    hy_monitor *m = NULL;

    snprintf(name, sizeof(name), "top-empty-%d", (int)getpid());
    o.name = name;
    HY_CHECK_EQ(hy_monitor_create(&m, &o), 0);
    HY_CHECK_EQ(run_top("--once %s", name), 0);
    HY_CHECK(contains("no runtime is watched"));
    HY_CHECK(contains("no ring is watched"));
    HY_CHECK(contains("no pager, heap or slab is watched"));
    HY_CHECK(contains("no code memory is watched"));
    HY_CHECK_EQ(run_top("--once --json %s", name), 0);
    HY_CHECK(is_json(output));
    HY_CHECK(contains("\"rings\":[]"));
    HY_CHECK_EQ(run_top("--list"), 0);
    HY_CHECK(contains(name));
    hy_monitor_destroy(m);
}

/* Dies once it has published something, or lives on to fail the test. */
static void die_publishing(void *arg)
{
    static hy_monitor_sample sample;
    hy_monitor_options o = HY_MONITOR_OPTIONS_INIT;
    hy_monitor_reader *reader = NULL;
    hy_monitor *m = NULL;
    int r = -EAGAIN;

    o.name = arg;
    if (hy_monitor_create(&m, &o) != 0 || hy_monitor_attach(&reader, arg) != 0)
        return;
    sample.size = sizeof(sample);
    for (int i = 0; r == -EAGAIN && i < 5000; i++) {
        hy_fiber_sleep(hy_after(1000000));
        r = hy_monitor_read(reader, &sample);
    }
    if (r == 0)
        raise(SIGKILL);
}

HY_TEST(monitor_top, a_killed_process_is_shown_as_ended)
{
    char name[HY_MONITOR_NAME], line[128];

    snprintf(name, sizeof(name), "top-dead-%d", (int)getpid());
    HY_CHECK(WIFSIGNALED(hy_test_child(die_publishing, name)));
    HY_CHECK_EQ(run_top("--json %s", name), 0);
    HY_CHECK(is_json(output));
    HY_CHECK(contains("\"alive\":false"));
    HY_CHECK_EQ(run_top("%s", name), 0); /* ends, for there is no more */
    HY_CHECK(contains("ENDED"));
    HY_CHECK_EQ(run_top("--list"), 0);
    HY_CHECK(contains("  ended"));
    HY_CHECK_EQ(run_top("--list --json"), 0);
    snprintf(line, sizeof(line), "{\"name\":\"%s\",\"pid\":", name);
    HY_CHECK(contains(line));
    HY_CHECK(contains(",\"alive\":false}\n"));
    HY_CHECK_EQ(run_top("--clear %s", name), 0);
    HY_CHECK(contains("1 removed"));
    HY_CHECK_EQ(run_top("--clear %s", name), 1);
    HY_CHECK(contains("nobody publishes"));
}

/* All that ended, with no name: tests/consumer/watch.sh, which has a folder of
 * segments to itself. */
HY_TEST(monitor_top, what_lives_is_not_cleared)
{
    struct world w;

    set_up(&w, "alive");
    HY_CHECK_EQ(run_top("--clear %s", w.name), 1);
    HY_CHECK(contains("has not ended"));
    HY_CHECK_EQ(run_top("--once %s", w.name), 0);
    tear_down(&w);
}

HY_TEST(monitor_top, output_that_is_lost_is_told)
{
    static const char *const rows[] = {
        "--once",  "--once --json", "--prometheus", "--list",
        "--clear", "--help",        "--version"};
    struct world w;

    if (access("/dev/full", W_OK) != 0)
        return;
    set_up(&w, "full");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool named = strncmp(rows[i], "--once", 6) == 0 || i == 2;

        HY_CHECK_EQ(run_top("%s %s 3>&1 >/dev/full 2>&3 #", rows[i],
                            named ? w.name : ""),
                    1);
        HY_CHECK_MSG(contains("standard output"), "%s: %s", rows[i], output);
        HY_CHECK(strchr(output, '\n') == strrchr(output, '\n'));
    }
    tear_down(&w);
}

HY_TEST(monitor_top, errors_are_one_line_that_helps)
{
    static const struct {
        const char *arguments;
        int status;
        const char *says;
    } rows[] = {
        {"--once no-such-name", 1, "--list"},
        {"--once 'a/b'", 2, "letters, digits"},
        {"--clear 'a b'", 2, "letters, digits"},
        {"--bogus", 2, "--bogus: no such option; see hyperion-top --help"},
        {"-x", 2, "-x: no such option"},
        {"--once=2 x", 2, "--once=2: takes no value"},
        {"--interval", 2, "--interval needs a value"},
        {"\"$(printf '\\033[2J')\"", 2, "\\x1b[2J"},
        {"--interval 0", 2, "0.1 to 3600"},
        {"--interval nan x", 2, "0.1 to 3600"},
        {"--width 3 x", 2, "10 to 500"},
        {"--json --prometheus x", 2, "either"},
        {"a b", 2, "at most one"},
    };
    char path[HYI_SEGMENT_PATH], name[HY_MONITOR_NAME];
    int fd;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        HY_CHECK_EQ(run_top("%s", rows[i].arguments), rows[i].status);
        HY_CHECK_MSG(contains(rows[i].says), "%s: %s", rows[i].arguments,
                     output);
        HY_CHECK(strchr(output, '\n') == strrchr(output, '\n'));
    }
    HY_CHECK_EQ(run_top("--help"), 0);
    HY_CHECK(contains("--clear"));
    HY_CHECK_EQ(run_top("--version"), 0);
    HY_CHECK(contains(hy_version()));

    snprintf(name, sizeof(name), "top-bad-%d", (int)getpid());
    hyi_segment_path(path, name);
    fd = shm_open(path, O_CREAT | O_RDWR, 0600);
    HY_CHECK(fd >= 0 && write(fd, "nonsense", 8) == 8);
    close(fd);
    HY_CHECK_EQ(run_top("--once %s", name), 1);
    HY_CHECK(contains("damaged"));
    HY_CHECK_EQ(hyi_os_shm_remove(path), 0);
}

/* --- on a terminal -------------------------------------------------------- */

/* Reads what is there, for a while; true once it has shown this. */
static bool shows(int terminal, const char *what)
{
    struct pollfd p = {terminal, POLLIN, 0};
    uint64_t end = hyi_os_now() + UINT64_C(60000000000);
    size_t used = 0;

    output[0] = '\0';
    while (used < sizeof(output) - 1 && hyi_os_now() < end) {
        ssize_t n;

        if (poll(&p, 1, 1000) == 0)
            continue;
        n = read(terminal, output + used, sizeof(output) - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
        output[used] = '\0';
        if (strstr(output, what) != NULL)
            return true;
    }
    return false;
}

static int open_terminal(int *child)
{
    struct winsize size = {24, 80, 0, 0};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);

    HY_CHECK(terminal >= 0 && grantpt(terminal) == 0);
    HY_CHECK_EQ(unlockpt(terminal), 0);
    *child = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    HY_CHECK(*child >= 0);
    HY_CHECK_EQ(ioctl(*child, TIOCSWINSZ, &size), 0);
    return terminal;
}

static pid_t start_on(int child, const char *name, const char *term)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    setsid();
    ioctl(child, TIOCSCTTY, 0);
    dup2(child, 0);
    dup2(child, 1);
    dup2(child, 2);
    /* Else it would keep its own terminal from hanging up. */
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    setenv("TERM", term, 1);
    /* ncurses keeps memory for a terminal that it does not know. */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    unsetenv("COLUMNS");
    unsetenv("LINES");
    execl(HY_TOP, HY_TOP, "--interval", "0.1", name, (char *)NULL);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status = -1;

    for (int i = 0; i < 6000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        hy_fiber_sleep(hy_after(10000000));
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

HY_TEST(monitor_top, keys_and_resizing_on_a_terminal)
{
    struct winsize narrow = {10, 20, 0, 0};
    struct world w;
    int child, terminal;
    pid_t pid;

    if (!HY_TOP_CURSES)
        return;
    set_up(&w, "pty");
    terminal = open_terminal(&child);
    pid = start_on(child, w.name, "xterm");
    HY_CHECK(shows(terminal, "-- memory"));
    HY_CHECK_EQ(ioctl(child, TIOCSWINSZ, &narrow), 0);
    kill(pid, SIGWINCH);
    HY_CHECK(shows(terminal, "-- memory")); /* further down now */
    HY_CHECK_EQ(write(terminal, "jjjk ", 5), 5);
    hy_fiber_sleep(hy_after(150000000));
    HY_CHECK_EQ(write(terminal, "q", 1), 1);
    HY_CHECK_EQ(wait_for(pid), 0);
    close(child);
    close(terminal);
    tear_down(&w);
}

/* No such terminal: pictures one after the other, until it is ended. */
HY_TEST(monitor_top, an_unknown_terminal_gets_plain_pictures)
{
    struct world w;
    int child, terminal;
    pid_t pid;

    set_up(&w, "dumb");
    terminal = open_terminal(&child);
    pid = start_on(child, w.name, "no-such-terminal");
    HY_CHECK(shows(terminal, "-- memory"));
    HY_CHECK(shows(terminal, "-- memory"));
    tear_down(&w);
    HY_CHECK(shows(terminal, "ENDED"));
    HY_CHECK_EQ(wait_for(pid), 0);
    close(child);
    close(terminal);
}

/* One that cannot go back gets nothing but text. */
HY_TEST(monitor_top, a_dumb_terminal_gets_no_escapes)
{
    struct world w;
    int child, terminal;
    pid_t pid;

    set_up(&w, "plain");
    terminal = open_terminal(&child);
    pid = start_on(child, w.name, "dumb");
    HY_CHECK(shows(terminal, "-- code"));
    HY_CHECK(shows(terminal, "-- memory")); /* of the next picture */
    HY_CHECK(!contains("\033"));
    tear_down(&w);
    HY_CHECK(shows(terminal, "ENDED"));
    HY_CHECK(!contains("\033"));
    HY_CHECK_EQ(wait_for(pid), 0);
    close(child);
    close(terminal);
}

#else

HY_TEST(monitor_top, is_not_built_here)
{
    HY_CHECK(hy_version() != NULL);
}

#endif
