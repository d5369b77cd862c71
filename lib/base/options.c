/*
 * options.c - reading options structs and filling result structs by size.
 *
 *      caller's struct     | size | a | b | c | d |      (may be longer)
 *      library's struct    | size | a | b | c |
 *                                             ^ every byte from here on must
 *                                               be zero, else -E2BIG
 *
 * Invariant: no byte beyond the caller's size is ever read or written.
 * Upstream: every constructor and every ..._get. Downstream: libc.
 */
#include "options.h"

#include <errno.h>
#include <string.h>

int hyi_options_read(void *dst, size_t dst_bytes, const void *src)
{
    size_t size;

    memset(dst, 0, dst_bytes);
    if (src == NULL) {
        memcpy(dst, &dst_bytes, sizeof(dst_bytes));
        return 0;
    }
    memcpy(&size, src, sizeof(size));
    if (size < sizeof(size))
        return -EINVAL;
    for (size_t i = dst_bytes; i < size; i++)
        if (((const unsigned char *)src)[i] != 0)
            return -E2BIG;
    memcpy(dst, src, size < dst_bytes ? size : dst_bytes);
    memcpy(dst, &dst_bytes, sizeof(dst_bytes));
    return 0;
}

int hyi_struct_fill(void *dst, const void *src, size_t src_bytes)
{
    size_t size;

    if (dst == NULL)
        return -EINVAL;
    memcpy(&size, dst, sizeof(size));
    if (size < sizeof(size))
        return -EINVAL;
    if (size > src_bytes)
        memset((char *)dst + src_bytes, 0, size - src_bytes);
    memcpy(dst, src, size < src_bytes ? size : src_bytes);
    memcpy(dst, &size, sizeof(size));
    return 0;
}

void hyi_name_copy(char *dst, size_t dst_bytes, const char *src)
{
    size_t length = 0;

    if (src != NULL)
        length = strnlen(src, dst_bytes - 1);
    if (length != 0)
        memcpy(dst, src, length);
    dst[length] = '\0';
}
