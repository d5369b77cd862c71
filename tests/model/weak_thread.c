/*
 * weak_thread.c - records of plain threads (thread.c): two threads that need
 * one at the same time, and a thread's end.
 *
 *      WEAK_CASE 1: both make a block, or find the other's
 *                2: one has ended by then, perhaps; its record is used again
 */
#include "weak.h"

/* Of a new block the first two records, which are all that are used. */
#define memset(to, zero, bytes) block_init(to)
struct hyi_thread_block;
static void block_init(void *block);

static int keys[2]; /* that exist: not atomic */
static _Atomic int next_key;

static int key_create(unsigned *key)
{
    *key =
        (unsigned)atomic_fetch_add_explicit(&next_key, 1, memory_order_relaxed);
    keys[*key] = 1;
    return 0;
}

#define pthread_key_create(key, function) ((void)(function), key_create(key))
#define pthread_key_delete(key)           (keys[key] = 0)
#define pthread_setspecific(key, value)   ((void)(value), keys[key] == 0)
#define pthread_key_t                     unsigned
#include "../../lib/runtime/thread.c"
#undef pthread_key_t

struct hyi_process hyi_process;

static void block_init(void *block)
{
    struct hyi_thread_block *b = block;

    for (int i = 0; i < 2; i++) {
        atomic_init(&b->record[i].in_use, false);
        b->record[i].locals = NULL;
        b->record[i].exits = 0;
    }
}

bool hyi_locals_round(struct hyi_locals **locals)
{
    return *locals != NULL;
}

void hyi_locals_discard(struct hyi_locals **locals)
{
    *locals = NULL;
}

static void *thread(void *number)
{
    struct hyi_thread *t;

    weak_begin((unsigned)(long)number);
    assert(hyi_thread_record(&t) == 0);
    t->locals = (struct hyi_locals *)t; /* its own */
    assert(t->locals == (struct hyi_locals *)t && t->exits == 0);
    t->locals = NULL;
    if (WEAK_CASE == 2)
        for (int round = 0; round < ROUNDS; round++)
            at_exit(t);
    weak_end();
    return (void *)t;
}

int main(void)
{
    pthread_t t[2];
    void *record[2];

    for (long i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, thread, (void *)i);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], &record[i]);
    if (WEAK_CASE == 1)
        assert(record[0] != record[1]);
    return 0;
}
