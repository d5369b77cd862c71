/*
 * plain_main.c - the in-process runner behind HY_TEST_PLAIN (hy_test.h): runs
 * every test, or those whose "suite/name" contains the first argument, and
 * fails when a check failed or none ran.
 */
#include "hy_test.h"

struct hy_test_case *hy_test_first;
jmp_buf hy_test_escape;

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    char full[256];

    for (struct hy_test_case *c = hy_test_first; c != NULL; c = c->next) {
        snprintf(full, sizeof(full), "%s/%s", c->suite, c->name);
        if (argc > 1 && strstr(full, argv[1]) == NULL)
            continue;
        if (setjmp(hy_test_escape) == 0) {
            c->run();
            passed++;
        } else {
            fprintf(stderr, "FAILED %s\n", full);
            failed++;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
