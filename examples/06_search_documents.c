/*
 * 06_search_documents.c - hyperion-search: a folder of text in, answers out.
 *
 *      hyperion-search index PATH... --store FILE
 *      hyperion-search query --store FILE "words"
 *
 * It shows hy_pipeline at work: every paragraph goes through a ring to a fiber,
 * becomes a vector and is kept in paged memory on one file, which survives
 * restarts and kill -9. Without a PATH it indexes WordNet's glosses: describe a
 * thing, get the word. Here is the command line; search/search.h names the
 * files that do the work.
 */
#include "search/search.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "search/show.h"

enum { HITS_DEFAULT = 10, HITS_MAX = 10000 };

static const char store_default[] = "hyperion-search.store";

static int run_stats(struct session *session)
{
    hy_pipeline_stats s = HY_PIPELINE_STATS_INIT;
    int status = open_store(session, false);

    if (status != DONE)
        return status;
    hy_pipeline_stats_get(session->pipeline, &s);
    if (session->request.json)
        printf("{\"documents\":%" PRIu64 ",\"text_bytes\":%" PRIu64
               ",\"used_bytes\":%" PRIu64 ",\"dim\":%zu,\"isa\":\"%s\"}\n",
               s.documents, s.text_bytes, s.used_bytes, s.dim, hy_vec_isa());
    else
        printf("%" PRIu64 " document%s, %" PRIu64 " byte%s of text, %" PRIu64
               " bytes used\n%zu components a vector, by %s\n",
               s.documents, plural(s.documents), s.text_bytes,
               plural(s.text_bytes), s.used_bytes, s.dim, hy_vec_isa());
    return close_store(session);
}

/* --- what there is to do ----------------------------------------------------
 */

enum words { NONE, MAY, MUST };

struct command {
    const char *name;
    int (*run)(struct session *session);
    enum words words;
    const char *help;
};

static const struct command commands[] = {
    {"index", run_index, MAY,
     "usage: hyperion-search index [PATH]... [--store FILE] [--json]\n"
     "Reads files, and all files below folders, into the store. A document is\n"
     "a paragraph: text between blank lines. Packed files (.gz) are unpacked.\n"
     "A file that is indexed again replaces its documents; others are kept.\n"
     "Left out: binary files, names that begin with a dot, and links below a\n"
     "folder. Without a PATH: WordNet (Debian: wordnet-base).\n"
     "\n"
     "  -v, --verbose     names every file that is left out\n"
     "\n"
     "What was indexed is durable every 3 seconds and at the end, also when\n"
     "Ctrl-C ends it early. Exit status 1 when something could not be read;\n"
     "all else is indexed.\n"},
    {"query", run_query, MUST,
     "usage: hyperion-search query [--store FILE] [-k N] [--json] WORD...\n"
     "Prints the documents that share words with the question, or their\n"
     "stems, the best first: rank, score up to 1, file, line and text. After\n"
     "-- a word may begin with a dash.\n"
     "\n"
     "  -k N              so many of them at most: 1 to 10000, else 10\n"},
    {"repl", run_repl, NONE,
     "usage: hyperion-search repl [--store FILE] [-k N] [--json]\n"
     "Answers one question a line until the end of its input. On a terminal,\n"
     ":help tells more, and :quit or Ctrl-D ends. In a pipe it prints answers\n"
     "only; with --json, one line for each question.\n"
     "\n"
     "  -k N              so many of them at most: 1 to 10000, else 10\n"},
    {"forget", run_forget, MUST,
     "usage: hyperion-search forget PATH... [--store FILE] [--json]\n"
     "Removes the documents of files, or of the files that are below folders\n"
     "now. A file is not touched, and need not exist any more. A folder must:\n"
     "the store knows files only.\n"},
    {"stats", run_stats, NONE,
     "usage: hyperion-search stats [--store FILE] [--json]\n"
     "Tells what the store holds.\n"},
};

static const char help[] =
    "usage: hyperion-search COMMAND [OPTION]...\n"
    "\n"
    "  index [PATH]...   reads text files and folders into a store\n"
    "  query WORD...     prints the paragraphs that match best\n"
    "  repl              answers many questions, one a line\n"
    "  forget PATH...    removes the documents of files\n"
    "  stats             tells what the store holds\n"
    "  help [COMMAND]    tells more\n"
    "\n";

static const char help_options[] =
    "  -s, --store FILE  the store; without it hyperion-search.store, here\n"
    "  -j, --json        results as JSON, one object a line\n"
    "  -w, --watch NAME  lets hyperion-top NAME show it at work\n"
    "  -h, --help        this text; after a command, that command's\n"
    "  -V, --version     which version this is\n"
    "\n"
    "Exit status: 0; 1 when something failed or could not be read; 2 when the\n"
    "command line is wrong; a signal's, 130 for Ctrl-C, when one ended it.\n";

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* --- the command line ------------------------------------------------------
 */

/* One line: what is wrong, and what to do. */
static int misuse(const char *about, const char *what)
{
    fputs("hyperion-search: ", stderr);
    show_name(stderr, about);
    fprintf(stderr, ": %s; see hyperion-search --help\n", what);
    return USAGE;
}

/* What was printed must have arrived; a signal ends this program too, so that
 * a shell's loop around it stops. */
static int finish(int status)
{
    if (status > SIGNALLED) {
        signal(status - SIGNALLED, SIG_DFL);
        raise(status - SIGNALLED);
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return complain("standard output", "cannot be written to");
}

static int print_help(const struct command *command)
{
    fputs(command != NULL ? command->help : help, stdout);
    if (command != NULL && strstr(command->help, "\n\n  -") == NULL)
        putchar('\n');
    fputs(help_options, stdout);
    return finish(DONE);
}

static bool read_count(size_t *out, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long value = strtoul(text, NULL, 10);

    if (digits == 0 || text[digits] != '\0' || value == 0 || value > HITS_MAX)
        return false;
    *out = value;
    return true;
}

static const char short_options[] = ":s:k:w:jvhV";

/* getopt does not like this one; optopt tells a short one, or a known one. */
static int misuse_option(int c, char **argv)
{
    char name[] = {'-', (char)optopt, '\0'};
    bool known = optopt != 0 && strchr(short_options, optopt) != NULL;

    return misuse(known || optopt == 0 ? argv[optind - 1] : name,
                  c == ':' ? "needs a value after it"
                  : known  ? "takes no value"
                           : "no such option");
}

/* What main is asked for besides a command. */
enum wish { WORK, HELP, VERSION, MISUSE };

static enum wish read_options(struct request *request, int argc, char **argv)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'},
        {"watch", required_argument, NULL, 'w'},
        {"json", no_argument, NULL, 'j'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    enum wish wish = WORK;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, short_options, options, NULL)) != -1) {
        if (c == 's' && *optarg == '\0')
            return misuse("--store", "takes the name of a file"), MISUSE;
        if (c == 'k' && !read_count(&request->hits, optarg))
            return misuse(optarg, "-k takes a number, 1 to 10000"), MISUSE;
        if (c == 's')
            request->store = optarg;
        else if (c == 'w')
            request->watch = optarg;
        else if (c == 'j')
            request->json = true;
        else if (c == 'v')
            request->verbose = true;
        else if (c == 'h' || c == 'V')
            wish = c == 'h' ? HELP : VERSION;
        else if (c != 'k')
            return misuse_option(c, argv), MISUSE;
    }
    request->words = argv + optind;
    request->word_count = argc - optind;
    return wish;
}

/* The command that the first word names, which is taken off; MISUSE was
 * complained of. "help" is a wish, with NULL when it is for no command. */
static enum wish read_command(const struct command **out,
                              struct request *request, enum wish wish)
{
    const struct command *command = NULL;

    if (request->word_count > 0 && strcmp(request->words[0], "help") == 0) {
        wish = HELP;
        request->words++;
        request->word_count--;
    }
    if (request->word_count > 0) {
        command = find_command(request->words[0]);
        if (command == NULL)
            return misuse(request->words[0], "no such command"), MISUSE;
        request->words++;
        request->word_count--;
    } else if (wish == WORK) {
        fputs(help, stderr);
        return misuse("command", "none was given"), MISUSE;
    }
    if (wish == WORK && command->words == MUST && request->word_count == 0)
        return misuse(command->name, command->run == run_forget
                                         ? "what? name a file or folder"
                                         : "what for? give it some words"),
               MISUSE;
    if (wish == WORK && command->words == NONE && request->word_count != 0)
        return misuse(request->words[0], "this command takes no words"), MISUSE;
    *out = command;
    return wish;
}

/* Were one of them closed, the store would be opened in its place, and be read
 * as questions or written over with answers. For reading only, so that what is
 * printed to a closed one is an error. */
static void fill_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            _exit(FAILED); /* with nowhere to complain */
}

int main(int argc, char **argv)
{
    struct session session = {
        {store_default, HITS_DEFAULT, NULL, false, false, NULL, 0},
        NULL,
        NULL,
        ""};
    const struct command *command = NULL;
    enum wish wish;
    int status;

    fill_standard_files();
    signal(SIGXFSZ, SIG_IGN); /* ulimit -f is an error like a full disk */
    wish = read_options(&session.request, argc, argv);
    if (wish == VERSION) {
        printf("hyperion-search %s\n", hy_version());
        return finish(DONE);
    }
    if (wish != MISUSE)
        wish = read_command(&command, &session.request, wish);
    if (wish == MISUSE)
        return USAGE;
    if (wish == HELP)
        return print_help(command);
    status = start_watching(&session);
    if (status == DONE)
        status = command->run(&session);
    hy_monitor_destroy(session.monitor);
    return finish(status);
}
