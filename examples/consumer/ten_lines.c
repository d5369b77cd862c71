/*
 * ten_lines.c - the smallest user of an installed libhyperion; the build files
 * beside it show both ways to link it.
 */
#include <hyperion/hyperion.h>
#include <stdio.h>

int main(void)
{
    uint64_t start = hy_now();

    printf("libhyperion %s\n", hy_version());
    printf("that took %llu ns\n", (unsigned long long)(hy_now() - start));
    return 0;
}
