#include <hyperion/hyperion.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const char *text = "The otter swims in the cold river.", *words = "otters";
    hy_pipeline *p;
    hy_hit hit;
    size_t count = 0;

    if (hy_pipeline_open(&p, NULL, NULL) != 0)
        return 1;
    hy_pipeline_ingest(p, 7, text, strlen(text), HY_FOREVER);
    hy_pipeline_flush(p, HY_FOREVER);
    hy_pipeline_query(p, words, strlen(words), 1, &hit, &count, HY_FOREVER);
    if (count == 1)
        printf("document %d, score %.2f\n", (int)hit.id, (double)hit.score);
    return hy_pipeline_close(p) != 0 || count != 1;
}
