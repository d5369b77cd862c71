/*
 * rows.c - the index's rows: opening, writing, retiring (rows.h has the
 * picture).
 *
 * Invariant: a row that lived in version head->now is whole and does not change
 * while a reader of that version is between enter and leave.
 * Upstream: index.c (writer), scan.c (readers). Downstream: heap.h, vec.h.
 */
#include "rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "order.h"

static const uint64_t index_magic = 0x7865646e69795048u; /* "HPyindex" */

enum { INDEX_VERSION = 1, MAP_FIRST_CAPACITY = 1024 };

static uint64_t row_count_of(const struct rows *rows)
{
    return atomic_load_explicit(&rows->head->row_count, memory_order_relaxed);
}

/* --- places in the heap --------------------------------------------------- */

static int allocate(struct rows *rows, uint64_t bytes, uint64_t *offset,
                    bool zeroed)
{
    void *p = hy_heap_alloc(rows->heap, bytes);

    if (p == NULL)
        return -ENOMEM;
    if (zeroed)
        memset(p, 0, bytes);
    *offset = hy_heap_offset(rows->heap, p);
    return 0;
}

static void give_back(struct rows *rows, uint64_t *offset)
{
    if (*offset != 0)
        hy_heap_free(rows->heap, hy_heap_pointer(rows->heap, *offset));
    *offset = 0;
}

static void free_segment(struct rows *rows, struct segment_place *place)
{
    give_back(rows, &place->ids);
    give_back(rows, &place->payloads);
    give_back(rows, &place->lives);
    give_back(rows, &place->terms);
    give_back(rows, &place->codes);
    give_back(rows, &place->floats);
}

/* A block of at least n items of bytes each; NULL when there is none, so that
 * a damaged offset leads nowhere. */
static void *block_at(const struct rows *rows, uint64_t offset, uint64_t n,
                      uint64_t bytes)
{
    void *p = hy_heap_pointer(rows->heap, offset);

    return hy_heap_block_bytes(rows->heap, p) / bytes >= n ? p : NULL;
}

/* The pointers of a segment that the head knows. */
static int map_segment(struct rows *rows, unsigned i)
{
    const struct segment_place *place = &rows->head->segments[i];
    struct segment *s = &rows->segments[i];
    uint64_t n = segment_rows(i);

    s->ids = block_at(rows, place->ids, n, sizeof(*s->ids));
    s->payloads = block_at(rows, place->payloads, n, sizeof(*s->payloads));
    s->lives = block_at(rows, place->lives, n, sizeof(*s->lives));
    s->floats =
        block_at(rows, place->floats, n, rows->float_stride * sizeof(float));
    if (rows->code_stride != 0) {
        s->terms = block_at(rows, place->terms, n, sizeof(*s->terms));
        s->codes = block_at(rows, place->codes, n, rows->code_stride);
        if (s->terms == NULL || s->codes == NULL)
            return -EBADMSG;
    }
    if (s->ids == NULL || s->payloads == NULL || s->lives == NULL ||
        s->floats == NULL)
        return -EBADMSG;
    return 0;
}

static int make_segment(struct rows *rows, unsigned i)
{
    struct segment_place place = {0};
    uint64_t n = segment_rows(i);
    int r = allocate(rows, n * sizeof(uint64_t), &place.ids, false);

    if (r == 0)
        r = allocate(rows, n * sizeof(uint64_t), &place.payloads, false);
    /* Fresh heap memory may hold an old block's bytes: lives must not. */
    if (r == 0)
        r = allocate(rows, n * sizeof(struct row_life), &place.lives, true);
    if (r == 0)
        r = allocate(rows, n * rows->float_stride * sizeof(float),
                     &place.floats, false);
    if (r == 0 && rows->code_stride != 0)
        r = allocate(rows, n * sizeof(struct row_term), &place.terms, false);
    if (r == 0 && rows->code_stride != 0)
        r = allocate(rows, n * rows->code_stride, &place.codes, false);
    if (r != 0) {
        free_segment(rows, &place);
        return r;
    }
    rows->head->segments[i] = place;
    return map_segment(rows, i);
}

/* --- opening ---------------------------------------------------------------
 */

static int make_head(struct rows *rows, const hy_index_options *options)
{
    struct index_head *head;
    int r;

    if (options->dim == 0)
        return -EINVAL;
    head = hy_heap_alloc(rows->heap, sizeof(*head));
    if (head == NULL)
        return -ENOMEM;
    memset(head, 0, sizeof(*head));
    head->magic = index_magic;
    head->version = INDEX_VERSION;
    head->dim = (uint32_t)options->dim;
    head->metric = options->metric;
    head->storage = options->storage;
    r = hy_heap_root_set(rows->heap, options->root,
                         hy_heap_offset(rows->heap, head));
    if (r != 0) {
        hy_heap_free(rows->heap, head);
        return r;
    }
    rows->head = head;
    return 0;
}

static int check_head(const struct index_head *head,
                      const hy_index_options *options)
{
    uint64_t rows =
        atomic_load_explicit(&head->row_count, memory_order_relaxed);
    uint64_t live =
        atomic_load_explicit(&head->live_count, memory_order_relaxed);

    if (head->magic != index_magic || head->version != INDEX_VERSION ||
        rows > segment_first(SEGMENT_COUNT) || live > rows ||
        head->free_count > rows)
        return -EBADMSG;
    for (unsigned i = 0; rows > segment_first(i); i++)
        if (head->segments[i].ids == 0)
            return -EBADMSG;
    if (head->map_capacity != 0 && !hyi_is_power_of_two(head->map_capacity))
        return -EBADMSG;
    if (live > head->map_capacity - head->map_capacity / 4)
        return -EBADMSG;
    if (head->dim == 0 || head->dim > HY_INDEX_DIM_MAX)
        return -EBADMSG;
    if ((options->dim != 0 && head->dim != options->dim) ||
        head->metric != options->metric || head->storage != options->storage)
        return -EEXIST;
    return 0;
}

static void push_free(struct rows *rows, uint64_t row)
{
    unsigned i = segment_of(row);

    rows->segments[i].ids[row - segment_first(i)] = rows->head->free_first;
    rows->head->free_first = row + 1;
    rows->head->free_count++;
}

/* No reader can see the row any more, nor its payload. */
static void free_row(struct rows *rows, uint64_t row)
{
    const struct segment *s = &rows->segments[segment_of(row)];
    uint64_t at = row - segment_first(segment_of(row));
    uint64_t id = s->ids[at], payload = s->payloads[at];

    s->payloads[at] = 0; /* it has been told: not again after a reopening */
    push_free(rows, row);
    if (payload != 0 && rows->release != NULL)
        rows->release(rows->release_ctx, id, payload);
}

/* Room for one more retired row, made before anything changes. */
static int prepare_retire(struct rows *rows)
{
    uint64_t epoch = atomic_load_explicit(&rows->epoch, memory_order_relaxed);
    struct retired *list = &rows->retired[epoch % EPOCHS];
    size_t capacity = list->capacity * 2 + 64;
    uint64_t *larger;

    if (list->count < list->capacity)
        return 0;
    larger = realloc(list->rows, capacity * sizeof(*larger));
    if (larger == NULL)
        return -ENOMEM;
    list->rows = larger;
    list->capacity = capacity;
    return 0;
}

/* A row that was dead when the process ended. One that still has its payload
 * is retired, so that whoever is to be told can say so first. */
static int take_lost_row(struct rows *rows, uint64_t row)
{
    const struct segment *s = &rows->segments[segment_of(row)];
    uint64_t at = row - segment_first(segment_of(row));
    struct retired *list = &rows->retired[0];
    int r = 0;

    /* Relaxed: nobody reads or writes yet. */
    if (atomic_load_explicit(&s->lives[at].killed, memory_order_relaxed) == 0)
        return 0;
    if (s->payloads[at] == 0) {
        push_free(rows, row);
        return 0;
    }
    r = prepare_retire(rows);
    if (r == 0)
        list->rows[list->count++] = row;
    return r;
}

/* Rows that were retired when the process ended are in no list: find them. */
static int find_lost_rows(struct rows *rows)
{
    struct index_head *head = rows->head;
    uint64_t end = row_count_of(rows);
    int r = 0;

    if (rows->map.count + head->free_count == end)
        return 0;
    head->free_first = head->free_count = 0;
    for (uint64_t row = 0; r == 0 && row < end; row++)
        r = take_lost_row(rows, row);
    return r;
}

static void set_strides(struct rows *rows, size_t dim, unsigned storage)
{
    /* Multiples of 64 bytes: each row of codes starts on a cache line. */
    rows->float_stride = hyi_align_up(dim, 16);
    rows->code_stride = storage == HY_STORE_SQ8 ? hyi_align_up(dim, 64) : 0;
}

uint64_t hyi_rows_bytes_min(const hy_index_options *options)
{
    /* A map is filled to 3/4; the smaller ones leave holes behind. */
    const uint64_t maps = 4 * segment_rows(0) * sizeof(struct hyi_id_entry);
    uint64_t row = 2 * sizeof(uint64_t) + sizeof(struct row_life), bytes;
    struct rows rows;

    set_strides(&rows, options->dim, options->storage);
    row += rows.float_stride * sizeof(float) + rows.code_stride;
    if (rows.code_stride != 0)
        row += sizeof(struct row_term);
    bytes = segment_rows(0) * row + maps + sizeof(struct index_head);
    /* The heap's tags take 1/64, its choice of a block up to 1/32. */
    return bytes + bytes / 16 + (64 << 10);
}

int hyi_rows_open(struct rows *rows, hy_heap *heap,
                  const hy_index_options *options)
{
    uint64_t at = hy_heap_root_get(heap, options->root);
    int r;

    memset(rows, 0, sizeof(*rows));
    rows->heap = heap;
    rows->head = block_at(rows, at, 1, sizeof(*rows->head));
    if (at != 0 && rows->head == NULL)
        return -EBADMSG;
    r = at == 0 ? make_head(rows, options) : check_head(rows->head, options);
    if (r != 0)
        return r;
    set_strides(rows, rows->head->dim, options->storage);
    for (unsigned i = 0; r == 0 && i < SEGMENT_COUNT; i++)
        if (rows->head->segments[i].ids != 0)
            r = map_segment(rows, i);
    rows->map.capacity = rows->head->map_capacity;
    rows->map.count =
        atomic_load_explicit(&rows->head->live_count, memory_order_relaxed);
    if (rows->map.capacity != 0)
        rows->map.entries = block_at(rows, rows->head->map, rows->map.capacity,
                                     sizeof(*rows->map.entries));
    if (rows->map.capacity != 0 && rows->map.entries == NULL)
        r = -EBADMSG;
    return r == 0 ? find_lost_rows(rows) : r;
}

/* --- epochs ----------------------------------------------------------------
 */

/* The counters are the reader's business even where the rows are constant. */
static struct rows *counters_of(const struct rows *rows)
{
    return (struct rows *)(uintptr_t)rows;
}

uint64_t hyi_rows_enter(const struct rows *rows)
{
    struct rows *mine = counters_of(rows);

    for (;;) {
        uint64_t epoch = atomic_load(&mine->epoch);

        /* Sequentially consistent, with the load in advance_epoch: either it
         * sees this reader, or the reader sees the new epoch here. */
        atomic_fetch_add(&mine->readers[epoch % EPOCHS], 1);
        if (atomic_load(&mine->epoch) == epoch)
            return epoch;
        atomic_fetch_sub(&mine->readers[epoch % EPOCHS], 1);
    }
}

void hyi_rows_leave(const struct rows *rows, uint64_t epoch)
{
    /* Release: the reads of rows are done before the writer reuses them. */
    atomic_fetch_sub_explicit(&counters_of(rows)->readers[epoch % EPOCHS], 1,
                              memory_order_release);
}

/* Goes to the next epoch if nobody is left in the one before this. */
static void advance_epoch(struct rows *rows)
{
    uint64_t epoch = atomic_load_explicit(&rows->epoch, memory_order_relaxed);
    struct retired *oldest = &rows->retired[(epoch + 2) % EPOCHS];

    if (atomic_load(&rows->readers[(epoch + 2) % EPOCHS]) != 0)
        return;
    /* The next call looks at those who entered before they saw this. */
    hyi_store_then_look(&rows->epoch, epoch + 1);
    for (size_t i = 0; i < oldest->count; i++)
        free_row(rows, oldest->rows[i]);
    oldest->count = 0;
}

void hyi_rows_reclaim(struct rows *rows)
{
    for (int i = 0; i < EPOCHS; i++)
        advance_epoch(rows);
}

static void retire(struct rows *rows, uint64_t row, uint64_t version)
{
    uint64_t epoch = atomic_load_explicit(&rows->epoch, memory_order_relaxed);
    struct retired *list = &rows->retired[epoch % EPOCHS];
    unsigned i = segment_of(row);

    HYI_ASSERT(list->count < list->capacity);
    atomic_store_explicit(
        &rows->segments[i].lives[row - segment_first(i)].killed, version,
        memory_order_release);
    list->rows[list->count++] = row;
}

/* --- writing ---------------------------------------------------------------
 */

static int grow_map(struct rows *rows)
{
    struct hyi_id_map *map = &rows->map;
    struct hyi_id_map larger = {NULL, map->capacity * 2, 0};
    uint64_t old = rows->head->map, offset = 0;
    int r;

    if (larger.capacity == 0)
        larger.capacity = MAP_FIRST_CAPACITY;
    r = allocate(rows, larger.capacity * sizeof(*larger.entries), &offset,
                 true);
    if (r != 0)
        return r;
    larger.entries = hy_heap_pointer(rows->heap, offset);
    hyi_id_map_copy(&larger, map);
    *map = larger;
    rows->head->map = offset;
    rows->head->map_capacity = larger.capacity;
    give_back(rows, &old);
    return 0;
}

/* A row to write: a free one, or the next new one. */
static int take_row(struct rows *rows, uint64_t *row)
{
    struct index_head *head = rows->head;
    uint64_t next = row_count_of(rows);
    unsigned i;

    if (head->free_count != 0) {
        if (head->free_first - 1 >= next) /* also when it is 0 */
            return -EBADMSG;
        *row = head->free_first - 1;
        i = segment_of(*row);
        /* Relaxed: the writer's own; a row that lives is not free. */
        if (atomic_load_explicit(
                &rows->segments[i].lives[*row - segment_first(i)].killed,
                memory_order_relaxed) == 0)
            return -EBADMSG;
        head->free_first = rows->segments[i].ids[*row - segment_first(i)];
        head->free_count--;
        return 0;
    }
    i = segment_of(next);
    if (i >= SEGMENT_COUNT)
        return -ENOMEM;
    *row = next;
    return rows->segments[i].ids != NULL ? 0 : make_segment(rows, i);
}

static bool needs_segment(const struct rows *rows)
{
    unsigned i = segment_of(row_count_of(rows));

    return rows->head->free_count == 0 &&
           (i >= SEGMENT_COUNT || rows->segments[i].ids == NULL);
}

static void write_row(struct rows *rows, uint64_t row,
                      const struct row_content *c, uint64_t version)
{
    size_t dim = rows->head->dim;
    unsigned i = segment_of(row);
    struct segment *s = &rows->segments[i];
    uint64_t at = row - segment_first(i);
    float *floats = s->floats + at * rows->float_stride;

    /* Relaxed is enough: the release of killed below comes after it. */
    atomic_store_explicit(&s->lives[at].born, version, memory_order_relaxed);
    s->ids[at] = c->id;
    s->payloads[at] = c->payload;
    memcpy(floats, c->vector, dim * sizeof(float));
    memset(floats + dim, 0, (rows->float_stride - dim) * sizeof(float));
    if (rows->code_stride != 0) {
        int8_t *codes = s->codes + at * rows->code_stride;

        memcpy(codes, c->codes, dim);
        memset(codes + dim, 0, rows->code_stride - dim);
        s->terms[at] = (struct row_term){
            c->sq8.scale, c->sq8.bias + 128.0f * c->sq8.scale,
            (float)c->sq8.sum, hy_vec_dot_f32(c->vector, c->vector, dim)};
    }
    /* Release: pairs with the acquire in has_lived. */
    atomic_store_explicit(&s->lives[at].killed, 0, memory_order_release);
}

static uint64_t next_version(const struct rows *rows)
{
    return atomic_load_explicit(&rows->head->now, memory_order_relaxed) + 1;
}

/* Shows readers all that was done under this version. */
static void publish(struct rows *rows, uint64_t version)
{
    atomic_store_explicit(&rows->head->live_count, rows->map.count,
                          memory_order_relaxed);
    /* Release: pairs with the acquire in scan.c. */
    atomic_store_explicit(&rows->head->now, version, memory_order_release);
    advance_epoch(rows);
}

/* The row of id in *row: 0, -ENOENT, or -EBADMSG when the map is damaged. */
static int find_row(const struct rows *rows, uint64_t id, uint64_t *row)
{
    uint64_t value = hyi_id_map_find(&rows->map, id);
    unsigned i;

    if (value == 0)
        return -ENOENT;
    if (value > row_count_of(rows))
        return -EBADMSG;
    *row = value - 1;
    i = segment_of(*row);
    return rows->segments[i].ids[*row - segment_first(i)] == id ? 0 : -EBADMSG;
}

int hyi_rows_insert(struct rows *rows, const struct row_content *content)
{
    uint64_t row, old = 0, version = next_version(rows);
    int found, r;

    if (needs_segment(rows))
        hyi_rows_reclaim(rows); /* a dead row will do */
    found = find_row(rows, content->id, &old);
    r = found == -EBADMSG ? found : prepare_retire(rows);
    if (r == 0 && found != 0 && hyi_id_map_is_full(&rows->map))
        r = grow_map(rows);
    if (r == 0)
        r = take_row(rows, &row);
    if (r != 0)
        return r;
    write_row(rows, row, content, version);
    if (row == row_count_of(rows))
        /* Release: pairs with the acquire in scan.c. */
        atomic_store_explicit(&rows->head->row_count, row + 1,
                              memory_order_release);
    hyi_id_map_put(&rows->map, content->id, row + 1);
    if (found == 0)
        retire(rows, old, version);
    publish(rows, version);
    return 0;
}

int hyi_rows_remove(struct rows *rows, uint64_t id)
{
    uint64_t row, version = next_version(rows);
    int r = find_row(rows, id, &row);

    if (r == 0)
        r = prepare_retire(rows);
    if (r != 0)
        return r;
    hyi_id_map_remove(&rows->map, id);
    retire(rows, row, version);
    publish(rows, version);
    return 0;
}

int hyi_rows_payload(const struct rows *rows, uint64_t id, uint64_t *payload)
{
    uint64_t row;
    int r = find_row(rows, id, &row);

    if (r == 0)
        *payload = rows->segments[segment_of(row)]
                       .payloads[row - segment_first(segment_of(row))];
    return r;
}

/* A payload that nobody was told of is left for the next opening to find: who
 * opened this one may only have looked, or have been refused what came next. */
static bool is_to_be_told_later(const struct rows *rows, uint64_t row)
{
    unsigned i = segment_of(row);

    return rows->release == NULL &&
           rows->segments[i].payloads[row - segment_first(i)] != 0;
}

void hyi_rows_close(struct rows *rows)
{
    for (int i = 0; i < EPOCHS; i++) {
        for (size_t k = 0; k < rows->retired[i].count; k++)
            if (!is_to_be_told_later(rows, rows->retired[i].rows[k]))
                free_row(rows, rows->retired[i].rows[k]);
        free(rows->retired[i].rows);
        rows->retired[i] = (struct retired){NULL, 0, 0};
    }
}
