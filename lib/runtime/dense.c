/*
 * dense.c - small stacks next to each other in huge pages.
 *
 *      a segment:  | descriptors, blocks | G | block 0 | block 1 | ...
 *
 *      a block, one huge page:  | c | stack 0 | c | stack 1 | ... | c | stack n
 *                                canary, a line
 *
 * 100,000 stacks of 8 KiB lie in 400 pages, where those of other classes have
 * their tops in as many pages as there are stacks: the processor knows the
 * addresses of 400 pages by heart. The stride is an odd number of lines, so
 * that tops are colored by itself.
 *
 * There is no room for guards. An overflow runs over the line below the stack
 * before it reaches the neighbour's: the worker looks at that line whenever it
 * leaves the stack. What lies below may be damaged already, so the process must
 * not go on: it is made to fault at G, with all that a hit guard entails.
 *
 * Memory is had and given back by the block, since a huge page that is partly
 * given back is one no more. So free stacks are kept in their blocks, and taken
 * from those of which others are in use.
 *
 * Invariant: a block is in the list that its counts tell (list_of).
 *
 * Upstream: stack.c, hop.h, queues.h. Downstream: os.h.
 */
#include <errno.h>

#include "arch.h"
#include "bits.h"
#include "check.h"
#include "stack.h"

enum { BLOCK_BYTES = 2 << 20, SEGMENT_BLOCKS_MOST = 1 << 16 };

struct hyi_stack_block {
    struct hyi_stack_block *next, *prev; /* in one of the lists of its class */
    struct hyi_stack_segment *segment;
    char *base;
    struct hyi_stack *free;
    uint32_t free_count, count;
    bool bare; /* has no memory; then all of it is free */
};

/* How many stacks a block of the segment has. */
static size_t blocks_stacks(const struct hyi_stack_segment *g)
{
    return BLOCK_BYTES / g->stride;
}

/* --- segments --------------------------------------------------------------
 */

static int reserve(struct hyi_stack_segment *g, size_t blocks)
{
    size_t page = hyi_os_page_bytes();
    size_t head = g->count * sizeof(struct hyi_stack) +
                  blocks * sizeof(struct hyi_stack_block);
    void *base = NULL;
    char *end;
    int r;

    g->bytes = hyi_align_up(head, page) + page + (blocks + 1) * BLOCK_BYTES;
    r = hyi_os_reserve(&base, g->bytes, HYI_OS_READ | HYI_OS_WRITE, NULL,
                       false);
    if (r != 0)
        return -ENOMEM;
    end = (char *)base + head + page;
    end += hyi_align_up((uintptr_t)end, BLOCK_BYTES) - (uintptr_t)end;
    g->base = base;
    g->blocks =
        (struct hyi_stack_block *)(void *)((struct hyi_stack *)base + g->count);
    g->first = end;
    r = hyi_os_huge(g->first, blocks * BLOCK_BYTES);
    if (r == 0)
        r = hyi_os_protect(g->first - page, page, HYI_OS_NONE);
    if (r != 0)
        hyi_os_release(base, g->bytes);
    return r;
}

int hyi_dense_map(struct hyi_stack_segment *g, size_t count)
{
    size_t blocks, each;
    int r = -ENOMEM;

    if (HY_ARCH_THREADS) /* whose beginnings take more than there is to spare */
        return -ENOTSUP;
    g->stride = hyi_stack_class_bytes(g->class) + HYI_STACK_CANARY_BYTES;
    g->guard = 0;
    g->prepared = 0;
    each = blocks_stacks(g);
    blocks = (count + each - 1) / each;
    if (blocks > SEGMENT_BLOCKS_MOST)
        blocks = SEGMENT_BLOCKS_MOST;
    for (; blocks > 0 && r == -ENOMEM; blocks /= 2) {
        g->count = blocks * each;
        r = reserve(g, blocks);
    }
    return r;
}

void *hyi_dense_culprit(struct hyi_stack_segment *g)
{
    /* Partner: hyi_dense_check, in this thread. */
    void *owner = atomic_load_explicit(&g->broken, memory_order_relaxed);

    if (owner == NULL)
        owner =
            atomic_load_explicit(&((struct hyi_stack *)(void *)g->base)->owner,
                                 memory_order_relaxed);
    return owner;
}

/* --- blocks ----------------------------------------------------------------
 */

static struct hyi_stack_block **list_of(struct hyi_stack_class *c,
                                        const struct hyi_stack_block *b)
{
    if (b->free_count == 0)
        return NULL;
    if (b->free_count < b->count)
        return &c->partial;
    return b->bare ? &c->bare : &c->whole;
}

static void enlist(struct hyi_stack_block **list, struct hyi_stack_block *b)
{
    if (list == NULL)
        return;
    b->prev = NULL;
    b->next = *list;
    if (b->next != NULL)
        b->next->prev = b;
    *list = b;
}

static void delist(struct hyi_stack_block **list, struct hyi_stack_block *b)
{
    if (list == NULL)
        return;
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        *list = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
}

size_t hyi_dense_prepare(struct hyi_stack_class *c, struct hyi_stack_segment *g)
{
    size_t each = blocks_stacks(g), nth = g->prepared / each;
    struct hyi_stack *stack = (struct hyi_stack *)(void *)g->base + nth * each;
    struct hyi_stack_block *b = &g->blocks[nth];

    b->segment = g;
    b->base = g->first + nth * BLOCK_BYTES;
    b->count = b->free_count = (uint32_t)each;
    b->bare = true;
    b->free = stack;
    for (size_t i = 0; i < each; i++) {
        stack[i].low = b->base + i * g->stride + HYI_STACK_CANARY_BYTES;
        stack[i].usable = (uint32_t)(g->stride - HYI_STACK_CANARY_BYTES);
        stack[i].block = b;
        stack[i].next = i + 1 < each ? &stack[i + 1] : NULL;
    }
    enlist(&c->bare, b);
    g->prepared += each;
    return each;
}

struct hyi_stack *hyi_dense_take(struct hyi_stack_class *c)
{
    struct hyi_stack_block *b = c->partial != NULL ? c->partial
                                : c->whole != NULL ? c->whole
                                                   : c->bare;
    struct hyi_stack_block **before, **after;
    struct hyi_stack *stack;

    if (b == NULL)
        return NULL;
    before = list_of(c, b);
    stack = b->free;
    b->free = stack->next;
    if (b->bare)
        c->warm_count += b->count;
    b->bare = false;
    b->free_count--;
    c->warm_count--;
    after = list_of(c, b);
    if (before != after) {
        delist(before, b);
        enlist(after, b);
    }
    return stack;
}

void hyi_dense_give(struct hyi_stack_class *c, struct hyi_stack *stack)
{
    struct hyi_stack_block *b = stack->block;
    struct hyi_stack_block **before = list_of(c, b), **after;

    HYI_ASSERT(b->free_count < b->count);
    stack->next = b->free;
    b->free = stack;
    b->free_count++;
    c->warm_count++;
    after = list_of(c, b);
    if (before != after) {
        delist(before, b);
        enlist(after, b);
    }
}

size_t hyi_dense_trim(struct hyi_stack_class *c)
{
    struct hyi_stack_block *b = c->whole;

    if (b == NULL)
        return 0;
    delist(&c->whole, b);
    hyi_os_decommit(b->base, BLOCK_BYTES);
    b->bare = true;
    c->warm_count -= b->count;
    enlist(&c->bare, b);
    return b->count;
}

uint64_t hyi_dense_bytes(const struct hyi_stacks *s)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < s->segment_count; i++) {
        const struct hyi_stack_segment *g = &s->segment[i];

        if (hyi_stack_is_dense(g->class))
            for (size_t k = 0; k < g->prepared / blocks_stacks(g); k++)
                bytes += g->blocks[k].bare ? 0 : BLOCK_BYTES;
    }
    return bytes;
}

uint64_t hyi_dense_huge(const struct hyi_stacks *s, unsigned segments)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < segments; i++) {
        const struct hyi_stack_segment *g = &s->segment[i];

        if (hyi_stack_is_dense(g->class))
            bytes += hyi_os_huge_bytes(g->first, g->count / blocks_stacks(g) *
                                                     BLOCK_BYTES);
    }
    return bytes;
}

/* --- canaries --------------------------------------------------------------
 */

void hyi_dense_seal(const struct hyi_stack *stack)
{
    uintptr_t *word =
        (uintptr_t *)(void *)(stack->low - HYI_STACK_CANARY_BYTES);

    for (size_t i = 0; i < HYI_STACK_CANARY_BYTES / sizeof(*word); i++)
        word[i] = hyi_canary_word(stack->low);
}

void hyi_dense_fail(const struct hyi_stack *stack)
{
    struct hyi_stack_segment *g = stack->block->segment;

    atomic_store_explicit(
        &g->broken, atomic_load_explicit(&stack->owner, memory_order_relaxed),
        memory_order_relaxed);
    for (;;) /* a handler may come back from it */
        *(volatile char *)(g->first - 1) = 0;
}
