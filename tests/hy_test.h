/*
 * hy_test.h - the one thin header that unit tests are written against.
 *
 *      HY_TEST(suite, name) { HY_CHECK(1 + 1 == 2); }
 *
 * By default these are Criterion tests (each in a process of its own). With
 * HY_TEST_PLAIN they run one after another in this process, without any
 * library: for sanitizers, valgrind and emulators. In plain mode a failed check
 * ends its test and the next one runs.
 *
 * hy_test_child(function, arg) runs function(arg) in a forked child, in both
 * modes, and gives its wait status: for what is expected to die.
 */
#ifndef HY_TEST_H
#define HY_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef HY_TEST_PLAIN

#include <criterion/criterion.h>

#define HY_TEST(suite, name)    Test(suite, name)
#define HY_CHECK(cond)          cr_assert(cond)
#define HY_CHECK_MSG(cond, ...) cr_assert(cond, __VA_ARGS__)

#else

#include <setjmp.h>

struct hy_test_case {
    const char *suite, *name;
    void (*run)(void);
    struct hy_test_case *next;
};

extern struct hy_test_case *hy_test_first;
extern jmp_buf hy_test_escape;

#define HY_TEST(suite_, name_)                                                 \
    static void hy_test_##suite_##_##name_(void);                              \
    __attribute__((constructor)) static void hy_test_add_##suite_##_##name_(   \
        void)                                                                  \
    {                                                                          \
        static struct hy_test_case c = {#suite_, #name_,                       \
                                        hy_test_##suite_##_##name_, NULL};     \
        c.next = hy_test_first;                                                \
        hy_test_first = &c;                                                    \
    }                                                                          \
    static void hy_test_##suite_##_##name_(void)

#define HY_CHECK_MSG(cond, ...)                                                \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                      \
            fputc('\n', stderr);                                               \
            longjmp(hy_test_escape, 1);                                        \
        }                                                                      \
    } while (0)
#define HY_CHECK(cond) HY_CHECK_MSG(cond, "is false")

#endif

/* Both sides as long long, shown when they differ. */
#define HY_CHECK_EQ(a, b)                                                      \
    do {                                                                       \
        long long hy_a_ = (long long)(a), hy_b_ = (long long)(b);              \
        HY_CHECK_MSG(hy_a_ == hy_b_, "%s is %lld, not %lld", #a, hy_a_,        \
                     hy_b_);                                                   \
    } while (0)

#define HY_CHECK_STR(a, b)                                                     \
    do {                                                                       \
        const char *hy_a_ = (a), *hy_b_ = (b);                                 \
        HY_CHECK_MSG(strcmp(hy_a_, hy_b_) == 0, "\"%s\" is not \"%s\"", hy_a_, \
                     hy_b_);                                                   \
    } while (0)

/* Address and thread sanitizers take addresses before main begins. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HY_TEST_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HY_TEST_SANITIZER 1
#endif
#endif
#ifndef HY_TEST_SANITIZER
#define HY_TEST_SANITIZER 0
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* Memcheck would search all that the parent has reserved for leaks, some of
 * which a child does not have: one signal for each word of it. */
static inline void hy_test_expect_no_leaks(void)
{
#if defined(VALGRIND_CLO_CHANGE)
    VALGRIND_CLO_CHANGE("--leak-check=no");
#endif
}

/* Runs function(arg) in a child; its exit status is 0 when it returns. */
static inline int hy_test_child(void (*function)(void *), void *arg)
{
    int status = -1;
    pid_t child;

    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child == 0) {
        hy_test_expect_no_leaks();
        function(arg);
        _exit(0);
    }
    if (child > 0)
        while (waitpid(child, &status, 0) < 0)
            ;
    return status;
}

#endif
