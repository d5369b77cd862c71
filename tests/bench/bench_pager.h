/*
 * bench_pager.h - what bench_pager.c needs of LMDB. Upstream: bench_pager.c.
 * Downstream: bench_pager_lmdb.c.
 */
#ifndef HY_BENCH_PAGER_H
#define HY_BENCH_PAGER_H

#include <stdbool.h>
#include <stdint.h>

/* One page of data under a number; false where LMDB is absent. */
bool lmdb_open(const char *path, uint64_t bytes);
void lmdb_put(uint64_t page, const void *data); /* within a transaction */
void lmdb_commit(void);                         /* durable */
void lmdb_close(const char *path);

#endif
