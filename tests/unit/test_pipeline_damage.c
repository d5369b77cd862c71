/*
 * test_pipeline_damage.c - a store whose bytes have changed under us: opening
 * it, asking, reading, writing must end in an answer or an error, never in a
 * crash or without end.
 *
 *      a store -> its bytes that are not zero -> a few of them changed, in the
 *                 file or, with sums that are right, in the memory it holds
 *              -> open, ask, read, replace, remove, close
 *
 * What is changed is drawn from a fixed seed, so a failure can be repeated;
 * HY_DAMAGE_ROUNDS=n makes n rounds of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <hyperion/pager.h>
#include <hyperion/pipeline.h>

#include "hy_test.h"

enum {
    RESERVE = 16 << 20, /* valgrind and emulators pay for each address */
    DOCUMENTS = 40,
    ROUNDS = 30,
    PLACES_MAX = 1 << 20,
    CHANGES_MAX = 4,
    PAGES_MAX = 4096,
    HOME = 16 * 4096 /* where the file has the memory's first byte */
};

struct store {
    char path[200];
    uint64_t *places; /* offsets of the file's bytes that are not zero */
    size_t count;
    size_t pages[PAGES_MAX + 1]; /* where each page's places begin */
    size_t page_count;
};

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static int open_store(hy_pipeline **p, const char *path, size_t dim)
{
    hy_pipeline_options o = HY_PIPELINE_OPTIONS_INIT;

    o.path = path;
    o.dim = dim;
    o.lanes = 1;
    o.reserve_bytes = RESERVE;
    return hy_pipeline_open(p, NULL, &o);
}

static int put(hy_pipeline *p, uint64_t id)
{
    char text[160];
    int length = snprintf(text, sizeof(text),
                          "Document number%d tells of subject%d, at length.",
                          (int)id, (int)(id % 5));

    return hy_pipeline_ingest(p, id, text, (size_t)length, HY_FOREVER);
}

static void add_place(struct store *store, uint64_t at)
{
    size_t n = store->count;

    if (n == PLACES_MAX || store->page_count == PAGES_MAX)
        return;
    if (n == 0 || store->places[n - 1] / 4096 != at / 4096)
        store->pages[store->page_count++] = n;
    store->places[store->count++] = at;
    store->pages[store->page_count] = store->count;
}

/* Each page is as likely as any other: most bytes are texts and vectors, most
 * of what could lead astray is elsewhere. */
static uint64_t draw_place(const struct store *store, uint64_t *seed)
{
    const size_t *page = &store->pages[draw(seed) % store->page_count];

    uint64_t place = store->places[page[0] + draw(seed) % (page[1] - page[0])];

    return place / 8 * 8 + draw(seed) % 8; /* numbers have zero bytes */
}

static void find_places(struct store *store, int fd)
{
    static char block[65536];
    off_t at = 0;

    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        ssize_t n = pread(fd, block, sizeof(block), at);

        for (ssize_t i = 0; i < n; i++)
            if (block[i] != 0)
                add_place(store, (uint64_t)(at + i));
        at += sizeof(block);
    }
}

static void make_store(struct store *store)
{
    hy_pipeline *p = NULL;
    int fd;

    snprintf(store->path, sizeof(store->path), "/tmp/hy-damage-%d",
             (int)getpid());
    unlink(store->path);
    HY_CHECK_EQ(open_store(&p, store->path, 16), 0);
    for (uint64_t id = 0; id < DOCUMENTS; id++)
        HY_CHECK_EQ(put(p, id), 0);
    for (uint64_t id = 0; id < DOCUMENTS; id += 7)
        HY_CHECK_EQ(hy_pipeline_remove(p, id, HY_FOREVER), 0);
    HY_CHECK_EQ(hy_pipeline_close(p), 0);
    store->places = malloc(PLACES_MAX * sizeof(*store->places));
    fd = open(store->path, O_RDONLY);
    find_places(store, fd);
    close(fd);
    HY_CHECK(store->count > 1000);
}

/* In a process of its own, so that a crash is one failed round. */
static void use(void *path)
{
    hy_pipeline *p = NULL;
    hy_hit hits[DOCUMENTS];
    char text[256];
    size_t count;

    alarm(60);
    if (open_store(&p, path, 0) != 0)
        _exit(0);
    hy_pipeline_query(p, "subject3 document", 17, DOCUMENTS, hits, &count,
                      HY_FOREVER);
    for (uint64_t id = 0; id < DOCUMENTS; id++) {
        size_t bytes = sizeof(text);

        hy_pipeline_document(p, id, text, &bytes);
        bytes = sizeof(text);
        hy_pipeline_label(p, id, text, &bytes);
    }
    for (uint64_t id = 0; id < 2 * DOCUMENTS; id++)
        put(p, id);
    for (uint64_t id = 0; id < 2 * DOCUMENTS; id += 3)
        hy_pipeline_remove(p, id, HY_FOREVER);
    hy_pipeline_flush(p, HY_FOREVER);
    hy_pipeline_query(p, "subject3 document", 17, DOCUMENTS, hits, &count,
                      HY_FOREVER);
    hy_pipeline_close(p);
    _exit(0);
}

/* Holes stay holes. */
static void copy(const struct store *store, const char *path)
{
    static char block[65536];
    int from = open(store->path, O_RDONLY);
    int to = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct stat s;
    off_t at = 0;

    HY_CHECK(fstat(from, &s) == 0 && ftruncate(to, s.st_size) == 0);
    while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
        ssize_t n = pread(from, block, sizeof(block), at);

        HY_CHECK(n > 0 && pwrite(to, block, (size_t)n, at) == n);
        at += n;
    }
    close(from);
    close(to);
}

static unsigned char change(unsigned char byte, uint64_t *seed)
{
    unsigned how = (unsigned)draw(seed);

    return byte ^ (unsigned char)(how % 2 ? 1u << how / 2 % 8 : how / 2);
}

static void damage_file(const struct store *store, const char *path,
                        uint64_t *seed)
{
    int fd = open(path, O_RDWR);

    for (unsigned n = 1 + (unsigned)draw(seed) % CHANGES_MAX; n != 0; n--) {
        off_t at = (off_t)draw_place(store, seed);
        unsigned char byte;

        HY_CHECK(pread(fd, &byte, 1, at) == 1);
        byte = change(byte, seed);
        HY_CHECK(pwrite(fd, &byte, 1, at) == 1);
    }
    close(fd);
}

static void damage_memory(const struct store *store, const char *path,
                          uint64_t *seed)
{
    hy_pager_options o = HY_PAGER_OPTIONS_INIT;
    hy_pager *pager = NULL;
    unsigned char *base;

    o.path = path;
    HY_CHECK_EQ(hy_pager_reserve(&pager, 0, &o), 0);
    base = hy_pager_base(pager);
    for (unsigned n = 1 + (unsigned)draw(seed) % CHANGES_MAX; n != 0;) {
        uint64_t at = draw_place(store, seed) - HOME;

        if (at >= hy_pager_bytes(pager))
            continue; /* the file's own */
        base[at] = change(base[at], seed);
        n--;
    }
    HY_CHECK_EQ(hy_pager_checkpoint(pager), 0);
    hy_pager_release(pager);
}

HY_TEST(pipeline_damage, changed_bytes_never_end_the_process)
{
    const char *wanted = getenv("HY_DAMAGE_ROUNDS");
    int rounds = wanted != NULL ? atoi(wanted) : ROUNDS;
    static struct store store;
    uint64_t seed = 20;
    char path[220];

    make_store(&store);
    snprintf(path, sizeof(path), "%s-changed", store.path);
    for (int i = 0; i < rounds; i++) {
        uint64_t before = seed;
        int status;

        copy(&store, path);
        if (i % 3 == 0)
            damage_file(&store, path, &seed);
        else
            damage_memory(&store, path, &seed);
        status = hy_test_child(use, path);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fprintf(stderr, "round %d, seed %llu: status %#x\n", i,
                    (unsigned long long)before, (unsigned)status);
        HY_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    unlink(path);
    unlink(store.path);
    free(store.places);
}
