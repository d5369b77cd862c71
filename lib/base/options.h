/*
 * options.h - how options structs come in and filled structs go out, so that a
 * program built with an older or newer header works with this library
 * (base.h, Options and Filled structs). Upstream: every constructor.
 */
#ifndef HYI_OPTIONS_H
#define HYI_OPTIONS_H

#include <stddef.h>

/*
 * Reads the caller's options into *dst, a struct of dst_bytes that starts with
 * its size. src NULL gives all zero. Returns 0, -EINVAL for a size that cannot
 * hold itself, -E2BIG when members unknown to this library are not zero.
 */
int hyi_options_read(void *dst, size_t dst_bytes, const void *src);

/*
 * Fills the caller's struct *dst, whose size member is set, from *src, a struct
 * of src_bytes. Returns 0 or -EINVAL.
 */
int hyi_struct_fill(void *dst, const void *src, size_t src_bytes);

/* Copies at most dst_bytes - 1 characters of a name; NULL gives "". */
void hyi_name_copy(char *dst, size_t dst_bytes, const char *src);

#endif
