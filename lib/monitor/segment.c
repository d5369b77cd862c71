/*
 * segment.c - making, writing and ending a published segment (segment.h has
 * its picture and invariant).
 * Upstream: monitor.c, reader.c. Downstream: os.h.
 */
#include "segment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "os.h"

enum { TRIES = 8 }; /* two processes may find the same dead segment */

bool hyi_segment_is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strnlen(name, HY_MONITOR_NAME);

    return length > 0 && length < HY_MONITOR_NAME &&
           strspn(name, allowed) == length;
}

void hyi_segment_path(char *path, const char *name)
{
    snprintf(path, HYI_SEGMENT_PATH, "/" HYI_SEGMENT_PREFIX "%llu.%s",
             (unsigned long long)hyi_os_user(), name);
}

static bool is_sound(const struct hyi_segment_header *h, uint64_t bytes)
{
    return h->magic == HYI_SEGMENT_MAGIC && h->bytes == bytes && h->pid != 0 &&
           memchr(h->name, 0, sizeof(h->name)) != NULL &&
           hyi_segment_is_name(h->name) &&
           atomic_load_explicit(&h->state, memory_order_relaxed) <=
               HYI_SEGMENT_CLOSED;
}

static bool is_of_this_version(const struct hyi_segment_header *h)
{
    return h->version == HYI_SEGMENT_VERSION && h->header_bytes == sizeof(*h) &&
           h->bytes == sizeof(struct hyi_segment) &&
           h->sample_bytes == sizeof(hy_monitor_sample);
}

int hyi_segment_read_header(int fd, struct hyi_segment_header *out)
{
    struct hyi_os_shm info;
    int r = hyi_os_shm_info(fd, &info);

    if (r != 0)
        return r;
    if (!info.own)
        return -EACCES;
    r = hyi_os_shm_read(fd, 0, out, sizeof(*out));
    if (r != 0)
        return r == -EIO ? -EBADMSG : r;
    if (!is_sound(out, info.bytes))
        return -EBADMSG;
    return is_of_this_version(out) ? 0 : -EPROTO;
}

bool hyi_segment_is_alive(const struct hyi_segment_header *h)
{
    return atomic_load_explicit(&h->state, memory_order_relaxed) ==
               HYI_SEGMENT_LIVE &&
           hyi_os_process_start(h->pid) == h->process_start;
}

/* --- making one ----------------------------------------------------------- */

/* 0: the segment that fd has open is still the one that bears the name;
 * -ENOENT: it is not; or why that cannot be told. */
static int check_name(int fd, const char *path)
{
    struct hyi_os_shm mine, named;
    int other, r = hyi_os_shm_open(&other, path);

    if (r != 0)
        return r;
    r = hyi_os_shm_info(other, &named);
    hyi_os_file_close(other);
    if (r == 0)
        r = hyi_os_shm_info(fd, &mine);
    if (r != 0)
        return r;
    return mine.file == named.file ? 0 : -ENOENT;
}

/*
 * Removal happens under the lock of the
 * file that is removed, and after a second look at what the name stands for,
 * so that of two processes none removes what the other has just made. A maker
 * holds the lock until its header is whole, so a damaged one that can be
 * locked is nobody's.
 */
int hyi_segment_remove_dead(const char *path)
{
    struct hyi_segment_header h;
    int fd, r = hyi_os_shm_open(&fd, path);

    if (r != 0)
        return r;
    r = hyi_os_file_lock(fd, true);
    if (r == 0) {
        r = hyi_segment_read_header(fd, &h);
        if (r == 0 && hyi_segment_is_alive(&h))
            r = -EEXIST;
        else if (r != -EACCES)
            r = 0;
    }
    if (r == 0)
        r = check_name(fd, path);
    if (r == 0)
        r = hyi_os_shm_remove(path);
    hyi_os_file_close(fd);
    return r;
}

static int map_new(struct hyi_segment **out, int fd, const char *name)
{
    struct hyi_segment *s;
    void *p = NULL;
    int r = hyi_os_map_file(&p, fd, 0, sizeof(*s), HYI_OS_READ | HYI_OS_WRITE,
                            true);

    if (r != 0)
        return r;
    s = p;
    s->header.version = HYI_SEGMENT_VERSION;
    s->header.header_bytes = sizeof(s->header);
    s->header.bytes = sizeof(*s);
    s->header.sample_bytes = sizeof(hy_monitor_sample);
    s->header.pid = hyi_os_process_id();
    s->header.process_start = hyi_os_process_start(s->header.pid);
    memcpy(s->header.name, name, strlen(name) + 1);
    s->header.magic = HYI_SEGMENT_MAGIC;
    /* Release: a reader that sees LIVE sees a whole header. */
    atomic_store_explicit(&s->header.state, HYI_SEGMENT_LIVE,
                          memory_order_release);
    *out = s;
    return 0;
}

/* -EEXIST: the name is taken, or was a moment ago. */
static int create_once(struct hyi_segment **out, const char *path,
                       const char *name)
{
    int fd = -1, r = hyi_os_shm_create(&fd, path, sizeof(struct hyi_segment));

    if (r != 0)
        return r;
    /* Somebody may have taken it for dead before it was locked. */
    r = hyi_os_file_lock(fd, true);
    if (r == 0 && check_name(fd, path) != 0)
        r = -EBUSY;
    if (r == 0) {
        r = map_new(out, fd, name);
        if (r != 0)
            hyi_os_shm_remove(path);
    }
    hyi_os_file_close(fd); /* and with it the lock */
    return r == -EBUSY ? -EEXIST : r;
}

int hyi_segment_create(struct hyi_segment **out, const char *name)
{
    char path[HYI_SEGMENT_PATH];
    int r = -EEXIST;

    hyi_segment_path(path, name);
    for (int i = 0; r == -EEXIST && i < TRIES; i++) {
        int removed;

        r = create_once(out, path, name);
        if (r != -EEXIST)
            return r;
        removed = hyi_segment_remove_dead(path);
        if (removed == -EBUSY)
            hyi_os_thread_yield(); /* its maker is about to finish */
        else if (removed != 0 && removed != -ENOENT)
            return removed;
    }
    return r;
}

/* --- writing -------------------------------------------------------------- */

void hyi_segment_write(struct hyi_segment *s, const hy_monitor_sample *sample)
{
    uint64_t n =
        atomic_load_explicit(&s->header.published, memory_order_relaxed) + 1;
    const uint64_t *from = (const uint64_t *)(const void *)sample;

    /* Release fence: whoever sees a word of this sample sees that published
     * has reached n - 1; partner of the acquire fence in reader.c. */
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < HYI_SAMPLE_WORDS; i++)
        atomic_store_explicit(&s->slot[n & 1][i], from[i],
                              memory_order_relaxed);
    /* Release: whoever sees n sees the sample. */
    atomic_store_explicit(&s->header.published, n, memory_order_release);
}

void hyi_segment_close(struct hyi_segment *s, bool remove)
{
    char path[HYI_SEGMENT_PATH];

    if (remove) {
        atomic_store_explicit(&s->header.state, HYI_SEGMENT_CLOSED,
                              memory_order_release);
        hyi_segment_path(path, s->header.name);
        hyi_os_shm_remove(path);
    }
    hyi_os_release(s, sizeof(*s));
}
