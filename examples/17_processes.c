/*
 * 17_processes.c - two processes over shared memory: lines go to the other one
 * as records of any length, and counts come back as items of one size.
 *
 *      this process                    its child
 *      reads lines  == byte ring ==>   counts words by length
 *      prints       <==== ring =====   one item for each length
 *
 * Each line is written where the file is read, and counted where it was
 * written: no call copies it. Both sleep while they have nothing to do. If one
 * were killed, the other's next wait would say -EOWNERDEAD instead of waiting
 * for ever.
 *
 *      ./17_processes [FILE]           of /proc/cpuinfo without
 */
#include <errno.h>
#include <hyperion/byte_ring.h>
#include <hyperion/ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MOST = 4096, LENGTHS = 16 };

struct answer {
    unsigned length; /* of words; of the last one: and above */
    unsigned long count;
    char example[LENGTHS + 1];
};

static void count_words(struct answer *answers, const char *at, size_t bytes)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *end = at + bytes;

    while (at < end) {
        const char *word = at;

        while (at < end && strchr(letters, *at) != NULL && *at != '\0')
            at++;
        if (at != word) {
            size_t length = (size_t)(at - word);
            size_t most = length < LENGTHS ? length : LENGTHS;
            struct answer *a = &answers[most - 1];

            a->count++;
            memcpy(a->example, word, most);
        } else {
            at++;
        }
    }
}

/* The child. */
static int answer(hy_byte_ring *lines, hy_ring *ring)
{
    struct answer answers[LENGTHS] = {{0, 0, ""}};
    const void *line;
    size_t bytes;
    int r;

    while ((r = hy_byte_ring_peek_wait(lines, &line, &bytes, HY_FOREVER)) ==
           0) {
        count_words(answers, line, bytes);
        hy_byte_ring_release(lines);
    }
    if (r != -EPIPE) /* the end of all lines */
        return 1;
    for (unsigned i = 0; i < LENGTHS; i++) {
        answers[i].length = i + 1;
        if (answers[i].count != 0 &&
            hy_ring_push_wait(ring, &answers[i], HY_FOREVER) != 0)
            return 1;
    }
    hy_ring_close(ring);
    return 0;
}

static int send_lines(FILE *file, hy_byte_ring *lines)
{
    int more = 1, r = 0;
    void *line;

    while (more && r == 0) {
        r = hy_byte_ring_reserve_wait(lines, LINE_MOST, &line, HY_FOREVER);
        if (r != 0)
            break;
        more = fgets(line, LINE_MOST, file) != NULL;
        if (more) /* as long as it came out */
            r = hy_byte_ring_commit(lines, strlen(line));
    }
    hy_byte_ring_close(lines);
    return r;
}

static int show_answers(hy_ring *ring)
{
    struct answer a;
    int r;

    while ((r = hy_ring_pop_wait(ring, &a, HY_FOREVER)) == 0)
        printf("%5lu words of %2u%s  %s\n", a.count, a.length,
               a.length == LENGTHS ? "+" : " ", a.example);
    return r == -EPIPE ? 0 : r;
}

static void show_figures(const hy_byte_ring *lines, pid_t child)
{
    hy_byte_ring_stats s = {.size = sizeof(s)};

    hy_byte_ring_stats_get(lines, &s);
    printf("%llu lines, %llu bytes with their lengths, through a ring of %zu "
           "from process %ld to %ld, which slept %llu times\n",
           (unsigned long long)s.pushed, (unsigned long long)s.pushed_bytes,
           s.capacity, (long)getpid(), (long)child,
           (unsigned long long)s.pop_parks);
}

static int make(hy_byte_ring **lines, hy_ring **answers)
{
    hy_byte_ring_options of_lines = HY_BYTE_RING_OPTIONS_INIT;
    hy_ring_options of_answers = HY_RING_OPTIONS_INIT;
    int r;

    of_lines.capacity = 4 * LINE_MOST;
    of_lines.flags = HY_RING_SHARED;
    r = hy_byte_ring_create(lines, &of_lines);
    if (r != 0)
        return r;
    of_answers.item_bytes = sizeof(struct answer);
    of_answers.capacity = 8;
    of_answers.flags = HY_RING_SHARED;
    return hy_ring_create(answers, &of_answers);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "/proc/cpuinfo";
    FILE *file = fopen(name, "r");
    hy_byte_ring *lines;
    hy_ring *answers;
    int status = 0, r;
    pid_t child;

    if (file == NULL) {
        perror(name);
        return 1;
    }
    r = make(&lines, &answers);
    if (r != 0) {
        fprintf(stderr, "no rings: %s\n", strerror(-r));
        return 1;
    }
    child = fork(); /* a side is whose process uses it first */
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0)
        _exit(answer(lines, answers));
    r = send_lines(file, lines);
    if (r == 0)
        r = show_answers(answers);
    if (r == 0)
        show_figures(lines, child);
    else
        fprintf(stderr, "the child is gone: %s\n", strerror(-r));
    waitpid(child, &status, 0);
    hy_ring_destroy(answers);
    hy_byte_ring_destroy(lines);
    fclose(file);
    return r != 0 || status != 0;
}
