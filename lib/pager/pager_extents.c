/*
 * pager_extents.c - which pages of the memory are the file's: those that it
 * holds. All others are anonymous.
 *
 *      file     | data |     hole      |d| hole |     data     |   hole   |
 *      memory   | file |   anonymous   |f| anon |     file     |   anon   |
 *
 * Both read as zero where there is a hole, and neither costs anything on most
 * file systems. But where files are memory (tmpfs), the first touch of a hole
 * through a mapping takes a page of the file system, also for reading; when
 * that is full, the touch is a SIGBUS, for which the host can do nothing. So:
 *
 *      holes take space   exactly the extents are mapped; when there are too
 *                         many for that, the smallest are read into memory
 *      they do not        the smallest gaps are mapped with what is beside them
 *
 * Invariant: where holes take space, no mapped page of the file is a hole.
 * Upstream: pager_reserve.c, pager_range.c. Downstream: pager_file.c, os.h.
 */
#include <errno.h>

#include "bits.h"
#include "pager_impl.h"

enum {
    PIECES_LOOSE = 32,   /* file mappings, with as many between them */
    PIECES_EXACT = 1024, /* the same, where only exact ones will do */
    EXTENTS_LOOSE = 256  /* from there on all is mapped: looking takes time */
};

struct plan {
    struct hy_pager *pager;
    int protection;
    bool exact;
    uint64_t classes[64]; /* by the logarithm of their bytes, how many: */
    unsigned least;       /* extents or gaps of this class are kept, */
    uint64_t spare;       /* and so many of the one below */
    uint64_t start, end;  /* extents seen, not mapped yet; the last one */
};

typedef int (*visit_extent)(struct plan *plan, uint64_t start, uint64_t end);

int hyi_extent_next(const struct hy_pager *pager, uint64_t *at, uint64_t limit,
                    uint64_t *start, uint64_t *end)
{
    uint64_t home = pager->file.home, from, upto;
    int r;

    if (*at >= limit)
        return 0;
    from = home + *at;
    r = hyi_os_file_data(pager->file.fd, &from, &upto);
    if (r == -EINVAL || r == -ENOTSUP || r == -ENOTTY) {
        upto = home + limit; /* nobody tells: all of it is data */
        r = 0;
    }
    if (r != 0 || from >= home + limit)
        return r == -ENXIO ? 0 : r;
    *start = hyi_align_down(from - home, pager->page_bytes);
    *end = hyi_align_up(upto - home, pager->page_bytes);
    if (*end > limit)
        *end = limit;
    *at = *end;
    return 1;
}

static int each_extent(struct plan *plan, visit_extent visit)
{
    uint64_t at = 0, bytes = plan->pager->bytes, seen = 0;
    uint64_t start = 0, end = 0;
    int r;

    plan->start = plan->end = 0;
    while ((r = hyi_extent_next(plan->pager, &at, bytes, &start, &end)) == 1) {
        if (!plan->exact && ++seen == EXTENTS_LOOSE)
            end = at = bytes;
        r = visit(plan, start, end);
        if (r != 0)
            return r;
    }
    return r;
}

/* --- what is too small to have a mapping of its own ----------------------- */

static unsigned class_of(uint64_t bytes)
{
    return bytes == 0 ? 0 : 63u - (unsigned)__builtin_clzll(bytes);
}

static int count_extent(struct plan *plan, uint64_t start, uint64_t end)
{
    plan->classes[class_of(plan->exact ? end - start : start - plan->end)]++;
    plan->end = end;
    return 0;
}

static void choose(struct plan *plan)
{
    unsigned least = 64;
    uint64_t left = plan->exact ? PIECES_EXACT : PIECES_LOOSE - 1;

    while (least > 0 && plan->classes[least - 1] <= left)
        left -= plan->classes[--least];
    plan->least = least;
    plan->spare = left;
}

static bool is_kept(struct plan *plan, uint64_t bytes)
{
    unsigned class = class_of(bytes);

    if (class >= plan->least)
        return true;
    if (class + 1 < plan->least || plan->spare == 0)
        return false;
    plan->spare--;
    return true;
}

/* --- making it so --------------------------------------------------------- */

int hyi_extents_prime(const struct hy_pager *pager, uint64_t offset,
                      int protection)
{
    char *page = pager->base + offset;
    int r;

    if (pager->mechanism != &hyi_mechanism_signal || pager->read_only)
        return 0;
    r = hyi_os_protect(page, pager->page_bytes, HYI_OS_READ | HYI_OS_WRITE);
    if (r != 0)
        return r;
    /* A disk that cannot be read is no reason to die here. The write itself is
     * for emulators, which say of any advice that it was taken. */
    r = hyi_os_populate(page, pager->page_bytes, true);
    if (r == 0 || r == -ENOTSUP)
        *(volatile char *)page = 0;
    r = hyi_os_decommit(page, pager->page_bytes);
    return r != 0 ? r : hyi_os_protect(page, pager->page_bytes, protection);
}

static int map_piece(struct plan *plan, uint64_t start, uint64_t end)
{
    struct hy_pager *pager = plan->pager;
    int r;

    if (start == end)
        return 0;
    r = hyi_os_map_file_at(pager->base + start, pager->file.fd,
                           pager->file.home + start, end - start,
                           plan->protection);
    if (r != 0)
        return r;
    pager->seams += (start != 0) + (end != pager->bytes);
    return hyi_extents_prime(pager, start, plan->protection);
}

static int read_piece(struct plan *plan, uint64_t start, uint64_t end)
{
    struct hy_pager *pager = plan->pager;
    char *to = pager->base + start;
    bool closed = !(plan->protection & HYI_OS_WRITE);
    int r = 0;

    pager->has_copies = true;
    if (closed)
        r = hyi_os_protect(to, end - start, HYI_OS_READ | HYI_OS_WRITE);
    if (r == 0)
        r = hyi_file_read(&pager->file, pager->file.home + start, to,
                          end - start);
    if (r == 0 && closed)
        r = hyi_os_protect(to, end - start, plan->protection);
    return r;
}

static int place_exactly(struct plan *plan, uint64_t start, uint64_t end)
{
    return is_kept(plan, end - start) ? map_piece(plan, start, end)
                                      : read_piece(plan, start, end);
}

static int place_loosely(struct plan *plan, uint64_t start, uint64_t end)
{
    int r = 0;

    if (start != plan->end && is_kept(plan, start - plan->end)) {
        r = map_piece(plan, plan->start, plan->end);
        plan->start = start;
    }
    plan->end = end;
    return r;
}

int hyi_extents_map(struct hy_pager *pager, int protection)
{
    const struct hyi_file *file = &pager->file;
    struct plan plan = {.pager = pager, .protection = protection};
    int r;

    /* Behind the state blocks there is nothing, most likely. */
    plan.exact = hyi_os_holes_take_space(file->fd, 3 * file->page_bytes,
                                         file->home + pager->bytes);
    pager->seams = 0;
    pager->has_copies = false;
    r = each_extent(&plan, count_extent);
    choose(&plan);
    if (r == 0)
        r = each_extent(&plan, plan.exact ? place_exactly : place_loosely);
    if (r == 0 && !plan.exact)
        r = map_piece(&plan, plan.start, plan.end);
    return r;
}
