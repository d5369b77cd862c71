/*
 * bench.c - the harness (bench.h): yardsticks, interleaved repeats, medians,
 * the calibration gate, a Markdown table and JSON.
 *
 *      row -> [repeat] -> [contender] -> figure -> sorted -> median, best
 *
 * Invariant: within one repeat every contender runs once, in the order given.
 * Upstream: each bench_*.c. Downstream: libc.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum {
    REPEATS = 7,
    REPEATS_MAX = 31,
    CONTENDERS_MAX = 16,
    NOTES_MAX = 16,
    GATE_NS = 160,     /* lines between processors of one chiplet: 100-130 ns */
    GATE_SECONDS = 20, /* for a row: a shared machine is calm after a while */
    GATE_SECONDS_ALL = 60, /* for all rows of a program */
    QUICK = 6,             /* a short run waits for so much less */
    READ_BYTES = 128 << 20
};

static struct {
    const char *subject;
    FILE *json;
    bool quick;
    bool hurried; /* the row is noisy, and its rest is not worth the time */
    uint64_t waited_ns; /* for calm */
    unsigned rows;
    const char *notes[NOTES_MAX];
    unsigned note_count;
} bench;

/* --- small things --------------------------------------------------------- */

uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool bench_is_quick(void)
{
    return bench.quick;
}

uint64_t bench_scale(uint64_t count)
{
    if (bench.hurried)
        count /= 10;
    return bench.quick ? count / 5 + 1 : count;
}

void bench_wrong(const char *what)
{
    fprintf(stderr, "%s: wrong result: %s\n", bench.subject, what);
    fflush(stdout);
    _exit(1); /* perhaps in a child: what its parent wrote is not its own */
}

void bench_note(const char *text)
{
    if (bench.note_count < NOTES_MAX)
        bench.notes[bench.note_count++] = text;
}

static uint64_t scan_lines(const char *path, const char *word, uint64_t *lines)
{
    FILE *file = fopen(path, "r");
    char line[512];
    uint64_t value = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        *lines += strchr(line, '\n') != NULL;
        if (strncmp(line, word, strlen(word)) == 0)
            value = strtoull(line + strlen(word), NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return value;
}

uint64_t bench_count_lines(const char *path)
{
    uint64_t lines = 0;

    scan_lines(path, "", &lines);
    return lines;
}

uint64_t bench_field(const char *path, const char *word)
{
    uint64_t lines = 0;

    return scan_lines(path, word, &lines);
}

static cpu_set_t usable_cpus(void)
{
    static cpu_set_t set;
    static bool known;

    if (!known)
        known = sched_getaffinity(0, sizeof(set), &set) == 0;
    return set;
}

unsigned bench_cpu_count(void)
{
    cpu_set_t set = usable_cpus();

    return (unsigned)CPU_COUNT(&set);
}

void bench_pin(unsigned nth)
{
    cpu_set_t usable = usable_cpus(), one;

    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &usable) && nth-- == 0)
            CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

static void unpin(void)
{
    cpu_set_t usable = usable_cpus();

    pthread_setaffinity_np(pthread_self(), sizeof(usable), &usable);
}

/* --- yardsticks ----------------------------------------------------------- */

static struct {
    _Alignas(128) _Atomic uint64_t there;
    _Alignas(128) _Atomic uint64_t back;
} lines;

enum { PINGPONGS = 20000 };

static void *pong(void *arg)
{
    bench_pin(1);
    for (uint64_t i = 1; i <= PINGPONGS; i++) {
        while (atomic_load_explicit(&lines.there, memory_order_acquire) != i)
            ;
        atomic_store_explicit(&lines.back, i, memory_order_release);
    }
    return arg;
}

double bench_pingpong(void)
{
    pthread_t t;
    uint64_t start;

    if (bench_cpu_count() < 2)
        return 0;
    atomic_store(&lines.there, 0);
    atomic_store(&lines.back, 0);
    if (pthread_create(&t, NULL, pong, NULL) != 0)
        return 0;
    bench_pin(0);
    start = bench_now();
    for (uint64_t i = 1; i <= PINGPONGS; i++) {
        atomic_store_explicit(&lines.there, i, memory_order_release);
        while (atomic_load_explicit(&lines.back, memory_order_acquire) != i)
            ;
    }
    start = bench_now() - start;
    pthread_join(t, NULL);
    unpin();
    return (double)start / PINGPONGS;
}

static __attribute__((noinline)) uint64_t next_of(uint64_t x)
{
    return x + 1;
}

static double time_calls(void)
{
    uint64_t (*volatile call)(uint64_t) = next_of;
    uint64_t start = bench_now(), x = 0, count = 2000000;

    while (x < count)
        x = call(x);
    return (double)(bench_now() - start) / (double)count;
}

static double time_system_calls(void)
{
    uint64_t start = bench_now(), count = 100000;

    for (uint64_t i = 0; i < count; i++)
        syscall(SYS_getppid);
    return (double)(bench_now() - start) / (double)count;
}

void bench_read(const void *p, size_t bytes)
{
    typedef uint64_t wide __attribute__((vector_size(64)));
    const wide *from = (const wide *)p;
    wide a = {0}, b = {0}, c = {0}, d = {0};

    for (size_t i = 0; i < bytes / sizeof(wide); i += 4) {
        a |= from[i];
        b |= from[i + 1];
        c |= from[i + 2];
        d |= from[i + 3];
    }
    a |= b | c | d;
    BENCH_USE(a[0] | a[1] | a[2] | a[3] | a[4] | a[5] | a[6] | a[7]);
}

/* GB/s of one thread over memory far larger than the caches. */
static double time_reads(void)
{
    void *p = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t best = UINT64_MAX;

    if (p == MAP_FAILED)
        return 0;
    madvise(p, READ_BYTES, MADV_HUGEPAGE);
    memset(p, 1, READ_BYTES);
    for (int i = 0; i < 3; i++) {
        uint64_t start = bench_now();

        bench_read(p, READ_BYTES);
        start = bench_now() - start;
        best = start < best ? start : best;
    }
    munmap(p, READ_BYTES);
    return (double)READ_BYTES / (double)best;
}

/* --- figures -------------------------------------------------------------- */

struct figures {
    double values[REPEATS_MAX];
    double median, best;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void settle(struct figures *f, unsigned repeats, bool more_is_better)
{
    qsort(f->values, repeats, sizeof(double), compare);
    f->median = f->values[repeats / 2];
    f->best = f->values[more_is_better ? repeats - 1 : 0];
}

/* Three digits, grouped by thousands when there are more. */
static const char *print_figure(char *buffer, size_t bytes, double x)
{
    char plain[64];
    size_t length, out = 0;

    if (x < 1000) {
        snprintf(buffer, bytes, "%.*f",
                 x == 0 || x >= 100 ? 0
                 : x >= 10          ? 1
                 : x >= 1           ? 2
                                    : 3,
                 x);
        return buffer;
    }
    snprintf(plain, sizeof(plain), "%.0f", x);
    length = strlen(plain);
    for (size_t i = 0; i < length && out + 2 < bytes; i++) {
        if (i != 0 && (length - i) % 3 == 0)
            buffer[out++] = ',';
        buffer[out++] = plain[i];
    }
    buffer[out] = '\0';
    return buffer;
}

static void json_string(const char *s)
{
    fputc('"', bench.json);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', bench.json);
        if ((unsigned char)*s >= ' ')
            fputc(*s, bench.json);
    }
    fputc('"', bench.json);
}

static void json_field(const char *key, const char *value, const char *after)
{
    json_string(key);
    fputs(": ", bench.json);
    json_string(value);
    fputs(after, bench.json);
}

/* --- rows ----------------------------------------------------------------- */

struct gate {
    double worst;   /* two lines around the repeats that were taken */
    unsigned tried; /* repeats, those among them that were not taken */
    bool noisy;
};

/* Waits for a calm moment until then; a figure is only as good as it. */
static double wait_for_calm(uint64_t until)
{
    double ns = bench_pingpong();

    while (ns >= GATE_NS && bench_now() < until) {
        usleep(20000);
        ns = bench_pingpong();
    }
    return ns;
}

static double ratio_of(const struct bench_row *row, const struct figures *ours,
                       const struct figures *theirs)
{
    double a = ours->median, b = theirs->median;

    if (row->more_is_better)
        return b > 0 ? a / b : 0;
    return a > 0 ? b / a : 0;
}

static void print_row_json(const struct bench_row *row, const struct gate *gate,
                           const struct bench_contender *c,
                           const struct figures *f, size_t count,
                           unsigned repeats)
{
    fputs(bench.rows == 1 ? "\n    {" : ",\n    {", bench.json);
    json_field("what", row->what, ", ");
    json_field("unit", row->unit, ", ");
    json_field("target", row->target ? row->target : "", ", ");
    fprintf(bench.json, "\"more_is_better\": %s, ",
            row->more_is_better ? "true" : "false");
    if (row->gated)
        fprintf(bench.json,
                "\"pingpong_worst_ns\": %.1f, \"tried\": %u, "
                "\"noisy\": %s, ",
                gate->worst, gate->tried, gate->noisy ? "true" : "false");
    fprintf(bench.json, "\"repeats\": %u, \"contenders\": [", repeats);
    for (size_t i = 0; i < count; i++) {
        fputs(i == 0 ? "\n      {" : ",\n      {", bench.json);
        json_field("name", c[i].name, ", ");
        if (c[i].absent != NULL)
            json_field("absent", c[i].absent, "}");
        else
            fprintf(bench.json,
                    "\"median\": %.6g, \"best\": %.6g, \"ratio\": %.4g}",
                    f[i].median, f[i].best, ratio_of(row, &f[0], &f[i]));
    }
    fputs("]}", bench.json);
}

/* "peer 11.8 (11.2), 3.8x", or "peer: absent". */
static void print_peer(const struct bench_row *row,
                       const struct bench_contender *c,
                       const struct figures *ours, const struct figures *f)
{
    char median[64], best[64];
    double ratio = ratio_of(row, ours, f);

    if (c->absent != NULL) {
        printf("%s: %s", c->name, c->absent);
        return;
    }
    printf("%s %s", c->name, print_figure(median, sizeof(median), f->median));
    if (!row->counted)
        printf(" (%s)", print_figure(best, sizeof(best), f->best));
    if (ratio > 0)
        printf(", %.3gx", ratio);
}

static void print_row(const struct bench_row *row, const struct gate *gate,
                      const struct bench_contender *c, const struct figures *f,
                      size_t count)
{
    char median[64], best[64];

    printf("| %s%s | %s | ", row->what,
           gate->noisy ? " **(noisy: not to be quoted)**" : "", row->unit);
    if (c[0].absent != NULL)
        printf("%s", c[0].absent);
    else
        printf("%s **%s**", c[0].name,
               print_figure(median, sizeof(median), f[0].median));
    if (c[0].absent == NULL && !row->counted)
        printf(" (%s)", print_figure(best, sizeof(best), f[0].best));
    printf(" | ");
    for (size_t i = 1; i < count; i++) {
        print_peer(row, &c[i], &f[0], &f[i]);
        printf("%s", i + 1 < count ? "; " : "");
    }
    printf(" | %s |\n", row->target ? row->target : "");
    fflush(stdout);
}

/* A run may pin its thread; the next one starts free. */
static double run_once(const struct bench_contender *c)
{
    double figure = 0;

    if (c->absent == NULL)
        figure = c->run(c->arg);
    unpin();
    return figure;
}

/* Every contender once, in turn; what they found becomes value r. */
static void run_repeat(const struct bench_contender *c, struct figures *f,
                       size_t count, unsigned r)
{
    for (size_t i = 0; i < count; i++)
        f[i].values[r] = run_once(&c[i]);
}

static uint64_t time_to_wait(void)
{
    uint64_t row = GATE_SECONDS * 1000000000ull;
    uint64_t all = GATE_SECONDS_ALL * 1000000000ull;

    if (bench.quick) {
        row /= QUICK;
        all /= QUICK;
    }
    all = all > bench.waited_ns ? all - bench.waited_ns : 0;
    return row < all ? row : all;
}

/*
 * Repeats are taken when it was calm before and after them; when time is up,
 * the rest is taken as it comes, and the row is noisy.
 */
static struct gate run_gated(const struct bench_contender *c, struct figures *f,
                             size_t count, unsigned repeats)
{
    uint64_t start = bench_now(), until = start + time_to_wait();
    struct gate gate = {0};

    for (unsigned taken = 0; taken < repeats; gate.tried++) {
        double before = wait_for_calm(until), worst;

        bench.hurried = before >= GATE_NS;
        run_repeat(c, f, count, taken);
        worst = bench_pingpong();
        worst = before > worst ? before : worst;
        if (worst >= GATE_NS && bench_now() < until)
            continue;
        gate.worst = worst > gate.worst ? worst : gate.worst;
        taken++;
    }
    bench.hurried = false;
    gate.noisy = gate.worst >= GATE_NS;
    if (gate.noisy)
        bench.waited_ns += bench_now() - start;
    return gate;
}

static unsigned repeats_of(const struct bench_row *row)
{
    unsigned repeats = row->repeats != 0 ? row->repeats : REPEATS;

    if (row->counted)
        return 1;
    if (bench.quick || repeats < 5)
        return 5;
    return repeats < REPEATS_MAX ? repeats : REPEATS_MAX;
}

void bench_row_run(const struct bench_row *row,
                   const struct bench_contender *contenders, size_t count)
{
    static struct figures figures[CONTENDERS_MAX];
    unsigned repeats = repeats_of(row);
    struct gate gate = {0};

    if (count > CONTENDERS_MAX)
        bench_wrong("too many contenders");
    memset(figures, 0, sizeof(figures));
    if (row->gated && contenders[0].absent == NULL)
        gate = run_gated(contenders, figures, count, repeats);
    else
        for (unsigned r = 0; r < repeats; r++)
            run_repeat(contenders, figures, count, r);
    for (size_t i = 0; i < count; i++)
        settle(&figures[i], repeats, row->more_is_better);
    bench.rows++;
    print_row(row, &gate, contenders, figures, count);
    print_row_json(row, &gate, contenders, figures, count, repeats);
}

void bench_row_skip(const struct bench_row *row, const char *why)
{
    struct bench_contender none = {"hyperion", NULL, NULL, NULL};

    struct bench_row once = *row;

    none.absent = why;
    once.counted = true;
    bench_row_run(&once, &none, 1);
}

/* --- one program ---------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* "AMD EPYC ..., 2 processors, Linux 6.1 x86_64, gcc 12.2" into machine. */
static void describe_machine(char *machine, size_t bytes)
{
    static const char word[] = "model name";
    char line[256] = "", *model = NULL;
    FILE *file = fopen("/proc/cpuinfo", "r");
    struct utsname system;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, word, sizeof(word) - 1) == 0 &&
            (model = strchr(line, ':')) != NULL)
            break;
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    uname(&system);
    snprintf(machine, bytes, "%s, %u processors, %s %s %s, %s",
             model != NULL ? model + 2 : "processor unknown", bench_cpu_count(),
             system.sysname, system.release, system.machine,
#ifdef __clang__
             __VERSION__
#else
             "gcc " __VERSION__
#endif
    );
}

static void print_header(char **argv, const char *machine)
{
    char command[256];
    double call, system, read, lines_ns = bench_pingpong();

    time_calls();
    call = time_calls();
    system = time_system_calls();
    read = time_reads();
    snprintf(command, sizeof(command), "%s%s%s%s",
             bench.quick ? "HY_BENCH_QUICK=1 " : "", base_name(argv[0]),
             argv[1] != NULL ? " " : "",
             argv[1] != NULL ? base_name(argv[1]) : "");
    printf("\n### %s\n\n`%s` on %s. Yardsticks: an indirect call %.2f ns, a "
           "system call %.0f ns, memory read %.1f GB/s, two lines there and "
           "back %.0f ns.\n\n",
           bench.subject, command, machine, call, system, read, lines_ns);
    printf("| what | unit | ours: median (best) | peers: median (best), ours "
           "is so many times better | target |\n|---|---|---|---|---|\n");
    fputs("{", bench.json);
    json_field("subject", bench.subject, ", ");
    json_field("version", HY_VERSION, ", ");
    json_field("command", command, ",\n  ");
    json_field("machine", machine, ", ");
    fprintf(bench.json,
            "\"quick\": %s, \"cpus\": %u,\n  \"yardsticks\": "
            "{\"indirect_call_ns\": %.3f, \"system_call_ns\": %.1f, "
            "\"memory_read_gbs\": %.2f, \"pingpong_ns\": %.1f},\n  "
            "\"rows\": [",
            bench.quick ? "true" : "false", bench_cpu_count(), call, system,
            read, lines_ns);
}

void bench_begin(int argc, char **argv, const char *subject)
{
    const char *quick = getenv("HY_BENCH_QUICK");
    char machine[256];

    bench.subject = subject;
    bench.quick = quick != NULL && *quick != '\0' && *quick != '0';
    bench.json = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
    if (bench.json == NULL) {
        perror(argv[1]);
        exit(1);
    }
    describe_machine(machine, sizeof(machine));
    print_header(argv, machine);
}

int bench_end(void)
{
    fputs("\n  ],\n  \"notes\": [", bench.json);
    for (unsigned i = 0; i < bench.note_count; i++) {
        printf("%s%s\n", i == 0 ? "\n" : "", bench.notes[i]);
        fputs(i == 0 ? "" : ", ", bench.json);
        json_string(bench.notes[i]);
    }
    fputs("]}\n", bench.json);
    return fclose(bench.json) == 0 ? 0 : 1;
}
