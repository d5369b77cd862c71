/*
 * answer.c - questions in, hits out: one with query, many with repl (search.h).
 *
 *      words -> hy_pipeline_query -> ids -> hy_pipeline_document, _label
 */
#include "search.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "show.h"

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

/* The label is "path\tline". */
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
        show_name(stdout, label);
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

static int ask(struct session *session, const char *words, size_t bytes)
{
    const struct request *request = &session->request;
    hy_hit *hits = malloc(request->hits * sizeof(*hits));
    uint64_t started = hy_now();
    double microseconds;
    size_t count = 0;
    int r = -ENOMEM;

    if (hits != NULL)
        r = hy_pipeline_query(session->pipeline, words, bytes, request->hits,
                              hits, &count, HY_FOREVER);
    microseconds = (double)(hy_now() - started) / 1e3;
    if (r != 0) {
        free(hits);
        return complain_of_store(session, r);
    }
    if (request->json) {
        fputs("{\"query\":", stdout);
        show_json_string(stdout, words, bytes);
        printf(",\"microseconds\":%.1f,\"hits\":[", microseconds);
    }
    show_hits(request, session->pipeline, hits, count);
    if (request->json)
        puts("]}");
    else
        printf("%zu hit%s in %.0f microseconds\n", count, plural(count),
               microseconds);
    fflush(stdout);
    free(hits);
    return DONE;
}

static char *join(char **words, int count)
{
    size_t bytes = 1;
    char *all, *end;

    for (int i = 0; i < count; i++)
        bytes += strlen(words[i]) + 1;
    all = end = calloc(1, bytes);
    for (int i = 0; all != NULL && i < count; i++)
        end = stpcpy(stpcpy(end, i != 0 ? " " : ""), words[i]);
    return all;
}

int run_query(struct session *session)
{
    const struct request *request = &session->request;
    int status = open_store(session, false);
    char *words;

    if (status != DONE)
        return status;
    words = join(request->words, request->word_count);
    status = words != NULL ? ask(session, words, strlen(words))
                           : complain_errno("query", -ENOMEM);
    free(words);
    return status | close_store(session);
}

/* --- many questions -------------------------------------------------------
 */

static void greet(const struct session *session)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;

    hy_pipeline_stats_get(session->pipeline, &s);
    printf("%" PRIu64 " document%s in ", s.documents, plural(s.documents));
    show_name(stdout, session->request.store);
    puts(".\nOne question a line. :help tells more; :quit or Ctrl-D ends.");
}

/* On a terminal, a line that begins with a colon. False: the end. */
static bool obey(const char *line)
{
    if (strcmp(line, ":quit") == 0 || strcmp(line, ":q") == 0)
        return false;
    if (strcmp(line, ":help") != 0)
        puts("There is no such command.");
    puts("Type some words: the paragraphs that share them, or their stems,\n"
         "are shown, the best first. :quit, :q or Ctrl-D ends.");
    return true;
}

/* The next line without its end; -1 when there is none. */
static ssize_t read_question(char **line, size_t *room, bool prompts)
{
    ssize_t length;

    if (prompts)
        fputs("? ", stdout), fflush(stdout);
    length = getline(line, room, stdin);
    if (length < 0 && prompts)
        putchar('\n');
    while (length > 0 &&
           ((*line)[length - 1] == '\n' || (*line)[length - 1] == '\r'))
        (*line)[--length] = '\0';
    return length;
}

/* A pipe gets answers and nothing else, and its colons are questions too. */
int run_repl(struct session *session)
{
    bool commands = isatty(STDIN_FILENO);
    bool prompts = commands && isatty(STDOUT_FILENO);
    int status = open_store(session, false);
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    if (status != DONE)
        return status;
    if (prompts)
        greet(session);
    while ((length = read_question(&line, &room, prompts)) >= 0) {
        if (commands && length > 0 && line[0] == ':') {
            if (!obey(line))
                break;
        } else if (length > 0) {
            status |= ask(session, line, (size_t)length);
        }
        if (ferror(stdout))
            break;
    }
    if (length < 0 && !feof(stdin))
        status = complain("standard input", "cannot be read to its end");
    free(line);
    return status | close_store(session);
}
