/*
 * scan.h - the exact search: every live row scored, the best kept.
 */
#ifndef HYI_INDEX_SCAN_H
#define HYI_INDEX_SCAN_H

#include "rows.h"

/*
 * The k best of all live rows for query (dim floats, normalised if the metric
 * asks), best first; their payloads too, unless payloads is NULL. 0 or -ENOMEM.
 */
int hyi_scan(const struct rows *rows, const float *query, size_t k,
             const hy_search_options *options, hy_hit *hits, uint64_t *payloads,
             size_t *count);

#endif
