/*
 * 06_search_documents.c - hyperion-search: a folder of text in, answers out.
 *
 *      hyperion-search index PATH... --store FILE
 *      hyperion-search query --store FILE "words"
 *
 * It shows hy_pipeline at work: every paragraph goes through a ring to a fiber,
 * becomes a vector and is kept in paged memory on one file, which survives
 * restarts and kill -9. Without a PATH it indexes WordNet's glosses: describe a
 * thing, get the word. The files of search/ read documents and write results.
 */
#include <hyperion/hyperion.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "search/read_documents.h"
#include "search/show.h"

enum { HITS_DEFAULT = 10, HITS_MAX = 10000 };

/* What was indexed is durable this often: a checkpoint costs some 50 ms. */
static const uint64_t flush_ns = 3000000000u;

/* Debian's wordnet-base: 117,659 glosses. */
static char *const wordnet[] = {
    "/usr/share/wordnet/data.noun", "/usr/share/wordnet/data.verb",
    "/usr/share/wordnet/data.adj", "/usr/share/wordnet/data.adv"};
static const char store_default[] = "hyperion-search.store";

static const char usage[] =
    "usage: hyperion-search index [PATH...] [--store FILE]  text, folders, "
    ".gz\n"
    "       hyperion-search query [--store FILE] [-k N] [--json] \"words\"\n"
    "       hyperion-search repl  [--store FILE] [-k N] [--json]\n"
    "       hyperion-search forget PATH... [--store FILE]\n"
    "       hyperion-search stats [--store FILE] [--json]\n"
    "Without a PATH, index takes WordNet (Debian: wordnet-base).\n"
    "With --watch NAME, hyperion-top NAME shows it at work.\n"
    "Without --store, FILE is hyperion-search.store in this folder.\n";

struct request {
    const char *store;
    size_t hits;
    const char *watch; /* the name that hyperion-top finds it by; or NULL */
    bool json;
    char **words; /* paths, or the words of a query */
    int word_count;
};

/* A store while it is open, and who looks on. */
struct session {
    const struct request *request;
    hy_pipeline *pipeline;
    hy_monitor *monitor; /* NULL without --watch */
};

static int complain(const char *about, const char *what)
{
    show_progress_end();
    fputs("hyperion-search: ", stderr);
    show_text(stderr, about, strlen(about), 0); /* names may hold anything */
    fprintf(stderr, ": %s\n", what);
    return 1;
}

/* What an error means here, and what to do. */
static int complain_errno(const char *about, int error)
{
    static const struct {
        int error;
        const char *what;
    } table[] = {
        {-ENOENT, "there is no such file (for a store: run "
                  "hyperion-search index first)"},
        {-EBADMSG, "damaged, or not what it should be (for a store: name "
                   "another file, or delete it and index again)"},
        {-EEXIST, "made by another version of the program: index again into a "
                  "new store"},
        {-EBUSY, "in use by another process: wait until it has ended"},
        {-ENOSPC, "the disk is full: make room and run this again; what was "
                  "stored before is intact"},
        {-ENOMEM, "out of memory, or of addresses (see ulimit -v)"},
        {-EILSEQ, "looks binary, left out"},
        {-ENOTSUP, "built without zlib, left out"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (table[i].error == error)
            return complain(about, table[i].what);
    return complain(about, strerror(-error));
}

static void complain_of_path(const char *path, const char *what)
{
    complain(path, what);
}

/* Lets hyperion-top see the store's memory, the fibers and the queues. */
static void let_watch(struct session *session)
{
    hy_monitor_options options = HY_MONITOR_OPTIONS_INIT;
    hy_pipeline *p = session->pipeline;
    hy_monitor *m;
    hy_ring *ring;
    char name[16];
    int r;

    options.name = session->request->watch;
    r = hy_monitor_create(&session->monitor, &options);
    if (r != 0) {
        complain_errno(options.name, r);
        return;
    }
    m = session->monitor;
    hy_monitor_watch(m, HY_MONITOR_PIPELINE, p, "documents");
    hy_monitor_watch(m, HY_MONITOR_RUNTIME, hy_pipeline_runtime(p), "pipeline");
    hy_monitor_watch(m, HY_MONITOR_PAGER, hy_pipeline_pager(p), "store");
    for (unsigned i = 0; (ring = hy_pipeline_ring(p, i)) != NULL; i++) {
        snprintf(name, sizeof(name), "lane %u", i);
        hy_monitor_watch(m, HY_MONITOR_RING, ring, name);
    }
}

/* False when it could not be opened, which was complained of. */
static bool open_store(struct session *session, const struct request *request,
                       bool create)
{
    hy_pipeline_options options = HY_PIPELINE_OPTIONS_INIT;
    int r;

    *session = (struct session){request, NULL, NULL};
    options.path = request->store;
    options.flags = create ? 0 : HY_PIPELINE_EXISTING;
    r = hy_pipeline_open(&session->pipeline, NULL, &options);
    if (r != 0)
        return complain_errno(request->store, r), false;
    if (request->watch != NULL)
        let_watch(session);
    return true;
}

/* 0, or 1 after a complaint. */
static int close_store(struct session *session)
{
    int r;

    hy_monitor_destroy(session->monitor);
    r = hy_pipeline_close(session->pipeline);
    return r != 0 ? complain_errno(session->request->store, r) : 0;
}

/* --- indexing ----------------------------------------------------------------
 */

/* FNV-1a of the path; a file's documents have consecutive ids from there. */
static uint64_t first_id(const char *path)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *path != '\0'; path++)
        hash = (hash ^ (unsigned char)*path) * 0x100000001b3u;
    return hash;
}

/* Removes a file's documents from this id on, and counts them. From the end:
 * what an error leaves is still found from its first id. */
static int forget_from(hy_pipeline *p, uint64_t id, uint64_t *count)
{
    uint64_t end = id;
    size_t none = 0;
    int r;

    for (;; none = 0, end++) {
        r = hy_pipeline_document(p, end, NULL, &none);
        if (r != 0 && r != -ENOBUFS)
            break;
    }
    if (r != -ENOENT)
        return r;
    while (end != id) {
        r = hy_pipeline_remove(p, --end, HY_FOREVER);
        if (r != 0)
            return r;
        ++*count;
    }
    return 0;
}

struct progress {
    uint64_t bytes_total;  /* of all files, on disk */
    uint64_t bytes_before; /* of the files done */
    uint64_t documents, text_bytes;
    uint64_t forgotten; /* that the files had more of before */
    uint64_t next_flush;
    uint64_t next_show;
};

static int ingest(hy_pipeline *p, const char *path, uint64_t id,
                  const struct paragraph *paragraph, struct progress *progress)
{
    char label[4096 + 32];
    int length = snprintf(label, sizeof(label), "%s\t%llu", path,
                          (unsigned long long)paragraph->line);
    hy_document document = {sizeof(document), id,    paragraph->text,
                            paragraph->bytes, label, (size_t)length};
    int r = hy_pipeline_ingest_document(p, &document, HY_FOREVER);

    if (r != 0)
        return r;
    progress->documents++;
    progress->text_bytes += paragraph->bytes;
    if (hy_now() > progress->next_flush) {
        r = hy_pipeline_flush(p, HY_FOREVER);
        progress->next_flush = hy_after(flush_ns);
    }
    if (hy_now() > progress->next_show) {
        progress->next_show = hy_now() + 100000000;
        show_progress(progress->bytes_before + paragraph->file_bytes,
                      progress->bytes_total, progress->documents);
    }
    return r;
}

/* An error of the file is complained of; one of the store is returned. */
static int index_file(hy_pipeline *p, const char *path,
                      struct progress *progress)
{
    document_reader *reader;
    struct paragraph paragraph;
    uint64_t id = first_id(path);
    int r = document_reader_open(&reader, path), stored = 0;

    if (r == -EILSEQ) /* what it held when it was text is there no more */
        stored = forget_from(p, id, &progress->forgotten);
    if (r != 0) {
        complain_errno(path, r);
        return stored;
    }
    while ((r = document_reader_next(reader, &paragraph)) == 1) {
        stored = ingest(p, path, id++, &paragraph, progress);
        if (stored != 0)
            break;
    }
    document_reader_close(reader);
    if (r < 0)
        complain_errno(path, r);
    if (r != 0)
        return stored;
    return forget_from(p, id, &progress->forgotten);
}

/* Bytes that the store takes on disk; it has holes, so its size says little. */
static double disk_bytes(const struct request *request)
{
    struct stat st;

    return stat(request->store, &st) == 0 ? (double)st.st_blocks * 512 : 0;
}

static void show_summary(const struct request *request,
                         const hy_pipeline_stats *s,
                         const struct progress *progress, double seconds)
{
    double megabytes = (double)progress->text_bytes / 1e6;
    struct rusage usage;
    double each;

    getrusage(RUSAGE_SELF, &usage);
    each = s->documents != 0 ? disk_bytes(request) / (double)s->documents : 0;
    if (seconds <= 0)
        seconds = 1e-9;
    printf(request->json
               ? "{\"documents\":%llu,\"stored_documents\":%llu,"
                 "\"megabytes\":%.3f,\"seconds\":%.6f,"
                 "\"megabytes_per_second\":%.3f,\"documents_per_second\":%.1f,"
                 "\"bytes_per_document\":%.1f,\"isa\":\"%s\","
                 "\"faults\":%llu,\"faults_trapped\":%llu,"
                 "\"resident_mib\":%.1f}\n"
               : "%llu documents indexed, %llu in the store\n"
                 "%.1f MB of text in %.3f s: %.1f MB/s, %.0f documents/s\n"
                 "%.0f bytes a document on disk, vectors by %s\n"
                 "%llu page faults, %llu of them trapped by the pager; "
                 "%.1f MiB of the store resident\n",
           (unsigned long long)progress->documents,
           (unsigned long long)s->documents, megabytes, seconds,
           megabytes / seconds, (double)progress->documents / seconds, each,
           hy_vec_isa(),
           (unsigned long long)(usage.ru_minflt + usage.ru_majflt),
           (unsigned long long)s->faults, (double)s->resident_bytes / 1048576);
}

static int index_files(const struct request *request,
                       const struct file_list *list, uint64_t started)
{
    struct progress progress = {.bytes_total = list->bytes_total,
                                .next_flush = hy_after(flush_ns)};
    hy_pipeline_stats stats = HY_PIPELINE_STATS_INIT;
    struct session session;
    double seconds;
    hy_pipeline *p;
    int r = 0;

    if (!open_store(&session, request, true))
        return 1;
    p = session.pipeline;
    for (size_t i = 0; r == 0 && i < list->count; i++) {
        r = index_file(p, list->paths[i], &progress);
        progress.bytes_before += list->bytes[i];
    }
    if (r == 0)
        r = hy_pipeline_flush(p, HY_FOREVER);
    show_progress_end();
    if (r != 0) {
        complain_errno(request->store, r);
        hy_monitor_destroy(session.monitor);
        hy_pipeline_close(p);
        return 1;
    }
    seconds = (double)(hy_now() - started) / 1e9;
    hy_pipeline_stats_get(p, &stats);
    r = close_store(&session);
    if (r == 0)
        show_summary(request, &stats, &progress, seconds);
    return r;
}

static int run_index(const struct request *request)
{
    bool defaults = request->word_count == 0;
    char *const *paths = defaults ? wordnet : request->words;
    int count = defaults ? 4 : request->word_count;
    uint64_t started = hy_now();
    struct file_list list = {0};
    int failed = 0;

    file_list_except(&list, request->store);
    for (int i = 0; i < count; i++) {
        int r = file_list_add(&list, paths[i], complain_of_path);

        if (r == -ENOENT && defaults)
            failed = complain(paths[i], "WordNet is not here: apt-get install "
                                        "wordnet-base, or name a PATH");
        else if (r != 0)
            failed = complain(paths[i], strerror(-r));
        if (failed && defaults)
            break;
    }
    if (list.count == 0 && !failed)
        failed = complain(paths[0], "no files there");
    if (list.count != 0 && index_files(request, &list, started) != 0)
        failed = 1;
    file_list_free(&list);
    return failed;
}

/* --- asking ------------------------------------------------------------------
 */

typedef int read_function(hy_pipeline *p, uint64_t id, char *buffer,
                          size_t *bytes);

/* A document's text or label as a new string; NULL when it has gone. */
static char *read_part(hy_pipeline *p, uint64_t id, read_function *read,
                       size_t *bytes)
{
    char *buffer;

    *bytes = 0;
    if (read(p, id, NULL, bytes) == -ENOENT)
        return NULL;
    buffer = malloc(*bytes + 1);
    if (buffer == NULL || read(p, id, buffer, bytes) != 0) {
        free(buffer);
        return NULL;
    }
    buffer[*bytes] = '\0';
    return buffer;
}

static void show_hit(const struct request *request, size_t rank, float score,
                     char *label, const char *text, size_t bytes)
{
    unsigned columns = isatty(STDOUT_FILENO) ? show_columns(stdout) : 0;
    char *line = strrchr(label, '\t');

    if (line != NULL)
        *line++ = '\0';
    else
        line = label + strlen(label);
    if (!request->json) {
        printf("%2zu  %.4f  ", rank, (double)score);
        show_text(stdout, label, strlen(label), 0);
        printf(":%llu\n    ", strtoull(line, NULL, 10));
        show_text(stdout, text, bytes, columns > 8 ? columns - 4 : columns);
        putchar('\n');
        return;
    }
    printf("%s{\"rank\":%zu,\"score\":%.6f,\"file\":", rank > 1 ? "," : "",
           rank, (double)score);
    show_json_string(stdout, label, strlen(label));
    printf(",\"line\":%llu,\"text\":", strtoull(line, NULL, 10));
    show_json_string(stdout, text, bytes);
    putchar('}');
}

static void show_hits(const struct request *request, hy_pipeline *p,
                      const hy_hit *hits, size_t count)
{
    size_t rank = 0;

    for (size_t i = 0; i < count; i++) {
        size_t text_bytes, label_bytes;
        char *text =
            read_part(p, hits[i].id, hy_pipeline_document, &text_bytes);
        char *label = read_part(p, hits[i].id, hy_pipeline_label, &label_bytes);

        if (text != NULL && label != NULL)
            show_hit(request, ++rank, hits[i].score, label, text, text_bytes);
        free(text);
        free(label);
    }
}

static int ask(const struct request *request, hy_pipeline *p, const char *words)
{
    hy_hit *hits = malloc(request->hits * sizeof(*hits));
    size_t count = 0;
    uint64_t started;
    double microseconds;
    int r;

    if (hits == NULL)
        return complain_errno(words, -ENOMEM);
    started = hy_now();
    r = hy_pipeline_query(p, words, strlen(words), request->hits, hits, &count,
                          HY_FOREVER);
    microseconds = (double)(hy_now() - started) / 1e3;
    if (r != 0) {
        free(hits);
        return complain_errno(words, r);
    }
    if (request->json) {
        fputs("{\"query\":", stdout);
        show_json_string(stdout, words, strlen(words));
        printf(",\"microseconds\":%.1f,\"hits\":[", microseconds);
    }
    show_hits(request, p, hits, count);
    if (request->json)
        puts("]}");
    else
        printf("%zu hits in %.0f microseconds\n", count, microseconds);
    fflush(stdout);
    free(hits);
    return 0;
}

static char *join(char **words, int count)
{
    size_t bytes = 1;
    char *all;

    for (int i = 0; i < count; i++)
        bytes += strlen(words[i]) + 1;
    all = calloc(1, bytes);
    for (int i = 0; all != NULL && i < count; i++) {
        strcat(all, i != 0 ? " " : "");
        strcat(all, words[i]);
    }
    return all;
}

static int run_query(const struct request *request)
{
    struct session session;
    char *words;
    int failed;

    if (request->word_count == 0)
        return complain("query", "what for? give it some words");
    if (!open_store(&session, request, false))
        return 1;
    words = join(request->words, request->word_count);
    failed = words == NULL || ask(request, session.pipeline, words) != 0;
    free(words);
    return close_store(&session) | failed;
}

/* One query a line, until the end of standard input. */
static int run_repl(const struct request *request)
{
    struct session session;
    bool prompts = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int failed = 0;

    if (!open_store(&session, request, false))
        return 1;
    for (;;) {
        if (prompts)
            fputs("? ", stdout), fflush(stdout);
        length = getline(&line, &room, stdin);
        if (length < 0)
            break;
        while (length > 0 &&
               (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        if (length != 0)
            failed |= ask(request, session.pipeline, line);
        if (ferror(stdout))
            break;
    }
    if (prompts)
        putchar('\n');
    free(line);
    return close_store(&session) | failed;
}

/* --- the rest ----------------------------------------------------------------
 */

/* The path as index wrote it down, also when the file is there no more. NULL:
 * no memory, or no such folder. */
static char *absolute_path(const char *path)
{
    char *absolute = realpath(path, NULL), *folder, *above;
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    if (absolute != NULL || strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
        return absolute;
    folder = slash == NULL   ? strdup(".")
             : slash == path ? strdup("/")
                             : strndup(path, (size_t)(slash - path));
    above = folder != NULL ? absolute_path(folder) : NULL;
    free(folder);
    if (above == NULL || *name == '\0')
        return above;
    absolute = malloc(strlen(above) + strlen(name) + 2);
    if (absolute != NULL)
        sprintf(absolute, "%s/%s", above[1] != '\0' ? above : "", name);
    free(above);
    return absolute;
}

/* A file's documents, or those of all files below a folder. */
static int forget_path(hy_pipeline *p, const char *path, uint64_t *count)
{
    char *absolute = absolute_path(path);
    struct file_list list = {0};
    int r = absolute != NULL ? 0 : -ENOENT;

    if (r == 0 && access(absolute, F_OK) == 0)
        r = file_list_add(&list, absolute, complain_of_path);
    if (r == 0 && list.count == 0)
        r = forget_from(p, first_id(absolute), count);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = forget_from(p, first_id(list.paths[i]), count);
    if (r == 0) /* so that a path named twice counts once */
        r = hy_pipeline_flush(p, HY_FOREVER);
    file_list_free(&list);
    free(absolute);
    return r;
}

static int run_forget(const struct request *request)
{
    struct session session;
    uint64_t count = 0;
    int failed = 0;

    if (request->word_count == 0)
        return complain("forget", "which files? give it their paths");
    if (!open_store(&session, request, false))
        return 1;
    for (int i = 0; i < request->word_count; i++) {
        int r = forget_path(session.pipeline, request->words[i], &count);

        if (r != 0)
            failed = complain_errno(request->words[i], r);
    }
    printf("%llu documents forgotten\n", (unsigned long long)count);
    return close_store(&session) | failed;
}

static int run_stats(const struct request *request)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    struct session session;

    if (!open_store(&session, request, false))
        return 1;
    hy_pipeline_stats_get(session.pipeline, &s);
    printf(request->json
               ? "{\"documents\":%llu,\"text_bytes\":%llu,\"used_bytes\":%llu,"
                 "\"dim\":%zu,\"isa\":\"%s\"}\n"
               : "%llu documents, %llu bytes of text, %llu bytes used\n"
                 "%zu components a vector, by %s\n",
           (unsigned long long)s.documents, (unsigned long long)s.text_bytes,
           (unsigned long long)s.used_bytes, s.dim, hy_vec_isa());
    return close_store(&session);
}

/* What was printed must have arrived. */
static int finish(int failed)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return failed ? 1 : 0;
    return complain("standard output", "cannot be written to");
}

static bool read_options(struct request *request, int argc, char **argv)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'},
        {"watch", required_argument, NULL, 'w'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    char *end;
    int c;

    while ((c = getopt_long(argc, argv, "s:k:w:jh", options, NULL)) != -1) {
        switch (c) {
        case 's':
            request->store = optarg;
            if (*optarg == '\0')
                return complain("--store", "takes the name of a file"), false;
            break;
        case 'k':
            request->hits = strtoul(optarg, &end, 10);
            if (*end != '\0' || request->hits == 0 || request->hits > HITS_MAX)
                return complain(optarg, "-k takes 1 to 10000"), false;
            break;
        case 'w':
            request->watch = optarg;
            break;
        case 'j':
            request->json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(finish(0));
        default:
            fputs(usage, stderr);
            return false;
        }
    }
    request->words = argv + optind;
    request->word_count = argc - optind;
    return true;
}

/* Were one of them closed, the store would be opened in its place, and be read
 * as questions or written over with answers. */
static void open_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct request *request);
    } commands[] = {{"index", run_index},
                    {"query", run_query},
                    {"repl", run_repl},
                    {"forget", run_forget},
                    {"stats", run_stats}};
    struct request request = {store_default, HITS_DEFAULT, NULL,
                              false,         NULL,         0};

    open_standard_files();
    if (!read_options(&request, argc, argv))
        return 2;
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (request.word_count != 0 &&
            strcmp(request.words[0], commands[i].name) == 0) {
            request.words++;
            request.word_count--;
            return finish(commands[i].run(&request));
        }
    fputs(usage, stderr);
    return 2;
}
