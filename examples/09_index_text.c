/*
 * 09_index_text.c - sentences to vectors, vectors to an index, and a question.
 *
 * What hy_pipeline does for you, by hand: one vectoriser, one index, no files.
 */
#include <hyperion/hyperion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 256 };

static const char *const sentences[] = {
    "The otter swims in the cold river.",
    "A compiler turns source text into machine code.",
    "Bread rises because yeast makes gas.",
    "Rivers carry cold water from the mountains.",
    "The baker kneads dough before dawn.",
};

static void check(int r, const char *what)
{
    if (r != 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-r));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const char *question = argc > 1 ? argv[1] : "cold rivers";
    hy_index_options options = HY_INDEX_OPTIONS_INIT;
    hy_vectorizer *vectorizer;
    hy_index *index;
    float vector[DIM];
    hy_hit hits[3];
    size_t count;

    check(hy_vectorizer_create(&vectorizer, NULL), "vectorizer");
    options.dim = DIM;
    options.metric = HY_METRIC_COSINE;
    check(hy_index_create(&index, &options), "index");

    for (size_t i = 0; i < sizeof(sentences) / sizeof(*sentences); i++) {
        check(hy_text_vectorize(vectorizer, sentences[i], strlen(sentences[i]),
                                vector),
              "vectorize");
        check(hy_index_insert(index, i, vector), "insert");
    }

    check(hy_text_vectorize(vectorizer, question, strlen(question), vector),
          "vectorize");
    check(hy_index_search(index, vector, 3, NULL, hits, &count), "search");
    printf("%s?\n", question);
    for (size_t i = 0; i < count; i++)
        printf("%6.3f  %s\n", (double)hits[i].score, sentences[hits[i].id]);

    hy_index_destroy(index);
    hy_vectorizer_destroy(vectorizer);
    return 0;
}
