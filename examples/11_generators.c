/*
 * 11_generators.c - a generator: a function that gives one value after another
 * and keeps its place, its loops and its variables in between.
 *
 * It has a stack of its own, and hy_inline_context_switch takes turns between
 * it and its user. Here it walks a binary tree in order, which is recursive;
 * without a stack of its own the walk would have to be turned inside out. The
 * program compares two trees of different shape value by value, and times a
 * step beside the call of a callback.
 */
#include <hyperion/inline/context.h>

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 1 << 16, STACK_BYTES = 64 << 10, ROUNDS = 20 };

struct node {
    struct node *left, *right;
    uint64_t value;
};

struct generator {
    hy_inline_context self, user;
    const struct node *root;
    void *stack;
};

static void walk(struct generator *g, const struct node *n)
{
    if (n == NULL)
        return;
    walk(g, n->left);
    hy_inline_context_switch(&g->self, &g->user, (void *)&n->value);
    walk(g, n->right);
}

/* Where the generator begins. It must not return: when all is said, NULL. */
static void begin(void *arg, void *value)
{
    struct generator *g = arg;

    (void)value;
    walk(g, g->root);
    for (;;)
        hy_inline_context_switch(&g->self, &g->user, NULL);
}

static void generator_start(struct generator *g, const struct node *root)
{
    g->root = root;
    if (g->stack == NULL)
        g->stack = malloc(STACK_BYTES);
    if (g->stack == NULL ||
        hy_inline_context_make(&g->self, g->stack, STACK_BYTES, begin, g) != 0)
        exit(1);
}

/* The next value, or NULL. The generator runs in here. */
static const uint64_t *generator_next(struct generator *g)
{
    return hy_inline_context_switch(&g->user, &g->self, NULL);
}

/* --- what is compared ----------------------------------------------------- */

/* A tree with the values [first, first + count); of what lies below each root,
 * percent are on the left. */
static struct node *plant(struct node **pool, uint64_t first, uint64_t count,
                          uint64_t percent)
{
    uint64_t left = count == 0 ? 0 : (count - 1) * percent / 100;
    struct node *n;

    if (count == 0)
        return NULL;
    n = (*pool)++;
    n->value = first + left;
    n->left = plant(pool, first, left, percent);
    n->right = plant(pool, first + left + 1, count - 1 - left, percent);
    return n;
}

static void each(const struct node *n, void (*visit)(uint64_t, void *),
                 void *arg)
{
    if (n == NULL)
        return;
    each(n->left, visit, arg);
    visit(n->value, arg);
    each(n->right, visit, arg);
}

static void add(uint64_t value, void *sum)
{
    *(uint64_t *)sum += value;
}

static double least_ns(struct generator *g, const struct node *root,
                       uint64_t *sum)
{
    void (*volatile visit)(uint64_t, void *) = add;
    uint64_t best = UINT64_MAX;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = hy_now(), took;

        *sum = 0;
        if (g == NULL) {
            each(root, visit, sum);
        } else {
            generator_start(g, root);
            for (const uint64_t *v = generator_next(g); v != NULL;
                 v = generator_next(g))
                *sum += *v;
        }
        took = hy_now() - start;
        best = took < best ? took : best;
    }
    return (double)best / NODES;
}

int main(void)
{
    static struct node nodes[2 * NODES];
    struct node *pool = nodes;
    struct node *even = plant(&pool, 1, NODES, 50);
    struct node *uneven = plant(&pool, 1, NODES, 90);
    struct generator a = {.stack = NULL}, b = {.stack = NULL};
    const uint64_t *x, *y;
    uint64_t same = 0, by_callback, by_generator;
    double callback, generator;

    generator_start(&a, even);
    generator_start(&b, uneven);
    do {
        x = generator_next(&a);
        y = generator_next(&b);
        same += x != NULL && y != NULL && *x == *y;
    } while (x != NULL && y != NULL);
    printf("two trees of different shape: %llu of %d values agree\n",
           (unsigned long long)same, NODES);

    callback = least_ns(NULL, even, &by_callback);
    generator = least_ns(&a, even, &by_generator);
    printf("a value by callback %.1f ns, by generator %.1f ns\n", callback,
           generator);
    free(a.stack);
    free(b.stack);
    return same != NODES || x != y || by_callback != by_generator;
}
