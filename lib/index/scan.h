/*
 * scan.h - the exact search: every live row scored, the best kept.
 */
#ifndef HYI_INDEX_SCAN_H
#define HYI_INDEX_SCAN_H

#include "rows.h"

/*
 * The k best of all live rows for query (dim floats, normalised if the metric
 * asks), best first. 0 or -ENOMEM.
 */
int hyi_scan(const struct rows *rows, const float *query, size_t k,
             const hy_search_options *options, hy_hit *hits, size_t *count);

#endif
