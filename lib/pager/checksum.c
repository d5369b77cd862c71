/*
 * checksum.c - XXH64 of whole blocks of 32 bytes.
 *
 *      data   | w0 w1 w2 w3 | w0 w1 w2 w3 | ...
 *      lanes    a  b  c  d    a  b  c  d         four independent chains
 *
 * Upstream: pager_file.c, pager_log.c. Downstream: nothing. The published test
 * vectors are in tests/unit/test_pager_parts.c.
 */
#include "checksum.h"

#include <string.h>

#include "check.h"

#define P1 UINT64_C(0x9E3779B185EBCA87)
#define P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3 UINT64_C(0x165667B19E3779F9)
#define P4 UINT64_C(0x85EBCA77C2B2AE63)

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static uint64_t round_of(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * P2, 31) * P1;
}

static uint64_t merge(uint64_t sum, uint64_t lane)
{
    return (sum ^ round_of(0, lane)) * P1 + P4;
}

uint64_t hyi_checksum(const void *data, size_t bytes, uint64_t seed)
{
    uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
    const char *at = data, *end = at + bytes;
    uint64_t sum, w[4];

    HYI_ASSERT(bytes != 0 && bytes % sizeof(w) == 0);
    for (; at < end; at += sizeof(w)) {
        memcpy(w, at, sizeof(w));
        a = round_of(a, w[0]);
        b = round_of(b, w[1]);
        c = round_of(c, w[2]);
        d = round_of(d, w[3]);
    }
    sum = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    sum = merge(merge(merge(merge(sum, a), b), c), d) + bytes;
    sum = (sum ^ sum >> 33) * P2;
    sum = (sum ^ sum >> 29) * P3;
    return sum ^ sum >> 32;
}
