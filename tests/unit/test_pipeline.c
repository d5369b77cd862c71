/*
 * test_pipeline.c - documents in, answers out: order, replacing, files, other
 * people's runtimes, everything that can be refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <hyperion/fiber.h>
#include <hyperion/pipeline.h>

#include "fail.h"
#include "hy_test.h"

/* Defaults but for the addresses: valgrind and emulators pay for each. */
static hy_pipeline_options small(void)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;

    o.reserve_bytes = (uint64_t)64 << 20;
    return o;
}

static hy_pipeline *open_at(const char *path, hy_runtime *rt)
{
    hy_pipeline_options o = small();
    hy_pipeline *p = NULL;

    o.path = path;
    HY_CHECK_EQ(hy_pipeline_open(&p, rt, &o), 0);
    return p;
}

static int ingest(hy_pipeline *p, uint64_t id, const char *text)
{
    return hy_pipeline_ingest(p, id, text, strlen(text), HY_FOREVER);
}

static uint64_t best(hy_pipeline *p, const char *words)
{
    hy_hit hit = {0, 0};
    size_t count = 0;

    HY_CHECK_EQ(
        hy_pipeline_query(p, words, strlen(words), 1, &hit, &count, HY_FOREVER),
        0);
    return count == 1 ? hit.id : 0;
}

static void check_text(hy_pipeline *p, uint64_t id, const char *text)
{
    char buffer[256];
    size_t bytes = sizeof(buffer) - 1;

    HY_CHECK_EQ(hy_pipeline_document(p, id, buffer, &bytes), 0);
    buffer[bytes] = '\0';
    HY_CHECK_STR(buffer, text);
}

static void file_name(char *out, size_t bytes)
{
    snprintf(out, bytes, "/tmp/hy-pipeline-%d", (int)getpid());
    unlink(out);
}

static void remove_file(const char *path)
{
    char log[300];

    snprintf(log, sizeof(log), "%s.log", path);
    unlink(log);
    unlink(path);
}

static void ingest_three(hy_pipeline *p)
{
    HY_CHECK_EQ(ingest(p, 1, "The otter swims in the cold river."), 0);
    HY_CHECK_EQ(ingest(p, 2, "A compiler turns source text into code."), 0);
    HY_CHECK_EQ(ingest(p, 3, "Bread rises because yeast makes gas."), 0);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
}

HY_TEST(pipeline, finds_the_document_that_shares_words)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;

    ingest_three(p);
    HY_CHECK_EQ(best(p, "yeast and bread"), 3);
    HY_CHECK_EQ(best(p, "river otter"), 1);
    HY_CHECK_EQ(best(p, "compiler"), 2);
    HY_CHECK_EQ(best(p, "zzyzx"), 0);
    HY_CHECK_EQ(best(p, ""), 0);
    check_text(p, 2, "A compiler turns source text into code.");
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.documents, 3);
    HY_CHECK_EQ(s.ingested, 3);
    HY_CHECK_EQ(s.waiting, 0);
    HY_CHECK_EQ(s.failed, 0);
    HY_CHECK_EQ(s.dim, 256);
    HY_CHECK(s.used_bytes > 0 && s.reserved_bytes > s.used_bytes);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

/* Thousands of words share 256 buckets; a hit must share a word all the same.
 */
HY_TEST(pipeline, a_collision_is_no_hit)
{
#ifdef HY_TEST_PLAIN /* emulators and sanitizers are slow */
    enum { QUERIES = 40 };
#else
    enum { QUERIES = 300 };
#endif
    hy_pipeline *p = open_at(NULL, NULL);
    char text[64];

    for (uint64_t i = 1; i <= 3000; i++) {
        snprintf(text, sizeof(text), "alpha%d beta%d common", (int)i,
                 (int)i * 7);
        HY_CHECK_EQ(ingest(p, i, text), 0);
    }
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    for (uint64_t i = 1; i <= QUERIES; i++) {
        snprintf(text, sizeof(text), "missing%d", (int)i);
        HY_CHECK_EQ(best(p, text), 0);
        snprintf(text, sizeof(text), "common beta%d", (int)i * 70);
        HY_CHECK_EQ(best(p, text), i * 10);
    }
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, replaces_and_removes_in_order)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    char text[64];
    size_t none = 0;

    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "version number%d", i);
        HY_CHECK_EQ(ingest(p, (uint64_t)i % 7, text), 0);
    }
    HY_CHECK_EQ(hy_pipeline_remove(p, 6, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_remove(p, 99, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    check_text(p, 1999 % 7, "version number1999");
    check_text(p, 1998 % 7, "version number1998");
    HY_CHECK_EQ(hy_pipeline_document(p, 6, NULL, &none), -ENOENT);
    HY_CHECK_EQ(best(p, "number1995"), 0);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.documents, 6);
    HY_CHECK_EQ(s.text_bytes, 6 * strlen("version number1999"));
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, keeps_text_and_label_as_they_came)
{
    hy_pipeline *p = open_at(NULL, NULL);
    static const char text[] = "nul \0 and \xff bad bytes\n";
    hy_document d = {sizeof(d), 5, text, sizeof(text) - 1, "file\t12", 7};
    char buffer[64];
    size_t bytes = 3;

    HY_CHECK_EQ(hy_pipeline_ingest_document(p, &d, HY_FOREVER), 0);
    d = (hy_document){sizeof(d), 6, NULL, 0, NULL, 0};
    HY_CHECK_EQ(hy_pipeline_ingest_document(p, &d, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_document(p, 5, buffer, &bytes), -ENOBUFS);
    HY_CHECK_EQ(bytes, sizeof(text) - 1);
    HY_CHECK_EQ(hy_pipeline_document(p, 5, buffer, &bytes), 0);
    HY_CHECK(memcmp(buffer, text, bytes) == 0);
    bytes = sizeof(buffer);
    HY_CHECK_EQ(hy_pipeline_label(p, 5, buffer, &bytes), 0);
    HY_CHECK(bytes == 7 && memcmp(buffer, "file\t12", 7) == 0);
    bytes = 0;
    HY_CHECK_EQ(hy_pipeline_document(p, 6, NULL, &bytes), 0);
    HY_CHECK_EQ(bytes, 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, a_file_keeps_what_was_flushed)
{
    char path[200];
    hy_pipeline *p;
    hy_pipeline_options o = small();

    file_name(path, sizeof(path));
    o.path = path;
    o.flags = HY_PIPELINE_EXISTING;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -ENOENT);
    p = open_at(path, NULL);
    ingest_three(p);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    o.dim = 64;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -EEXIST);
    o.dim = 0;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    HY_CHECK_EQ(best(p, "yeast"), 3);
    check_text(p, 1, "The otter swims in the cold river.");
    HY_CHECK_EQ(ingest(p, 4, "A lighthouse warns ships at night."), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    p = open_at(path, NULL);
    HY_CHECK_EQ(best(p, "lighthouse"), 4);
    HY_CHECK_EQ(best(p, "compiler"), 2);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

HY_TEST(pipeline, a_store_knows_its_number_of_components)
{
    hy_pipeline_options o = small();
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    hy_pipeline *p = NULL;
    char path[200];

    file_name(path, sizeof(path));
    o.path = path;
    o.dim = 96;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    ingest_three(p);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    p = open_at(path, NULL);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.dim, 96);
    HY_CHECK_EQ(best(p, "otter"), 1);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

static void keep_line(void *ctx, int level, const char *message)
{
    (void)level;
    snprintf(ctx, 512, "%s", message);
}

HY_TEST(pipeline, a_store_reserves_what_was_asked)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    hy_pipeline *p = NULL;
    char path[200], line[512] = "";

    file_name(path, sizeof(path));
    o.path = path;
    o.report = (hy_report){keep_line, line};
    o.reserve_bytes = 4096;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -EINVAL);
    HY_CHECK(p == NULL && access(path, F_OK) != 0);
    HY_CHECK(strstr(line, "reserve_bytes of 4096 is too small") != NULL);
    line[0] = '\0';
    o.reserve_bytes = (uint64_t)24 << 20;
    for (int turn = 0; turn < 2; turn++) { /* new, and there already */
        HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
        HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
        HY_CHECK_EQ(s.reserved_bytes, o.reserve_bytes);
        ingest_three(p);
        HY_CHECK_EQ(hy_pipeline_close(p), 0);
    }
    HY_CHECK_STR(line, "");
    o.reserve_bytes *= 2;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.reserved_bytes, (uint64_t)24 << 20);
    HY_CHECK(strstr(line, "which it keeps") != NULL);
    HY_CHECK_EQ(best(p, "yeast"), 3);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

HY_TEST(pipeline, a_full_store_is_told_and_keeps_what_it_has)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline *p = NULL;
    static char text[1 << 20];
    uint64_t id = 9;
    int r;

    o.reserve_bytes = (uint64_t)12 << 20;
    memset(text, 'x', sizeof(text));
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    ingest_three(p);
    do {
        HY_CHECK(id < 40);
        HY_CHECK_EQ(hy_pipeline_ingest(p, id++, text, sizeof(text), HY_FOREVER),
                    0);
        r = hy_pipeline_flush(p, HY_FOREVER);
    } while (r == 0);
    HY_CHECK_EQ(r, -ENOMEM);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0); /* told once */
    HY_CHECK_EQ(best(p, "yeast"), 3);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, what_is_removed_makes_room_at_once)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline *p = NULL;
    static char text[1 << 20];
    uint64_t id = 0;
    int r;

    o.reserve_bytes = (uint64_t)12 << 20;
    o.lanes = 1; /* keeps the order of different ids */
    memset(text, 'x', sizeof(text));
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    do {
        HY_CHECK(id < 40);
        HY_CHECK_EQ(hy_pipeline_ingest(p, id++, text, sizeof(text), HY_FOREVER),
                    0);
        r = hy_pipeline_flush(p, HY_FOREVER);
    } while (r == 0);
    HY_CHECK_EQ(r, -ENOMEM);
    for (uint64_t old = 0; old < 3; old++) {
        HY_CHECK_EQ(hy_pipeline_remove(p, old, HY_FOREVER), 0);
        HY_CHECK_EQ(
            hy_pipeline_ingest(p, 100 + old, text, sizeof(text), HY_FOREVER),
            0);
    }
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, an_empty_file_becomes_a_store)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline *p = NULL;
    char path[200];

    file_name(path, sizeof(path));
    fclose(fopen(path, "w"));
    o.path = path;
    o.reserve_bytes = (uint64_t)24 << 20;
    o.flags = HY_PIPELINE_EXISTING;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -EBADMSG);
    o.flags = 0; /* nor is the number of components told */
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), 0);
    ingest_three(p);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

#ifndef HY_TEST_PLAIN /* emulators and sanitizers pay for each address */
HY_TEST(pipeline, without_a_wish_a_quarter_terabyte_is_reserved)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    hy_pipeline *p = NULL;

    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, NULL), 0);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK(s.reserved_bytes == (uint64_t)1 << 38);
    ingest_three(p);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}
#endif

/* A program with no standard files: what is printed must not reach the store,
 * nor the store what reads questions. */
static void open_without_standard_files(void *path)
{
    hy_pipeline *p;

    for (int fd = 0; fd < 3; fd++)
        close(fd);
    p = open_at(path, NULL);
    ingest(p, 1, "The otter swims.");
    for (int fd = 0; fd < 3; fd++) {
        struct stat file, s;

        if (fstat(fd, &file) == 0 && stat(path, &s) == 0 &&
            file.st_dev == s.st_dev && file.st_ino == s.st_ino)
            _exit(7);
    }
    _exit(hy_pipeline_close(p) != 0);
}

HY_TEST(pipeline, a_store_is_never_a_standard_file)
{
    char path[200];

    file_name(path, sizeof(path));
    for (int turn = 0; turn < 2; turn++) { /* new, and there already */
        int status = hy_test_child(open_without_standard_files, path);

        HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    remove_file(path);
}

/* Flushes three documents, takes in more, and is killed. */
static void be_killed(void *path)
{
    hy_pipeline *p = open_at(path, NULL);

    ingest_three(p);
    for (uint64_t id = 10; id < 500; id++)
        ingest(p, id, "A document that nobody waited for.");
    kill(getpid(), SIGKILL);
}

HY_TEST(pipeline, kill_loses_nothing_that_was_flushed)
{
    char path[200];
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    hy_pipeline *p;
    int status;

    file_name(path, sizeof(path));
    status = hy_test_child(be_killed, path);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    p = open_at(path, NULL);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.documents, 3);
    HY_CHECK_EQ(best(p, "otter"), 1);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

HY_TEST(pipeline, what_is_no_store_is_refused_and_left_alone)
{
    hy_pipeline_options o = small();
    hy_pipeline *p = NULL;
    char path[200], text[64] = "";
    FILE *f;

    file_name(path, sizeof(path));
    f = fopen(path, "w");
    fputs("dear diary\n", f);
    fclose(f);
    o.path = path;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -EBADMSG);
    o.path = "/proc";
    HY_CHECK(hy_pipeline_open(&p, NULL, &o) < 0);
    o.path = "/nonexistent/folder/store";
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -ENOENT);
    HY_CHECK(p == NULL);
    f = fopen(path, "r");
    HY_CHECK(fgets(text, sizeof(text), f) != NULL);
    fclose(f);
    HY_CHECK_STR(text, "dear diary\n");
    remove_file(path);
}

HY_TEST(pipeline, wrong_arguments_are_refused)
{
    hy_pipeline_options o = small();
    hy_pipeline *p = open_at(NULL, NULL);
    hy_pipeline *none = NULL;
    hy_document d = {sizeof(d), 1, "a", 1, NULL, 0};
    hy_hit hit;
    size_t count;

    HY_CHECK_EQ(hy_pipeline_open(NULL, NULL, &o), -EINVAL);
    o.dim = HY_INDEX_DIM_MAX + 1;
    HY_CHECK_EQ(hy_pipeline_open(&none, NULL, &o), -EINVAL);
    o.dim = 0;
    o.flags = 0x80;
    HY_CHECK_EQ(hy_pipeline_open(&none, NULL, &o), -EINVAL);
    o.size = 0;
    HY_CHECK_EQ(hy_pipeline_open(&none, NULL, &o), -EINVAL);
    HY_CHECK_EQ(hy_pipeline_ingest(NULL, 1, "a", 1, HY_FOREVER), -EINVAL);
    HY_CHECK_EQ(hy_pipeline_ingest(p, 1, NULL, 1, HY_FOREVER), -EINVAL);
    HY_CHECK_EQ(
        hy_pipeline_ingest(p, 1, "a", HY_PIPELINE_TEXT_MAX + 1, HY_FOREVER),
        -EMSGSIZE);
    HY_CHECK_EQ(hy_pipeline_ingest_document(p, NULL, HY_FOREVER), -EINVAL);
    d.label_bytes = 3;
    HY_CHECK_EQ(hy_pipeline_ingest_document(p, &d, HY_FOREVER), -EINVAL);
    HY_CHECK_EQ(hy_pipeline_query(p, NULL, 1, 1, &hit, &count, HY_FOREVER),
                -EINVAL);
    HY_CHECK_EQ(hy_pipeline_query(p, "a", 1, 1, NULL, &count, HY_FOREVER),
                -EINVAL);
    HY_CHECK_EQ(hy_pipeline_document(p, 1, NULL, NULL), -EINVAL);
    HY_CHECK_EQ(hy_pipeline_flush(NULL, HY_FOREVER), -EINVAL);
    HY_CHECK_EQ(hy_pipeline_close(NULL), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

struct by_fiber {
    hy_pipeline *p;
    int result;
    uint64_t found;
};

static void use_from_fiber(void *arg)
{
    struct by_fiber *job = arg;

    job->result = ingest(job->p, 8, "The comet returns each century.");
    if (job->result == 0)
        job->result = hy_pipeline_flush(job->p, HY_FOREVER);
    job->found = best(job->p, "comet");
    if (job->result == 0)
        job->result = hy_pipeline_close(job->p);
}

HY_TEST(pipeline, works_inside_somebody_elses_runtime)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    hy_runtime *rt = NULL;
    struct by_fiber job = {NULL, -1, 0};

    o.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    job.p = open_at(NULL, rt);
    HY_CHECK_EQ(hy_fiber_spawn(rt, use_from_fiber, &job, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(job.result, 0);
    HY_CHECK_EQ(job.found, 8);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

HY_TEST(pipeline, a_full_queue_times_out)
{
    hy_runtime_options ro = HY_RUNTIME_OPTIONS_INIT;
    hy_pipeline_options o = small();
    hy_runtime *rt = NULL;
    hy_pipeline *p = NULL;
    int r = 0, accepted = 0;

    ro.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &ro), 0);
    o.queue_capacity = 4;
    o.lanes = 1;
    HY_CHECK_EQ(hy_pipeline_open(&p, rt, &o), 0);
    /* Nobody runs the runtime yet, so nothing leaves the queue. */
    while ((r = hy_pipeline_ingest(p, 1, "x", 1, hy_after(2000000))) == 0)
        accepted++;
    HY_CHECK_EQ(r, -ETIMEDOUT);
    HY_CHECK(accepted >= 4);
    HY_CHECK_EQ(hy_pipeline_flush(p, hy_after(2000000)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

enum { WRITERS = 3, EACH = 400 };

static void *write_many(void *arg)
{
    struct by_fiber *job = arg;
    char text[64];

    for (uint64_t i = 0; job->result == 0 && i < EACH; i++) {
        snprintf(text, sizeof(text), "thread%d item%d", (int)job->found,
                 (int)i);
        job->result = ingest(job->p, job->found * 10000 + i, text);
    }
    return NULL;
}

HY_TEST(pipeline, many_threads_may_bring_documents)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    struct by_fiber jobs[WRITERS];
    pthread_t threads[WRITERS];

    for (int i = 0; i < WRITERS; i++) {
        jobs[i] = (struct by_fiber){p, 0, (uint64_t)i + 1};
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, write_many, &jobs[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        HY_CHECK_EQ(jobs[i].result, 0);
    }
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.documents, WRITERS * EACH);
    HY_CHECK_EQ(best(p, "thread2 item399"), 20399);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline, a_failing_disk_is_told_and_loses_nothing)
{
    char path[200];
    hy_pipeline *p;

    file_name(path, sizeof(path));
    p = open_at(path, NULL);
    ingest_three(p);
    HY_CHECK_EQ(ingest(p, 4, "A lighthouse warns ships at night."), 0);
    hy_fail_from(HY_FAIL_PWRITE, 1, ENOSPC);
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), -ENOSPC);
    HY_CHECK(hy_fail_hits() > 0);
    hy_fail_none();
    HY_CHECK_EQ(best(p, "lighthouse"), 4);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    p = open_at(path, NULL);
    HY_CHECK_EQ(best(p, "lighthouse"), 4);
    HY_CHECK_EQ(best(p, "otter"), 1);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    remove_file(path);
}

HY_TEST(pipeline, no_memory_is_told)
{
    hy_pipeline_options o = small();
    hy_pipeline *p = NULL;

    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -ENOMEM);
    hy_fail_none();
    p = open_at(NULL, NULL);
    hy_fail_from(HY_FAIL_MALLOC, 1, ENOMEM); /* another thread may ask too */
    HY_CHECK_EQ(ingest(p, 1, "lost"), -ENOMEM);
    HY_CHECK(hy_fail_hits() >= 1);
    hy_fail_none();
    HY_CHECK_EQ(ingest(p, 1, "kept"), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

static void cancel_and_close(void *arg)
{
    struct by_fiber *job = arg;

    for (uint64_t id = 0; id < 50 && job->result == 0; id++)
        job->result = ingest(job->p, id, "The comet returns each century.");
    HY_CHECK_EQ(hy_fiber_cancel(hy_fiber_self()), 0);
    HY_CHECK_EQ(hy_pipeline_close(job->p), -ECANCELED);
}

HY_TEST(pipeline, a_cancelled_fiber_closes_it_whole)
{
    hy_runtime_options o = HY_RUNTIME_OPTIONS_INIT;
    struct by_fiber job = {NULL, 0, 0};
    hy_runtime *rt = NULL;
    char path[200];

    file_name(path, sizeof(path));
    o.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &o), 0);
    job.p = open_at(path, rt);
    HY_CHECK_EQ(hy_fiber_spawn(rt, cancel_and_close, &job, NULL, NULL), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
    HY_CHECK_EQ(job.result, 0);
    job.p = open_at(path, NULL);
    check_text(job.p, 49, "The comet returns each century.");
    HY_CHECK_EQ(hy_pipeline_close(job.p), 0);
    remove_file(path);
}

static void *ingest_until_stopped(void *arg)
{
    struct by_fiber *job = arg;

    while (job->result == 0)
        job->result = ingest(job->p, 1, "x");
    return NULL;
}

HY_TEST(pipeline, a_stop_frees_who_waits_for_room)
{
    hy_runtime_options ro = HY_RUNTIME_OPTIONS_INIT;
    hy_pipeline_options o = small();
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    struct by_fiber job = {NULL, 0, 0};
    hy_runtime *rt = NULL;
    pthread_t thread;
    int r;

    ro.workers = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &ro), 0);
    o.queue_capacity = 4;
    o.lanes = 1;
    HY_CHECK_EQ(hy_pipeline_open(&job.p, rt, &o), 0);
    HY_CHECK_EQ(pthread_create(&thread, NULL, ingest_until_stopped, &job), 0);
    /* Who looks on does not wait for who waits for room. */
    do
        HY_CHECK_EQ(hy_pipeline_stats_get(job.p, &s), 0);
    while (s.waiting < 4);
    HY_CHECK_EQ(hy_pipeline_flush(job.p, hy_after(2000000)), -ETIMEDOUT);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_run(rt), -ECANCELED);
    pthread_join(thread, NULL);
    HY_CHECK_EQ(job.result, -ECANCELED);
    HY_CHECK_EQ(ingest(job.p, 2, "y"), -ECANCELED);
    r = hy_pipeline_close(job.p); /* did the queue get through? */
    HY_CHECK(r == 0 || r == -ECANCELED);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}

static void count_warnings(void *ctx, int level, const char *message)
{
    if (level == HY_REPORT_WARNING && strstr(message, "1 of 3 lanes") != NULL)
        ++*(int *)ctx;
}

HY_TEST(pipeline, a_runtime_with_little_room_gives_fewer_lanes)
{
    hy_runtime_options ro = HY_RUNTIME_OPTIONS_INIT;
    hy_pipeline_options o = small();
    hy_runtime *rt = NULL;
    hy_pipeline *p = NULL, *none = NULL;
    int warnings = 0;

    ro.workers = 1;
    ro.fibers_max = 1;
    HY_CHECK_EQ(hy_runtime_init(&rt, &ro), 0);
    o.lanes = 3;
    o.report = (hy_report){count_warnings, &warnings};
    /* Nobody runs it yet: a failure here could wait for no fiber. */
    HY_CHECK_EQ(hy_pipeline_open(&p, rt, &o), 0);
    HY_CHECK_EQ(warnings, 1);
    HY_CHECK(hy_pipeline_ring(p, 0) != NULL && hy_pipeline_ring(p, 1) == NULL);
    HY_CHECK(hy_pipeline_open(&none, rt, &o) < 0);
    HY_CHECK_EQ(hy_runtime_start(rt), 0);
    ingest_three(p);
    HY_CHECK_EQ(best(p, "yeast"), 3);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    HY_CHECK_EQ(hy_runtime_stop(rt), 0);
    HY_CHECK_EQ(hy_runtime_wait(rt, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_runtime_destroy(rt), 0);
}
