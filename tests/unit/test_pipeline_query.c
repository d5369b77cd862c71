/*
 * test_pipeline_query.c - queries beside writers, deadlines, and what a word is
 * worth: the same after any history of the same documents.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include <hyperion/fiber.h>
#include <hyperion/pager.h>
#include <hyperion/pipeline.h>

#include "fail.h"
#include "hy_test.h"
#include "lane.h"

enum { RESERVE = 256 << 20 };

static hy_pipeline *open_at(const char *path, hy_runtime *rt)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    hy_pipeline *p = NULL;

    o.path = path;
    o.reserve_bytes = RESERVE;
    HY_CHECK_EQ(hy_pipeline_open(&p, rt, &o), 0);
    return p;
}

static void put(hy_pipeline *p, uint64_t id, const char *text)
{
    HY_CHECK_EQ(hy_pipeline_ingest(p, id, text, strlen(text), HY_FOREVER), 0);
}

static void flush(hy_pipeline *p)
{
    HY_CHECK_EQ(hy_pipeline_flush(p, HY_FOREVER), 0);
}

static int ask(hy_pipeline *p, const char *words, hy_hit *hits, size_t *count)
{
    return hy_pipeline_query(p, words, strlen(words), 10, hits, count,
                             HY_FOREVER);
}

/* --- what a word is worth --------------------------------------------------
 */

struct scores {
    hy_hit hits[10];
    size_t count;
};

static struct scores score(hy_pipeline *p)
{
    struct scores s;

    memset(&s, 0, sizeof(s));
    HY_CHECK_EQ(ask(p, "Rivers where otters swim at night", s.hits, &s.count),
                0);
    return s;
}

static void check_same(const struct scores *a, const struct scores *b)
{
    HY_CHECK_EQ(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        HY_CHECK_EQ(a->hits[i].id, b->hits[i].id);
        HY_CHECK(a->hits[i].score == b->hits[i].score);
    }
}

static void put_river_bank(hy_pipeline *p)
{
    put(p, 1, "The otter swims in the cold river.");
    put(p, 2, "Bats fly at night, near the river.");
    put(p, 3, "Night falls. Nobody swims by night.");
    put(p, 4, "Bread rises because yeast makes gas.");
}

static void put_and_lose_others(hy_pipeline *p)
{
    for (uint64_t id = 100; id < 200; id++)
        put(p, id, "An otter, an otter! A river of otters.");
    for (uint64_t id = 100; id < 200; id++)
        put(p, id, id % 2 != 0 ? "Nothing of the kind." : "");
    put(p, 2, "Rivers, nights, otters.");
    put(p, 2, "Bats fly at night, near the river.");
    for (uint64_t id = 100; id < 200; id++)
        HY_CHECK_EQ(hy_pipeline_remove(p, id, HY_FOREVER), 0);
}

HY_TEST(pipeline_query, a_score_depends_on_what_is_there_alone)
{
    char path[200], log[210];
    hy_pipeline *p;
    struct scores first, later;

    snprintf(path, sizeof(path), "/tmp/hy-query-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    unlink(path);
    p = open_at(path, NULL);
    put_river_bank(p);
    flush(p);
    first = score(p);
    HY_CHECK_EQ(first.count, 3);
    HY_CHECK_EQ(first.hits[0].id, 1);
    put_and_lose_others(p);
    flush(p);
    later = score(p);
    check_same(&first, &later);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    p = open_at(path, NULL);
    later = score(p);
    check_same(&first, &later);
    put(p, 5, "Otters again, at night.");
    flush(p);
    later = score(p);
    HY_CHECK(later.hits[0].score != first.hits[0].score);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    unlink(path);
    unlink(log);
}

/* Among all that the index proposes both words are as rare. */
HY_TEST(pipeline_query, rare_is_what_few_of_all_documents_have)
{
    hy_pipeline *p = open_at(NULL, NULL);
    struct scores s;
    char text[64];

    for (uint64_t id = 10; id < 3000; id++) {
        snprintf(text, sizeof(text), "plain and thing%d", (int)id);
        put(p, id, text);
    }
    put(p, 1, "plain otter");
    put(p, 2, "otter thing10");
    flush(p);
    HY_CHECK_EQ(ask(p, "plain thing10", s.hits, &s.count), 0);
    HY_CHECK_EQ(s.count, 10);
    HY_CHECK_EQ(s.hits[0].id, 10);
    HY_CHECK_EQ(s.hits[1].id, 2);
    HY_CHECK(s.hits[1].score > 3 * s.hits[2].score);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline_query, a_question_may_be_long)
{
    hy_pipeline *p = open_at(NULL, NULL);
    char *text = malloc(400000);
    size_t at = 0, count = 0;
    hy_hit hits[10];

    for (int i = 0; at < 390000; i++)
        at += (size_t)sprintf(text + at, "word%d ", i);
    put(p, 7, text);
    put(p, 8, "word3 and word5");
    flush(p);
    HY_CHECK_EQ(ask(p, text, hits, &count), 0);
    HY_CHECK_EQ(count, 2);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    free(text);
}

/* --- deadlines -------------------------------------------------------------
 */

HY_TEST(pipeline_query, a_deadline_that_has_passed_is_told)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_hit hit = {99, 0};
    size_t count = 99;

    put_river_bank(p);
    flush(p);
    HY_CHECK_EQ(hy_pipeline_query(p, "otter", 5, 1, &hit, &count, hy_now()),
                -ETIMEDOUT);
    HY_CHECK(count == 99 && hit.id == 99);
    HY_CHECK_EQ(hy_pipeline_query(p, "otter", 5, 1, &hit, &count,
                                  hy_after(60000000000u)),
                0);
    HY_CHECK(count == 1 && hit.id == 1);
    HY_CHECK_EQ(hy_pipeline_query(p, "otter", 5, 1, &hit, &count, HY_NOW), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline_query, who_holds_the_lock_makes_no_query_wait)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_hit hits[10];
    size_t count = 0;

    put_river_bank(p);
    flush(p);
    HY_CHECK_EQ(hy_mutex_lock(&p->library_lock, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_query(p, "otter", 5, 10, hits, &count,
                                  hy_after(10000000000u)),
                0);
    HY_CHECK_EQ(count, 1);
    HY_CHECK_EQ(hy_mutex_unlock(&p->library_lock), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

HY_TEST(pipeline_query, want_of_memory_is_told)
{
    hy_pipeline *p = open_at(NULL, NULL);
    hy_hit hits[10];
    size_t count = 99;

    put_river_bank(p);
    flush(p);
    for (unsigned n = 1; n <= 4; n++) {
        hy_fail_from(HY_FAIL_MALLOC, n, ENOMEM);
        HY_CHECK_EQ(ask(p, "otter", hits, &count), -ENOMEM);
        HY_CHECK(hy_fail_hits() > 0 && count == 99);
        hy_fail_none();
    }
    hy_fail_at(HY_FAIL_CALLOC, 1, ENOMEM);
    HY_CHECK_EQ(ask(p, "otter", hits, &count), -ENOMEM);
    hy_fail_none();
    HY_CHECK_EQ(ask(p, "otter", hits, &count), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

struct job {
    hy_pipeline *p;
    int result;
};

static void ask_cancelled(void *arg)
{
    struct job *job = arg;
    hy_hit hits[10];
    size_t count;

    hy_fiber_cancel(hy_fiber_self());
    job->result = ask(job->p, "otter", hits, &count);
}

HY_TEST(pipeline_query, a_cancelled_fiber_is_told)
{
    hy_pipeline *p = open_at(NULL, NULL);
    struct job job = {p, 0};
    hy_fiber fiber;

    put_river_bank(p);
    flush(p);
    HY_CHECK_EQ(hy_fiber_spawn(hy_pipeline_runtime(p), ask_cancelled, &job,
                               NULL, &fiber),
                0);
    HY_CHECK_EQ(hy_fiber_join(fiber, HY_FOREVER), 0);
    HY_CHECK_EQ(job.result, -ECANCELED);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

/* --- beside writers --------------------------------------------------------
 */

enum { IDS = 40, QUERIES = 1500, ASKERS = 2, PAD = 600 };

struct beside {
    hy_pipeline *p;
    _Atomic unsigned running, wrong, found;
};

/* A document always has its own word, and others of varying length. */
static void put_version(hy_pipeline *p, uint64_t id, unsigned version)
{
    char text[PAD + 100];
    int at = snprintf(text, sizeof(text), "own%d ", (int)id);

    while (at < (int)(version % PAD))
        at += snprintf(text + at, sizeof(text) - (size_t)at, "filler%u ",
                       (version + (unsigned)at) % 97);
    put(p, id, text);
}

static void *ask_for_own_words(void *arg)
{
    struct beside *b = arg;
    char word[32];
    hy_hit hits[10];
    size_t count = 0;

    for (unsigned i = 0; i < QUERIES; i++) {
        uint64_t id = i % IDS;

        snprintf(word, sizeof(word), "own%d", (int)id);
        if (ask(b->p, word, hits, &count) != 0 || count > 1 ||
            (count == 1 && hits[0].id != id))
            atomic_fetch_add(&b->wrong, 1);
        if (count == 1)
            atomic_fetch_add(&b->found, 1);
        /* Those at the start are never removed, though replaced. */
        if (id < IDS / 2 && count != 1)
            atomic_fetch_add(&b->wrong, 1);
    }
    atomic_fetch_sub(&b->running, 1);
    return NULL;
}

HY_TEST(pipeline_query, a_hit_is_of_its_id_beside_writers)
{
    struct beside b = {open_at(NULL, NULL), ASKERS, 0, 0};
    pthread_t threads[ASKERS];

    for (uint64_t id = 0; id < IDS; id++)
        put_version(b.p, id, (unsigned)id);
    flush(b.p);
    for (int i = 0; i < ASKERS; i++)
        HY_CHECK_EQ(pthread_create(&threads[i], NULL, ask_for_own_words, &b),
                    0);
    for (unsigned n = 0; atomic_load(&b.running) != 0; n++) {
        uint64_t id = n * 7 % IDS;

        if (id >= IDS / 2 && n % 3 == 0)
            HY_CHECK_EQ(hy_pipeline_remove(b.p, id, HY_FOREVER), 0);
        else
            put_version(b.p, id, n * 31);
    }
    for (int i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    HY_CHECK_EQ(atomic_load(&b.wrong), 0);
    HY_CHECK(atomic_load(&b.found) > QUERIES / 2);
    HY_CHECK_EQ(hy_pipeline_close(b.p), 0);
}

/* --- the store -------------------------------------------------------------
 */

HY_TEST(pipeline_query, what_is_replaced_gives_its_room_back)
{
    static char text[65536];
    hy_pipeline *p = open_at(NULL, NULL);
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;

    memset(text, 'x', sizeof(text) - 1);
    for (unsigned i = 0; i < 1000; i++)
        put(p, i % 10, text);
    flush(p);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK_EQ(s.documents, 10);
    HY_CHECK(s.used_bytes < 16 << 20);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
}

/* Is killed while a query that never ends keeps what was replaced. */
static void be_killed(void *path)
{
    static char text[65536];
    hy_pipeline *p = open_at(path, NULL);

    memset(text, 'x', sizeof(text) - 1);
    for (uint64_t id = 0; id < 20; id++)
        put(p, id, text);
    flush(p);
    hy_index_pin(p->library.index);
    for (uint64_t id = 0; id < 20; id++)
        put(p, id, "short");
    flush(p);
    kill(getpid(), SIGKILL);
}

HY_TEST(pipeline_query, what_a_killed_query_kept_is_given_back)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    char path[200], log[210];
    uint64_t before;
    hy_pipeline *p;
    int status;

    snprintf(path, sizeof(path), "/tmp/hy-query-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    unlink(path);
    status = hy_test_child(be_killed, path);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    p = open_at(path, NULL);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    before = s.used_bytes;
    HY_CHECK_EQ(s.text_bytes, 20 * strlen("short"));
    flush(p);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK(s.used_bytes + 19 * 65536 < before);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    unlink(path);
    unlink(log);
}

/* Overwrites a word of the library's head, behind its magic number. */
static void change_head(const char *path, size_t word, uint64_t value)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    uint64_t *at;

    o.path = path;
    HY_CHECK_EQ(hy_pager_reserve(&pager, RESERVE, &o), 0);
    at = hy_pager_base(pager);
    for (size_t i = 0; i < RESERVE / 8 - 8; i++)
        if (at[i] == 0x736b6f6f62797248u) {
            at[i + word] = value;
            break;
        }
    HY_CHECK_EQ(hy_pager_checkpoint(pager), 0);
    hy_pager_release(pager);
}

static void keep_message(void *ctx, int level, const char *message)
{
    if (level == HY_REPORT_ERROR)
        snprintf(ctx, 200, "%s", message);
}

HY_TEST(pipeline_query, a_refused_opening_gives_nothing_back)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    char path[200], log[210];
    uint64_t before;
    hy_pipeline *p = NULL;
    int status;

    snprintf(path, sizeof(path), "/tmp/hy-query-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    unlink(path);
    status = hy_test_child(be_killed, path);
    HY_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    change_head(path, 1, 77);
    o.path = path;
    HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), -EEXIST);
    change_head(path, 1, 2); /* for whom it was made */
    p = open_at(path, NULL);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    before = s.used_bytes;
    flush(p);
    HY_CHECK_EQ(hy_pipeline_stats_get(p, &s), 0);
    HY_CHECK(s.used_bytes + 19 * 65536 < before);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    unlink(path);
    unlink(log);
}

HY_TEST(pipeline_query, a_store_of_another_version_is_refused)
{
    static const struct {
        size_t word;
        uint64_t value;
        int error;
        const char *says;
    } cases[] = {{1, 1, -EEXIST, "into a new store"},
                 {2, 77, -EEXIST, "into a new store"},
                 {0, 77, -EBADMSG, "holds no documents"},
                 {5, 64, -EBADMSG, "counts words"}};
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;
    char path[200], log[210], message[200];
    hy_pipeline *p = NULL;

    snprintf(path, sizeof(path), "/tmp/hy-query-%d", (int)getpid());
    snprintf(log, sizeof(log), "%s.log", path);
    o.path = path;
    o.report = (hy_report){keep_message, message};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unlink(path);
        p = open_at(path, NULL);
        put_river_bank(p);
        HY_CHECK_EQ(hy_pipeline_close(p), 0);
        change_head(path, cases[i].word, cases[i].value);
        p = NULL;
        message[0] = '\0';
        HY_CHECK_EQ(hy_pipeline_open(&p, NULL, &o), cases[i].error);
        HY_CHECK(p == NULL && strstr(message, cases[i].says) != NULL);
    }
    unlink(path);
    unlink(log);
}
