/*
 * 08_vectors.c - distances and quantisation: which of six sentences is most
 * like a seventh, in full precision and in a quarter of the memory.
 */
#include <hyperion/hyperion.h>

#include <stdio.h>
#include <string.h>

enum { DIM = 256, ROWS = 6, QUERIES = 100000 };

static const char *const sentences[ROWS] = {
    "a large heavy animal with thick fur that eats plants and meat",
    "a stringed instrument that is played by plucking",
    "an instrument for looking at distant stars and planets",
    "a small animal with thick soft fur that lives in trees",
    "food made from flour and water and baked in an oven",
    "a person who studies the stars",
};

static const char question[] = "instruments to look at a star";

static float rows[ROWS][DIM], query[DIM];
static int8_t codes[ROWS][DIM], query_codes[DIM];
static hy_sq8 heads[ROWS];

int main(void)
{
    float exact[ROWS], quantised[ROWS];
    hy_vectorizer *v;
    hy_sq8 head;
    uint64_t start;
    int error = hy_vectorizer_create(&v, NULL);

    if (error != 0) {
        fprintf(stderr, "no vectorizer: %s\n", strerror(-error));
        return 1;
    }

    /* Text to vectors, and each vector to bytes with a scale of its own. */
    for (int i = 0; i < ROWS; i++) {
        hy_text_vectorize(v, sentences[i], strlen(sentences[i]), rows[i]);
        heads[i] = hy_vec_sq8_encode(rows[i], DIM, codes[i]);
    }
    hy_text_vectorize(v, question, strlen(question), query);
    head = hy_vec_sq8_encode(query, DIM, query_codes);

    /* One query against all rows, both ways. */
    hy_vec_cos_f32_batch(query, rows[0], DIM, ROWS, DIM, exact);
    hy_vec_sq8_dot_batch(head, query_codes, heads, codes[0], DIM, ROWS, DIM,
                         quantised);
    printf("\"%s\"\n", question);
    printf("  cosine   SQ8\n");
    for (int i = 0; i < ROWS; i++)
        printf("  %6.3f %6.3f  %s\n", exact[i], quantised[i], sentences[i]);

    /* How fast, on this machine. */
    start = hy_now();
    for (int i = 0; i < QUERIES; i++)
        hy_vec_sq8_dot_batch(head, query_codes, heads, codes[0], DIM, ROWS, DIM,
                             quantised);
    printf("%.1f ns for one SQ8 product of %d dimensions, with %s\n",
           (double)(hy_now() - start) / QUERIES / ROWS, DIM, hy_vec_isa());
    hy_vectorizer_destroy(v);
    return 0;
}
