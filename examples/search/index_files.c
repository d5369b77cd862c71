/*
 * index_files.c - files become documents in the store (search.h).
 *
 *      file_list -> document_reader -> hy_pipeline_ingest_document
 *                       every 3 s   -> hy_pipeline_flush: durable
 *
 * What was flushed stays, whatever happens: an error of one file leaves it out,
 * one of the store ends the run, and a signal ends it after a last flush.
 */
#include "search.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "read_documents.h"
#include "show.h"

/* What was indexed is durable this often: a checkpoint costs some 50 ms. */
static const uint64_t flush_ns = 3000000000u;
static const uint64_t show_ns = 100000000u;

/* Debian's wordnet-base: 117,659 glosses. */
static char *const wordnet[] = {
    "/usr/share/wordnet/data.noun", "/usr/share/wordnet/data.verb",
    "/usr/share/wordnet/data.adj", "/usr/share/wordnet/data.adv"};

struct progress {
    struct left_out left_out;
    uint64_t bytes_total;  /* of all files, on disk */
    uint64_t bytes_before; /* of the files done */
    uint64_t documents, text_bytes;
    uint64_t forgotten; /* that the files had more of before */
    uint64_t started;
    uint64_t next_flush, next_show;
};

/* --- signals --------------------------------------------------------------
 */

static volatile sig_atomic_t stopped_by;

static void note_signal(int number)
{
    stopped_by = number;
}

/* The first one stops the indexing, a second one ends the program at once. */
static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = note_signal,
                               .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    struct sigaction before;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (sigaction(numbers[i], NULL, &before) == 0 &&
            before.sa_handler != SIG_IGN) /* as nohup wants it */
            sigaction(numbers[i], &action, NULL);
}

/* --- one file ---------------------------------------------------------------
 */

static int ingest(hy_pipeline *p, const char *path, uint64_t id,
                  const struct paragraph *paragraph, struct progress *progress)
{
    char label[4096 + 32];
    int length =
        snprintf(label, sizeof(label), "%s\t%" PRIu64, path, paragraph->line);
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
        progress->next_show = hy_after(show_ns);
        show_progress(progress->bytes_before + paragraph->file_bytes,
                      progress->bytes_total, progress->documents);
    }
    return r;
}

/* An error of the file leaves it out; one of the store is returned. */
static int index_file(hy_pipeline *p, const char *path,
                      struct progress *progress)
{
    document_reader *reader;
    struct paragraph paragraph;
    uint64_t first = first_id(path), id = first;
    int r = document_reader_open(&reader, path), stored = 0;

    if (r == -EILSEQ) /* what it held when it was text is there no more */
        stored = forget_from(p, id, &progress->forgotten);
    if (r != 0) {
        leave_out(&progress->left_out, path, r);
        return stored;
    }
    while (!stopped_by && (r = document_reader_next(reader, &paragraph)) == 1) {
        stored = ingest(p, path, id++, &paragraph, progress);
        if (stored != 0)
            break;
    }
    document_reader_close(reader);
    if (r < 0)
        leave_out(&progress->left_out, path, r);
    if (r != 0 || stopped_by)
        return stored;
    if (id == first)
        leave_out(&progress->left_out, path, -ENODATA);
    return forget_from(p, id, &progress->forgotten);
}

/* --- what came of it --------------------------------------------------------
 */

/* Bytes that the store takes on disk; it has holes, so its size says little. */
static double disk_bytes(const char *store)
{
    struct stat st;

    return stat(store, &st) == 0 ? (double)st.st_blocks * 512 : 0;
}

struct summary {
    const struct progress *progress;
    hy_pipeline_stats stats;
    double seconds, megabytes;
    double each; /* bytes on disk */
    uint64_t faults;
    double resident_mib;
};

static void summarise(struct summary *s, const struct request *request,
                      double seconds)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    s->seconds = seconds > 0 ? seconds : 1e-9;
    s->megabytes = (double)s->progress->text_bytes / 1e6;
    s->each = s->stats.documents != 0
                  ? disk_bytes(request->store) / (double)s->stats.documents
                  : 0;
    s->faults = (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
    s->resident_mib = (double)s->stats.resident_bytes / 1048576;
}

static void print_summary(const struct summary *s)
{
    uint64_t documents = s->progress->documents;

    printf("%" PRIu64 " document%s indexed, %" PRIu64 " in the store\n",
           documents, plural(documents), s->stats.documents);
    printf("%.1f MB of text in %.3f s: %.1f MB/s, %.0f documents/s\n",
           s->megabytes, s->seconds, s->megabytes / s->seconds,
           (double)documents / s->seconds);
    printf("%.0f bytes a document on disk, vectors by %s\n", s->each,
           hy_vec_isa());
    printf("%" PRIu64 " page fault%s, %" PRIu64 " of them trapped by the "
           "pager; %.1f MiB of the store resident\n",
           s->faults, plural(s->faults), s->stats.faults, s->resident_mib);
}

static void print_summary_json(const struct summary *s)
{
    const struct progress *p = s->progress;

    printf("{\"documents\":%" PRIu64 ",\"stored_documents\":%" PRIu64 ","
           "\"megabytes\":%.3f,\"seconds\":%.6f,"
           "\"megabytes_per_second\":%.3f,\"documents_per_second\":%.1f,",
           p->documents, s->stats.documents, s->megabytes, s->seconds,
           s->megabytes / s->seconds, (double)p->documents / s->seconds);
    printf("\"bytes_per_document\":%.1f,\"isa\":\"%s\",\"faults\":%" PRIu64 ","
           "\"faults_trapped\":%" PRIu64 ",\"resident_mib\":%.1f,",
           s->each, hy_vec_isa(), s->faults, s->stats.faults, s->resident_mib);
    printf("\"files_unreadable\":%" PRIu64 ",\"files_binary\":%" PRIu64 ","
           "\"files_empty\":%" PRIu64 "}\n",
           p->left_out.count[UNREADABLE], p->left_out.count[BINARY],
           p->left_out.count[EMPTY]);
}

static int tell_of_signal(const struct session *session, uint64_t documents)
{
    show_progress_end();
    fprintf(stderr,
            "hyperion-search: stopped by signal %d: %" PRIu64
            " document%s indexed so far %s in ",
            (int)stopped_by, documents, plural(documents),
            documents == 1 ? "is" : "are");
    show_name(stderr, session->request.store);
    fputc('\n', stderr);
    return SIGNALLED + stopped_by;
}

/* --- all files ------------------------------------------------------------ */

static int index_all(hy_pipeline *p, const struct file_list *list,
                     struct progress *progress)
{
    int r = 0;

    for (size_t i = 0; r == 0 && !stopped_by && i < list->count; i++) {
        r = index_file(p, list->files[i].path, progress);
        progress->bytes_before += list->files[i].bytes;
    }
    return r != 0 ? r : hy_pipeline_flush(p, HY_FOREVER);
}

static int index_files(struct session *session, const struct file_list *list,
                       struct progress *progress)
{
    struct summary summary = {progress, HY_PIPELINE_STATS_INIT, 0, 0, 0, 0, 0};
    uint64_t ended;
    int r;

    progress->bytes_total = list->bytes_total;
    progress->next_flush = hy_after(flush_ns);
    if (open_store(session, true) != DONE)
        return FAILED;
    catch_signals();
    r = index_all(session->pipeline, list, progress);
    ended = hy_now();
    if (r != 0) {
        complain_of_store(session, r);
        hy_monitor_destroy(session->monitor);
        session->monitor = NULL;
        hy_pipeline_close(session->pipeline); /* would fail likewise */
        return FAILED;
    }
    hy_pipeline_stats_get(session->pipeline, &summary.stats);
    if (close_store(session) != DONE)
        return FAILED;
    if (stopped_by)
        return tell_of_signal(session, progress->documents);
    show_progress_end();
    summarise(&summary, &session->request,
              (double)(ended - progress->started) / 1e9);
    if (session->request.json)
        print_summary_json(&summary);
    else
        print_summary(&summary);
    return DONE;
}

/* DONE, or FAILED after complaints; what could be listed is in the list. */
static int list_files(struct file_list *list, const struct request *request,
                      struct left_out *left_out)
{
    bool defaults = request->word_count == 0;
    char *const *paths = defaults ? wordnet : request->words;
    int count = defaults ? 4 : request->word_count;
    int status = DONE;

    file_list_except(list, request->store);
    for (int i = 0; i < count; i++) {
        int r = file_list_add(list, paths[i], leave_out, left_out);

        if (r == -ENOENT && defaults)
            return complain(paths[i], "WordNet is not here: apt-get install "
                                      "wordnet-base, or name a PATH");
        if (r == -ENOENT)
            status = complain(paths[i], "there is no such file or folder");
        else if (r != 0)
            status = complain_errno(paths[i], r);
    }
    file_list_sort(list);
    if (list->count == 0 && status == DONE && left_out->count[UNREADABLE] == 0)
        status =
            complain(paths[0], "no files there (links below it, devices, and "
                               "names that begin with a dot, are left out)");
    return status;
}

int run_index(struct session *session)
{
    struct progress progress = {.started = hy_now()};
    struct file_list list = {0};
    int status;

    progress.left_out.verbose = session->request.verbose;
    status = list_files(&list, &session->request, &progress.left_out);
    if (list.count != 0) {
        int indexed = index_files(session, &list, &progress);

        if (indexed != DONE)
            status = indexed;
    }
    if (status < SIGNALLED && left_out_end(&progress.left_out) != DONE)
        status = FAILED;
    file_list_free(&list);
    return status;
}
