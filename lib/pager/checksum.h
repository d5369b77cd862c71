/*
 * checksum.h - XXH64 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md):
 * tells torn and damaged blocks, at the speed of memory. No defence against
 * forgery.
 */
#ifndef HYI_CHECKSUM_H
#define HYI_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* bytes is a multiple of 32 and not 0. */
uint64_t hyi_checksum(const void *data, size_t bytes, uint64_t seed);

#endif
