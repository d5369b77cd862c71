/*
 * stack.c - reserving, guarding and pooling stacks.
 *
 *      one segment, one mapping (guards need none of their own where the
 *      kernel can install them into the page table):
 *
 *      | descriptors | G | stack 0 | G | stack 1 | ... | G | stack n-1 |
 *                     \__stride___/
 *      prepared: the first so many are guarded and in the pool
 *
 *      one stack:   low |  ......grows down <-- | color |   usable >= asked for
 *
 * The color moves the tops of neighbouring stacks to different cache sets; with
 * all tops alike, 100,000 fibers that yield contend for one set in 64.
 *
 * Dense stacks are laid out otherwise, and pooled in their blocks (dense.c).
 *
 * Invariant: claimed + slack <= ready in every class, slack being what the
 * pools of the workers may hold: so the shared pool is never empty when a
 * claimed stack is taken.
 *
 * Upstream: worker.c, fiber.c. Downstream: dense.c, os.h, fault.h.
 */
#include "stack.h"

#include <errno.h>

#include "arch.h"
#include "bits.h"
#include "fault.h"

enum {
    FIRST_SEGMENT = 256, /* stacks in the first segment of a class */
    SEGMENT_GROWTH = 4,  /* keeps 1,000,000 stacks below eight mappings */
    BATCH = 64,          /* stacks guarded at a time */
    COLORS = 32,         /* of one line each: half a page, so that an idle
                            fiber's frames still fit into the top page */
    COLOR_STEP = 64,
    /* Above what was asked for: room for the colors, and then some, so that
       the whole of it is usable. */
    HEADROOM = 4096,
    TRIM_AT_ONCE = 16, /* 25 us */
    GUARD_MAPS = 2     /* mappings that a protected page costs */
};

static const size_t segment_bytes_most = (size_t)1 << 37;

int hyi_stack_class(size_t bytes, unsigned first)
{
    bool dense = hyi_stack_is_dense(first);
    unsigned least =
        dense ? HYI_STACK_DENSE_LOG2_MIN : HYI_STACK_BYTES_LOG2_MIN;
    unsigned most = dense ? HYI_STACK_DENSE_LOG2_MAX : HYI_STACK_BYTES_LOG2_MAX;

    if (bytes < (size_t)1 << least || bytes > (size_t)1 << most)
        return -1;
    if (dense && bytes < HY_ARCH_STACK_BYTES_LEAST)
        bytes = HY_ARCH_STACK_BYTES_LEAST;
    return (int)(first + hyi_log2_floor(hyi_power_of_two_ceil(bytes)) - least);
}

static bool class_is_guarded(unsigned class)
{
    return class < HYI_STACK_UNGUARDED;
}

/* --- segments --------------------------------------------------------------
 */

static struct hyi_stack *descriptor(const struct hyi_stack_segment *g, size_t i)
{
    return (struct hyi_stack *)(void *)g->base + i;
}

/* Whose guard was hit? The fault is passed on in any case. */
static bool on_fault(void *ctx, const struct hyi_fault *fault)
{
    struct hyi_stack_segment *g = ctx;
    char *address = fault->address;
    size_t offset = (size_t)(address - g->first);
    void *owner;

    if (hyi_stack_is_dense(g->class) && address < g->first)
        owner = hyi_dense_culprit(g);
    else if (address < g->first || offset % g->stride >= g->guard)
        return false;
    else
        owner = atomic_load_explicit(&descriptor(g, offset / g->stride)->owner,
                                     memory_order_relaxed);
    if (owner != NULL && g->stacks->overflowed != NULL)
        g->stacks->overflowed(owner);
    return false;
}

/* Maps room for count stacks, or for fewer when that much is refused. */
static int map_segment(struct hyi_stack_segment *g, size_t count)
{
    size_t page = hyi_os_page_bytes(), head;
    void *base = NULL;
    int r = -ENOMEM;

    g->guard = class_is_guarded(g->class) ? page : 0;
    g->stride = g->guard +
                hyi_align_up(hyi_stack_class_bytes(g->class) + HEADROOM, page);
    while (count > 1 && count * g->stride > segment_bytes_most)
        count /= 2;
    for (; count > 0; count /= 2) {
        head = hyi_align_up(count * sizeof(struct hyi_stack), page);
        g->bytes = head + count * g->stride;
        r = hyi_os_reserve(&base, g->bytes, HYI_OS_READ | HYI_OS_WRITE, NULL,
                           false);
        if (r == 0)
            break;
    }
    if (r != 0)
        return -ENOMEM;
    /* A stack touches one page or two: a huge one would waste the rest. */
    hyi_os_small_pages(base, g->bytes);
    g->base = base;
    g->first = g->base + head;
    g->count = count;
    g->prepared = 0;
    return 0;
}

static int add_segment(struct hyi_stacks *s, unsigned class)
{
    struct hyi_stack_class *c = &s->class[class];
    struct hyi_stack_segment *g;
    size_t pool = hyi_stack_pool_most(class);
    size_t count = pool == 64 ? FIRST_SEGMENT : pool * (s->workers + 1);
    int r;

    if (s->segment_count == HYI_STACK_SEGMENTS)
        return -ENOMEM;
    if (c->newest != NULL)
        count = c->newest->count * SEGMENT_GROWTH;
    g = &s->segment[s->segment_count];
    g->class = class;
    g->stacks = s;
    r = hyi_stack_is_dense(class) ? hyi_dense_map(g, count)
                                  : map_segment(g, count);
    if (r != 0)
        return r;
    g->watched = (class_is_guarded(class) || hyi_stack_is_dense(class)) &&
                 hyi_fault_attach(g->base, g->bytes, on_fault, g) == 0;
    s->segment_count++;
    c->newest = g;
    return 0;
}

/* --- guards ----------------------------------------------------------------
 */

/* May count more pages be protected, two mappings each, below 80 % of what the
   process may have? Counted anew whenever the answer was used up. */
static int spend_maps(struct hyi_stacks *s, size_t count)
{
    size_t limit = hyi_os_map_limit() / 5 * 4, used;

    if (limit == 0) /* a system without a limit */
        return 0;
    if (s->maps_budget < count * GUARD_MAPS) {
        used = hyi_os_map_count();
        if (used + count * GUARD_MAPS > limit)
            return -EAGAIN;
        s->maps_budget = (limit - used) / 4;
        if (s->maps_budget < count * GUARD_MAPS)
            s->maps_budget = count * GUARD_MAPS;
    }
    s->maps_budget -= count * GUARD_MAPS;
    return 0;
}

static int guard(struct hyi_stacks *s, const struct hyi_stack_segment *g,
                 size_t from, size_t count)
{
    size_t page = g->guard;
    char *first = g->first + from * g->stride;
    int r;

    if (!class_is_guarded(g->class))
        return 0;
    if (hyi_os_guard(first, page, g->stride, count) == 0) {
        s->guards_installed += count;
        return 0;
    }
    r = spend_maps(s, count);
    for (size_t i = 0; i < count && r == 0; i++)
        r = hyi_os_protect(first + i * g->stride, page, HYI_OS_NONE);
    if (r == 0)
        s->guards_protected += count;
    return r;
}

/* Guards a batch of stacks and puts them into the shared pool. */
static int prepare(struct hyi_stacks *s, unsigned class)
{
    struct hyi_stack_class *c = &s->class[class];
    struct hyi_stack_segment *g = c->newest;
    size_t from, count;
    int r;

    if (g == NULL || g->prepared == g->count) {
        r = add_segment(s, class);
        if (r != 0)
            return r;
        g = c->newest;
    }
    if (hyi_stack_is_dense(class)) {
        c->ready += hyi_dense_prepare(c, g);
        return 0;
    }
    from = g->prepared;
    count = g->count - from < BATCH ? g->count - from : BATCH;
    r = guard(s, g, from, count);
    if (r != 0)
        return r;
    for (size_t i = from + count; i-- > from;) {
        struct hyi_stack *stack = descriptor(g, i);

        stack->low = g->first + i * g->stride + g->guard;
        stack->usable = (uint32_t)(hyi_stack_class_bytes(class) + HEADROOM -
                                   i * 5 % COLORS * COLOR_STEP);
        stack->next = c->cold;
        c->cold = stack;
    }
    g->prepared += count;
    c->ready += count;
    return 0;
}

/* --- claims ----------------------------------------------------------------
 */

int hyi_stack_claim(struct hyi_stacks *s, unsigned class, unsigned count)
{
    struct hyi_stack_class *c = &s->class[class];
    int r = 0;

    hyi_lock(&s->lock);
    c->slack = (size_t)s->workers * hyi_stack_pool_most(class);
    while (c->claimed + count + c->slack > c->ready && r == 0)
        r = prepare(s, class);
    if (r == 0)
        c->claimed += count;
    hyi_unlock(&s->lock);
    return r;
}

void hyi_stack_unclaim(struct hyi_stacks *s, unsigned class, unsigned count)
{
    hyi_lock(&s->lock);
    HYI_ASSERT(s->class[class].claimed >= count);
    s->class[class].claimed -= count;
    hyi_unlock(&s->lock);
}

/* --- pools -----------------------------------------------------------------
 */

static struct hyi_stack *take_shared(struct hyi_stack_class *c)
{
    bool warm = c->warm != NULL;
    struct hyi_stack **list = warm ? &c->warm : &c->cold;
    struct hyi_stack *stack = *list;

    if (stack == NULL)
        return NULL;
    *list = stack->next;
    c->warm_count -= warm;
    return stack;
}

/* Moves up to half a pool from the shared lists to the worker's, in their
   order, which is that of the addresses as a rule: where fibers that began one
   after another lie one above the other, the processor sees what comes. */
static void refill(struct hyi_stacks *s, struct hyi_stack_pool *pool,
                   unsigned class)
{
    struct hyi_stack_class *c = &s->class[class];
    unsigned want = (hyi_stack_pool_most(class) + 1) / 2;
    struct hyi_stack **end = &pool->top;

    hyi_lock(&s->lock);
    while (pool->count < want) {
        struct hyi_stack *stack =
            hyi_stack_is_dense(class) ? hyi_dense_take(c) : take_shared(c);

        if (stack == NULL)
            break;
        stack->next = *end;
        *end = stack;
        end = &stack->next;
        pool->count++;
    }
    hyi_unlock(&s->lock);
    HYI_ASSERT(pool->count > 0);
}

struct hyi_stack *hyi_stack_take(struct hyi_stacks *s,
                                 struct hyi_stack_pool *pool, unsigned class)
{
    struct hyi_stack *stack;

    if (HYI_UNLIKELY(pool->count == 0))
        refill(s, pool, class);
    stack = pool->top;
    pool->top = stack->next;
    pool->count--;
    if (HYI_UNLIKELY(!stack->noted)) {
        hyi_note_create(&stack->note, stack->low, stack->usable);
        stack->noted = true;
        stack->ready = !hyi_stack_is_dense(class);
    }
    if (HYI_UNLIKELY(hyi_stack_is_dense(class)))
        hyi_dense_seal(stack);
    return stack;
}

/* The colder half of a full pool goes to the shared list. */
static void spill(struct hyi_stacks *s, struct hyi_stack_pool *pool,
                  unsigned class)
{
    struct hyi_stack_class *c = &s->class[class];
    unsigned keep = (hyi_stack_pool_most(class) + 1) / 2;
    struct hyi_stack *last = pool->top, *list;

    for (unsigned i = 1; i < keep; i++)
        last = last->next;
    list = last->next;
    last->next = NULL;
    hyi_lock(&s->lock);
    while (list != NULL) {
        struct hyi_stack *stack = list;

        list = stack->next;
        if (hyi_stack_is_dense(class)) {
            hyi_dense_give(c, stack);
            continue;
        }
        stack->next = c->warm;
        c->warm = stack;
        c->warm_count++;
    }
    hyi_unlock(&s->lock);
    pool->count = keep;
}

void hyi_stack_give(struct hyi_stacks *s, struct hyi_stack_pool *pool,
                    unsigned class, struct hyi_stack *stack)
{
    atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
    stack->next = pool->top;
    pool->top = stack;
    if (HYI_UNLIKELY(++pool->count > hyi_stack_pool_most(class)))
        spill(s, pool, class);
}

/* Under the lock: outside all lists a stack would be missing to a taker whom a
   claim has promised it. Returns how many. */
static size_t trim_one(struct hyi_stacks *s, unsigned class, size_t keep_bytes)
{
    struct hyi_stack_class *c = &s->class[class];
    struct hyi_stack *stack = c->warm;

    if (c->warm_count <= keep_bytes >> hyi_stack_class_log2(class))
        return 0;
    if (hyi_stack_is_dense(class))
        return hyi_dense_trim(c);
    c->warm = stack->next;
    c->warm_count--;
    hyi_os_decommit(stack->low, hyi_stack_class_bytes(class) + HEADROOM);
    stack->next = c->cold;
    c->cold = stack;
    return 1;
}

bool hyi_stack_trim(struct hyi_stacks *s, size_t keep_bytes)
{
    size_t left = TRIM_AT_ONCE;

    for (unsigned class = 0; class < HYI_STACK_CLASSES && left > 0;) {
        size_t count;

        hyi_lock(&s->lock);
        count = trim_one(s, class, keep_bytes);
        s->trimmed += count;
        hyi_unlock(&s->lock);
        if (count == 0)
            class ++;
        left -= count < left ? count : left;
    }
    return left == 0;
}

void hyi_stacks_release(struct hyi_stacks *s)
{
    for (unsigned i = 0; i < s->segment_count; i++) {
        struct hyi_stack_segment *g = &s->segment[i];

        for (size_t k = 0; k < g->prepared; k++)
            if (descriptor(g, k)->noted)
                hyi_note_destroy(&descriptor(g, k)->note);
        if (g->watched)
            hyi_fault_detach(g->base);
        hyi_os_release(g->base, g->bytes);
    }
    *s = (struct hyi_stacks){.segment_count = 0};
}
