/*
 * scan.c - the exact search.
 *
 *      codes of 512 rows --int8 dot--> scores --> a heap of the best R
 *                                                  | floats of those R rows
 *                                                  v
 *                                              sorted, the first k are hits
 *
 * A code c of scale s and base b stands for b + s * c. With the query's own
 * codes (S, B) of n components, sums t and T, and the int8 dot product d:
 *
 *      dot = b * (n * B + S * T) + s * (B * t + S * d)
 *
 * and the squared distance is |q|^2 + |x|^2 - 2 * dot. With floats alone (no
 * codes) the scores are exact at once.
 *
 * Invariant: only rows that lived in the version read at the start are kept, so
 * a hit belongs to one state of the index, whatever the writer does meanwhile.
 * Upstream: index.c. Downstream: rows.h, vec.h.
 */
#include "scan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"

enum {
    BLOCK_ROWS = 512,      /* 2 KiB of scores: a fiber's stack is small */
    GLANCE = 16,           /* scores looked at together; divides BLOCK_ROWS */
    CANDIDATES_LOCAL = 256 /* kept on the stack; more come from malloc */
};

struct candidate {
    float score;
    uint64_t id;
    uint64_t row;
};

/* A binary heap, the worst candidate on top. */
struct best {
    struct candidate *items;
    size_t count, capacity;
    float floor; /* what a score must exceed once the heap is full */
};

struct query {
    const float *floats;
    int8_t *codes;
    float scale, base, sum;
    size_t dim;
    hy_metric metric;
};

/* Worse: a smaller score; of equal ones, the larger id. */
static bool is_worse(const struct candidate *a, const struct candidate *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    return a->id > b->id;
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;

    *a = *b;
    *b = t;
}

static void sift_down(struct candidate *items, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= count)
            return;
        if (child + 1 < count && is_worse(&items[child + 1], &items[child]))
            child++;
        if (!is_worse(&items[child], &items[at]))
            return;
        swap(&items[at], &items[child]);
        at = child;
    }
}

static void keep(struct best *best, struct candidate c)
{
    struct candidate *items = best->items;

    if (best->count < best->capacity) {
        size_t at = best->count++;

        items[at] = c;
        for (; at != 0 && is_worse(&items[at], &items[(at - 1) / 2]);
             at = (at - 1) / 2)
            swap(&items[at], &items[(at - 1) / 2]);
    } else if (is_worse(&items[0], &c)) {
        items[0] = c;
        sift_down(items, best->count, 0);
    }
    if (best->count == best->capacity)
        best->floor = items[0].score;
}

/* Turns the heap into an array with the best first. */
static void sort_best_first(struct best *best)
{
    for (size_t n = best->count; n > 1; n--) {
        swap(&best->items[0], &best->items[n - 1]);
        sift_down(best->items, n - 1, 0);
    }
}

/* --- scores ----------------------------------------------------------------
 */

/*
 * A dead row may be rewritten while it is scored; what comes out is thrown away
 * by has_lived. The terms of a row that lived in the reader's version do not
 * change before hyi_rows_leave. ThreadSanitizer cannot know what is thrown
 * away; atomic loads would cost the loop its vectors.
 */
__attribute__((no_sanitize("thread"))) static void
score_codes(const struct query *q, const struct segment *s, size_t stride,
            uint64_t at, size_t n, float *scores)
{
    const struct row_term *terms = s->terms + at;
    float of_base = (float)q->dim * q->base + q->scale * q->sum;
    int32_t dots[BLOCK_ROWS];

    hy_vec_dot_i8_batch(q->codes, s->codes + at * stride, stride, n, q->dim,
                        dots);
    for (size_t i = 0; i < n; i++)
        scores[i] = terms[i].base * of_base +
                    terms[i].scale *
                        (q->base * terms[i].sum + q->scale * (float)dots[i]);
    if (q->metric == HY_METRIC_L2)
        for (size_t i = 0; i < n; i++)
            scores[i] = 2.0f * scores[i] - terms[i].norm;
}

static void score_floats(const struct query *q, const struct segment *s,
                         size_t stride, uint64_t at, size_t n, float *scores)
{
    const float *rows = s->floats + at * stride;

    if (q->metric != HY_METRIC_L2) {
        hy_vec_dot_f32_batch(q->floats, rows, stride, n, q->dim, scores);
        return;
    }
    hy_vec_l2sq_f32_batch(q->floats, rows, stride, n, q->dim, scores);
    for (size_t i = 0; i < n; i++)
        scores[i] = -scores[i];
}

/* The score of one row by its floats; NaN (an overflow) counts as worst. */
static float exact_score(const struct rows *rows, const struct query *q,
                         uint64_t row)
{
    unsigned i = segment_of(row);
    float score;

    score_floats(q, &rows->segments[i], rows->float_stride,
                 row - segment_first(i), 1, &score);
    return isnan(score) ? -INFINITY : score;
}

/* --- the scan --------------------------------------------------------------
 */

/* Whether one of the next GLANCE scores is not below the floor; NaN is not. */
static bool any_reaches(const float *scores, float floor)
{
    unsigned any = 0;

    for (size_t i = 0; i < GLANCE; i++)
        any |= !(scores[i] < floor);
    return any != 0;
}

static void keep_rows(const struct segment *s, uint64_t first, uint64_t at,
                      size_t n, const float *scores, uint64_t now,
                      const hy_search_options *options, struct best *best)
{
    for (size_t i = 0; i < n; i++) {
        float score = isnan(scores[i]) ? -INFINITY : scores[i];

        /* Equal to the floor may still win by its id. */
        if (HYI_LIKELY(best->count == best->capacity && score < best->floor))
            continue;
        if (!has_lived(&s->lives[at + i], now))
            continue;
        if (options->accept != NULL &&
            !options->accept(options->ctx, s->ids[at + i]))
            continue;
        keep(best, (struct candidate){score, s->ids[at + i], first + at + i});
    }
}

/* Almost all rows of a large index are below the floor: they are passed over
 * by the dozen. */
static void keep_block(const struct segment *s, uint64_t first, uint64_t at,
                       size_t n, const float *scores, uint64_t now,
                       const hy_search_options *options, struct best *best)
{
    for (size_t i = 0; i < n; i += GLANCE) {
        size_t some = n - i < GLANCE ? n - i : GLANCE;

        if (some < GLANCE || best->count < best->capacity ||
            any_reaches(scores + i, best->floor))
            keep_rows(s, first, at + i, some, scores + i, now, options, best);
    }
}

static void scan_rows(const struct rows *rows, const struct query *q,
                      const hy_search_options *options, struct best *best)
{
    /* Acquire, both: pair with the releases in rows.c. now comes first: every
     * row that lived in it is below end. */
    uint64_t now = atomic_load_explicit(&rows->head->now, memory_order_acquire);
    uint64_t end =
        atomic_load_explicit(&rows->head->row_count, memory_order_acquire);
    float scores[BLOCK_ROWS];

    for (unsigned i = 0; i < SEGMENT_COUNT && segment_first(i) < end; i++) {
        const struct segment *s = &rows->segments[i];
        uint64_t first = segment_first(i);
        uint64_t rest = end - first;
        uint64_t count = rest < segment_rows(i) ? rest : segment_rows(i);

        for (uint64_t at = 0; at < count; at += BLOCK_ROWS) {
            size_t n =
                count - at < BLOCK_ROWS ? (size_t)(count - at) : BLOCK_ROWS;

            if (rows->code_stride != 0)
                score_codes(q, s, rows->code_stride, at, n, scores);
            else
                score_floats(q, s, rows->float_stride, at, n, scores);
            keep_block(s, first, at, n, scores, now, options, best);
        }
    }
}

static void rank(const struct rows *rows, const struct query *q,
                 struct best *best)
{
    for (size_t i = 0; i < best->count; i++)
        best->items[i].score = exact_score(rows, q, best->items[i].row);
    for (size_t i = best->count / 2; i-- > 0;)
        sift_down(best->items, best->count, i);
    sort_best_first(best);
}

static int encode_query(const struct rows *rows, struct query *q)
{
    hy_sq8 sq;

    if (rows->code_stride == 0)
        return 0;
    q->codes = malloc(rows->code_stride);
    if (q->codes == NULL)
        return -ENOMEM;
    sq = hy_vec_sq8_encode(q->floats, q->dim, q->codes);
    q->scale = sq.scale;
    q->base = sq.bias + 128.0f * sq.scale;
    q->sum = (float)sq.sum;
    return 0;
}

/* How many candidates the scan keeps for k hits. */
static size_t candidates_for(const struct rows *rows, size_t k, size_t rerank)
{
    uint64_t row_count =
        atomic_load_explicit(&rows->head->row_count, memory_order_relaxed);
    uint64_t n = k;

    if (rows->code_stride != 0) {
        n = rerank;
        if (n == 0)
            n = k > 16 ? (k <= SIZE_MAX / 8 ? 8 * k : k) : 128;
        if (n < k)
            n = k;
    }
    return (size_t)(n < row_count + 1 ? n : row_count + 1);
}

/* While the caller is a reader: the payload is still that of the row. */
static void take_hits(const struct rows *rows, const struct best *best,
                      size_t n, hy_hit *hits, uint64_t *payloads)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t row = best->items[i].row;
        unsigned k = segment_of(row);

        hits[i] = (hy_hit){best->items[i].id, best->items[i].score};
        if (payloads != NULL)
            payloads[i] = rows->segments[k].payloads[row - segment_first(k)];
    }
}

int hyi_scan(const struct rows *rows, const float *query, size_t k,
             const hy_search_options *options, hy_hit *hits, uint64_t *payloads,
             size_t *count)
{
    struct query q = {
        query, NULL, 0, 0, 0, rows->head->dim, (hy_metric)rows->head->metric};
    struct candidate local[CANDIDATES_LOCAL];
    struct best best = {local, 0, candidates_for(rows, k, options->rerank),
                        -INFINITY};
    uint64_t epoch;

    if (best.capacity > CANDIDATES_LOCAL) {
        best.items = malloc(best.capacity * sizeof(*best.items));
        if (best.items == NULL)
            return -ENOMEM;
    }
    if (encode_query(rows, &q) != 0) {
        if (best.items != local)
            free(best.items);
        return -ENOMEM;
    }
    epoch = hyi_rows_enter(rows);
    scan_rows(rows, &q, options, &best);
    rank(rows, &q, &best);
    *count = best.count < k ? best.count : k;
    take_hits(rows, &best, *count, hits, payloads);
    hyi_rows_leave(rows, epoch);
    free(q.codes);
    if (best.items != local)
        free(best.items);
    return 0;
}
