/*
 * reader.c - reading what another process publishes. Nothing is mapped: the
 * bytes are copied out and checked before they are believed, so that a segment
 * that shrinks, or holds nonsense, is an error and no fault.
 *
 *      read published -> n;  copy slot n & 1;  read published again
 *      the same n: the copy is whole; else the writer has lapped it: once more
 *
 * Invariant: a sample that is returned has passed is_sound.
 * Upstream: monitor.h (attach, read, detach, each, remove). Downstream:
 * segment.h.
 */
#include <hyperion/monitor.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "os.h"
#include "segment.h"

enum { TRIES = 1000 }; /* a writer laps a reader once a period at most */

struct hy_monitor_reader {
    int fd;
    hy_monitor_sample sample;
};

/* --- opening -------------------------------------------------------------- */

static int open_checked(int *fd, const char *path, struct hyi_segment_header *h)
{
    int file = -1, r = hyi_os_shm_open(&file, path);

    if (r != 0)
        return r;
    r = hyi_segment_read_header(file, h);
    if (r != 0) {
        hyi_os_file_close(file);
        return r;
    }
    *fd = file;
    return 0;
}

struct by_pid {
    uint64_t pid;
    char name[HY_MONITOR_NAME];
};

static int match_pid(const hy_monitor_info *info, void *arg)
{
    struct by_pid *search = arg;

    if (info->pid != search->pid || !info->alive)
        return 0;
    hyi_name_copy(search->name, sizeof(search->name), info->name);
    return 1;
}

/* The name of the first segment of a process, if text is a number. */
static bool find_by_pid(const char *text, struct by_pid *search)
{
    char *end;

    search->pid = strtoull(text, &end, 10);
    return *end == '\0' && hy_monitor_each(match_pid, search) == 1;
}

static int open_segment(int *fd, const char *name)
{
    struct hyi_segment_header h;
    char path[HYI_SEGMENT_PATH];
    struct by_pid search;
    int r;

    hyi_segment_path(path, name);
    r = open_checked(fd, path, &h);
    if (r == -ENOENT && find_by_pid(name, &search)) {
        hyi_segment_path(path, search.name);
        r = open_checked(fd, path, &h);
    }
    return r;
}

int hy_monitor_attach(hy_monitor_reader **out, const char *name)
{
    hy_monitor_reader *reader;
    int saved = errno, fd = -1, r;

    if (out == NULL || name == NULL || !hyi_segment_is_name(name))
        return -EINVAL;
    r = open_segment(&fd, name);
    if (r != 0)
        return r;
    reader = calloc(1, sizeof(*reader));
    errno = saved;
    if (reader == NULL) {
        hyi_os_file_close(fd);
        return -ENOMEM;
    }
    reader->fd = fd;
    *out = reader;
    return 0;
}

void hy_monitor_detach(hy_monitor_reader *r)
{
    int saved = errno;

    if (r == NULL)
        return;
    hyi_os_file_close(r->fd);
    free(r);
    errno = saved;
}

/* --- checking a sample ---------------------------------------------------- */

#define ENDS(member) (memchr(member, 0, sizeof(member)) != NULL)

static bool are_runtimes_sound(const hy_monitor_sample *s)
{
    for (uint32_t i = 0; i < s->runtime_count; i++) {
        const hy_monitor_runtime *rt = &s->runtimes[i];

        if (!ENDS(rt->name) || rt->fiber_index > s->fiber_count ||
            rt->fiber_count > s->fiber_count - rt->fiber_index)
            return false;
    }
    for (uint32_t i = 0; i < s->fiber_count; i++)
        if (!ENDS(s->fibers[i].name) || !ENDS(s->fibers[i].reason))
            return false;
    return true;
}

static bool are_others_sound(const hy_monitor_sample *s)
{
    bool sound = true;

    for (uint32_t i = 0; i < s->ring_count; i++)
        sound = sound && ENDS(s->rings[i].name) &&
                s->rings[i].depth <= s->rings[i].capacity;
    for (uint32_t i = 0; i < s->pager_count; i++)
        sound = sound && ENDS(s->pagers[i].name) &&
                ENDS(s->pagers[i].mechanism) &&
                s->pagers[i].heat_count <= HY_MONITOR_HEAT;
    for (uint32_t i = 0; i < s->heap_count; i++)
        sound = sound && ENDS(s->heaps[i].name);
    for (uint32_t i = 0; i < s->code_count; i++)
        sound = sound && ENDS(s->codes[i].name) && ENDS(s->codes[i].mechanism);
    for (uint32_t i = 0; i < s->slab_count; i++)
        sound = sound && ENDS(s->slabs[i].name);
    for (uint32_t i = 0; i < s->pipeline_count; i++)
        sound = sound && ENDS(s->pipelines[i].name);
    return sound;
}

static bool is_sound(const hy_monitor_sample *s,
                     const struct hyi_segment_header *h)
{
    return s->size == sizeof(*s) && s->pid == h->pid && ENDS(s->name) &&
           ENDS(s->version) && ENDS(s->isa) &&
           s->runtime_count <= HY_MONITOR_RUNTIMES &&
           s->fiber_count <= HY_MONITOR_FIBERS &&
           s->ring_count <= HY_MONITOR_RINGS &&
           s->pager_count <= HY_MONITOR_PAGERS &&
           s->slab_count <= HY_MONITOR_SLABS &&
           s->heap_count <= HY_MONITOR_HEAPS &&
           s->pipeline_count <= HY_MONITOR_PIPELINES &&
           s->code_count <= HY_MONITOR_CODES && are_runtimes_sound(s) &&
           are_others_sound(s);
}

/* --- reading -------------------------------------------------------------- */

/* 0 when the copy is whole, 1 when the writer has lapped it. */
static int copy_once(hy_monitor_reader *reader, struct hyi_segment_header *h)
{
    struct hyi_segment_header later;
    uint64_t n;
    int r = hyi_segment_read_header(reader->fd, h);

    if (r != 0)
        return r;
    n = atomic_load_explicit(&h->published, memory_order_relaxed);
    if (n == 0)
        return -EAGAIN;
    /* Acquire, twice: partners of the two releases in hyi_segment_write. */
    atomic_thread_fence(memory_order_acquire);
    r = hyi_os_shm_read(reader->fd,
                        offsetof(struct hyi_segment, slot) +
                            (n & 1) * sizeof(hy_monitor_sample),
                        &reader->sample, sizeof(reader->sample));
    if (r != 0)
        return r == -EIO ? -EBADMSG : r;
    atomic_thread_fence(memory_order_acquire);
    r = hyi_segment_read_header(reader->fd, &later);
    if (r != 0)
        return r;
    return atomic_load_explicit(&later.published, memory_order_relaxed) != n;
}

int hy_monitor_read(hy_monitor_reader *r, hy_monitor_sample *out)
{
    struct hyi_segment_header h;
    int result = 1;

    if (r == NULL || out == NULL)
        return -EINVAL;
    for (int i = 0; result == 1 && i < TRIES; i++)
        result = copy_once(r, &h);
    if (result == 1)
        return -EAGAIN;
    if (result != 0)
        return result;
    if (!is_sound(&r->sample, &h))
        return -EBADMSG;
    result = hyi_struct_fill(out, &r->sample, sizeof(r->sample));
    if (result != 0)
        return result;
    return hyi_segment_is_alive(&h) ? 0 : 1;
}

/* --- finding -------------------------------------------------------------- */

struct finding {
    int (*visit)(const hy_monitor_info *info, void *arg);
    void *arg;
};

/* What cannot be read is passed over: it is nobody's segment. */
static int found(const char *file, void *arg)
{
    const struct finding *f = arg;
    struct hyi_segment_header h;
    char path[HYI_SEGMENT_PATH];
    hy_monitor_info info = {.size = sizeof(info)};
    int fd = -1;

    snprintf(path, sizeof(path), "/%s", file);
    if (open_checked(&fd, path, &h) != 0)
        return 0;
    hyi_os_file_close(fd);
    info.name = h.name;
    info.pid = h.pid;
    info.alive = hyi_segment_is_alive(&h);
    return f->visit(&info, f->arg);
}

int hy_monitor_each(int (*visit)(const hy_monitor_info *info, void *arg),
                    void *arg)
{
    struct finding f = {visit, arg};
    char prefix[HYI_SEGMENT_PATH];

    if (visit == NULL)
        return -EINVAL;
    hyi_segment_path(prefix, "");
    return hyi_os_shm_each(prefix + 1, found, &f);
}

/* --- removing ------------------------------------------------------------- */

int hy_monitor_remove(const char *name)
{
    struct hyi_segment_header h;
    char path[HYI_SEGMENT_PATH];
    int saved = errno, fd = -1, r;

    if (name == NULL || !hyi_segment_is_name(name))
        return -EINVAL;
    hyi_segment_path(path, name);
    r = open_checked(&fd, path, &h);
    if (r == 0) {
        hyi_os_file_close(fd);
        r = hyi_segment_is_alive(&h) ? -EEXIST : 0;
    }
    /* Of a damaged one the lock tells whether it is being made. */
    if (r == 0 || r == -EBADMSG)
        r = hyi_segment_remove_dead(path);
    errno = saved;
    return r;
}
