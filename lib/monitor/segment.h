/*
 * segment.h - what a monitor publishes in shared memory.
 *
 *      +--------+------------+------------+
 *      | header | sample     | sample     |
 *      +--------+------------+------------+
 *        published = n: slot n & 1 holds the last complete sample, the other
 *        one is being written, or was when the writer died
 *
 * Invariant: the slot that published names is complete, and is written again
 * only after published has gone on.
 * Upstream: monitor.c writes, reader.c reads. Downstream: os.h.
 */
#ifndef HYI_SEGMENT_H
#define HYI_SEGMENT_H

#include <hyperion/monitor.h>
#include <stdatomic.h>
#include <stdbool.h>

#define HYI_SEGMENT_MAGIC   0x314e4f4d5948ull /* "HYMON1" */
#define HYI_SEGMENT_VERSION 2
#define HYI_SEGMENT_PREFIX  "hyperion."

enum { HYI_SEGMENT_MAKING, HYI_SEGMENT_LIVE, HYI_SEGMENT_CLOSED };

#define HYI_SAMPLE_WORDS (sizeof(hy_monitor_sample) / sizeof(uint64_t))
_Static_assert(sizeof(hy_monitor_sample) % sizeof(uint64_t) == 0,
               "samples are copied by words");

struct hyi_segment_header {
    uint64_t magic;
    uint32_t version, header_bytes;
    uint64_t bytes; /* of the segment */
    uint64_t sample_bytes;
    uint64_t pid, process_start; /* whose it is */
    char name[HY_MONITOR_NAME];
    _Atomic uint64_t state;
    _Atomic uint64_t published; /* complete samples so far */
};

struct hyi_segment {
    struct hyi_segment_header header;
    _Atomic uint64_t slot[2][HYI_SAMPLE_WORDS];
};

/* "/hyperion.<user>.<name>": what the segment is called. */
enum { HYI_SEGMENT_PATH = 64 };
void hyi_segment_path(char *path, const char *name);

/* 1 to 31 letters, digits, '.', '_' and '-'. */
bool hyi_segment_is_name(const char *name);

/* Reads a header and checks all of it. 0, -EBADMSG, -EPROTO, -EACCES. */
int hyi_segment_read_header(int fd, struct hyi_segment_header *out);

/* Its process lives and has not closed it. */
bool hyi_segment_is_alive(const struct hyi_segment_header *h);

/* Makes and maps a new segment, removing one that a dead process left.
 * -EEXIST when a living one has it; otherwise as hy_monitor_create. */
int hyi_segment_create(struct hyi_segment **out, const char *name);

/* Removes what a dead process left, or what is damaged and nobody makes. 0;
 * -ENOENT; -EEXIST: a living process has it; -EBUSY: somebody has it mapped and
 * locked. */
int hyi_segment_remove_dead(const char *path);

void hyi_segment_write(struct hyi_segment *s, const hy_monitor_sample *sample);

/* Says that it is closed and removes it; a forked child only unmaps it. */
void hyi_segment_close(struct hyi_segment *s, bool remove);

#endif
