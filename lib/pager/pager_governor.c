/*
 * pager_governor.c - keeps the process from running out of mappings.
 *
 * An isolated cluster costs two mappings: itself, and the rest of what it cut
 * in two. Four fifths of what the system allows, less what others have, is the
 * room of this pager. While half of it is free, clusters are as small as they
 * may be. From then on a fault opens an aligned run of
 *
 *      size >= bytes of the pager / mappings left
 *
 * Runs of that size, all open and closed in turn, need no more mappings than
 * are left; and each swallows the small ones inside it, so that the count goes
 * down again. When no more than a few are left the run is the whole pager,
 * which is one mapping. Opening costs address space and not memory: the kernel
 * still fills page by page.
 *
 * Invariant: own is no less than the mappings: runs of equal protection, and
 * the seams between pages of the file and anonymous ones, which may be borders
 * of such runs at the same time.
 * Upstream: mech_signal.c. Downstream: os.h.
 */
#include <string.h>

#include "bits.h"
#include "pager_impl.h"

enum { FEW = 8 }; /* another thread of the host may map meanwhile */

void hyi_governor_init(struct hyi_governor *g, uint64_t own)
{
    memset(g, 0, sizeof(*g));
    g->own = own;
    g->system = hyi_os_map_limit();
    g->limit = g->system == 0 ? UINT64_MAX : g->system / 5 * 4;
    hyi_governor_count(g);
}

void hyi_governor_count(struct hyi_governor *g)
{
    uint64_t all = hyi_os_map_count();

    g->counted = g->own;
    g->others = all > g->own ? all - g->own : 0;
}

uint64_t hyi_governor_room(const struct hyi_governor *g)
{
    if (g->limit == UINT64_MAX)
        return UINT64_MAX;
    if (g->limit <= g->others + g->own)
        return 0;
    return g->limit - g->others - g->own;
}

uint64_t hyi_governor_units(struct hy_pager *pager)
{
    struct hyi_governor *g = &pager->governor;
    uint64_t units = pager->table.count, room;

    /* Others may have grown with us: count again at each sixteenth. */
    if (g->limit != UINT64_MAX && g->own > g->counted + g->limit / 16)
        hyi_governor_count(g);
    room = hyi_governor_room(g);
    if (room >= g->own && room > FEW)
        return 1;
    if (room <= FEW)
        return hyi_power_of_two_ceil(units);
    return hyi_power_of_two_ceil((units + room - 1) / room);
}
