/*
 * bench.h - the harness under every benchmark of the project.
 *
 *      struct bench_row row = {.what = "...", .unit = "ns", ...};
 *      struct bench_contender c[] = {{"hyperion", run, arg}, {"peer", ...}};
 *      bench_row_run(&row, c, count);
 *
 * The contenders of a row run in turn, again and again, at least five times, so
 * that what disturbs the machine disturbs all of them. A run returns its figure
 * (nanoseconds an operation, operations a second, ...); the row keeps median
 * and best (the least, or the most where more is better) of every contender,
 * and how many times better the first one's median is than each other one's.
 *
 * Two threads that share a core, or whose virtual processors are taken away,
 * measure the neighbours. So a row of two threads (gated) takes a repeat only
 * when two lines of memory travel there and back within 160 ns before it and
 * after it, tries again for a while, and is marked as noisy when that did not
 * help. No repeat is ever left out for its own figures.
 *
 * Each program prints the machine, its command, its yardsticks (an indirect
 * call, a system call, reading memory) and a Markdown table, and writes the
 * same as JSON. Peers that are not on the system are named as absent, and what
 * cannot be measured yet has a row that says why.
 *
 * A figure whose payload was not checked is not a figure: every run verifies
 * what it moved or computed and calls bench_wrong when that is not right.
 *
 * Environment: HY_BENCH_QUICK=1 for short runs. Argument: the JSON file.
 */
#ifndef HY_BENCH_H
#define HY_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_contender {
    const char *name;
    double (*run)(void *arg);
    void *arg;
    const char *absent; /* not NULL: why it does not take part */
};

struct bench_row {
    const char *what;
    const char *unit;
    const char *target; /* ours, in the words of the design documents */
    bool more_is_better;
    bool gated;       /* two threads: only while lines travel fast */
    bool counted;     /* a count, not a time: taken once */
    unsigned repeats; /* 0: as usual; never below 5 */
};

/* Why a peer that was not found takes no part. */
#define BENCH_ABSENT "not on this system"

void bench_begin(int argc, char **argv, const char *subject);
int bench_end(void); /* main's result */

void bench_row_run(const struct bench_row *row,
                   const struct bench_contender *contenders, size_t count);

/* A row that cannot be measured here, and why. */
void bench_row_skip(const struct bench_row *row, const char *why);

/* A remark under the table: how a peer differs, what a figure includes. */
void bench_note(const char *text);

bool bench_is_quick(void);

/* count, or about a fifth of it in a quick run. */
uint64_t bench_scale(uint64_t count);

uint64_t bench_now(void); /* ns, CLOCK_MONOTONIC */
void bench_pin(unsigned nth);
unsigned bench_cpu_count(void);

/* Two lines between two processors, there and back, in ns. */
double bench_pingpong(void);

/* Reads all of it and does next to nothing else; a multiple of 256 bytes. */
void bench_read(const void *p, size_t bytes);

/* Lines of a file, or the number behind a word that one of them starts with. */
uint64_t bench_count_lines(const char *path);
uint64_t bench_field(const char *path, const char *word);

/* Ends the program: a payload or a result was not what it must be. */
#ifdef __cplusplus
[[noreturn]]
#else
_Noreturn
#endif
void bench_wrong(const char *what);

/* The compiler must assume that the value is used. */
#define BENCH_USE(value) __asm__ volatile("" : : "g"(value) : "memory")

/*
 * A peer that a .cpp file defines: a constant, zero where it is absent. Without
 * a C++ compiler it is zero everywhere.
 */
#if defined(__cplusplus) || defined(HY_HAVE_CXX)
#define BENCH_CXX_PEER(...) extern __VA_ARGS__
#else
#define BENCH_CXX_PEER(...) static __VA_ARGS__ __attribute__((unused))
#endif

#ifdef __cplusplus
}
#endif

#endif
