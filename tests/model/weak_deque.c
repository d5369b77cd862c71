/*
 * weak_deque.c - the deque of unstarted fibers (lib/runtime/deque.h): its owner
 * pushes, pops and takes, thieves steal. Nothing is lost, nothing is taken
 * twice, and what the owner wrote before a push is seen by who gets it.
 *
 *      WEAK_CASE   owner                       thieves
 *      1           push push pop               2 steal once
 *      2           push push take              2 steal once
 *      3           push push (grows) push pop  1 steals twice
 *      4           push pop push pop           2 steal once
 */
#include "weak.h"

#include "deque.h"

enum { ITEMS = 3 };

static struct {
    int value; /* not atomic: who gets it must see it */
    _Atomic int taken;
} item[ITEMS];

static struct hyi_deque deque;
static int pushed;

static void push(void)
{
    item[pushed].value = pushed + 1;
    assert(hyi_deque_push(&deque, (struct hyi_fiber *)&item[pushed], 0) == 0);
    pushed++;
}

static void got(struct hyi_fiber *f)
{
    long i;

    if (f == NULL)
        return;
    i = ((char *)f - (char *)&item[0]) / (long)sizeof(item[0]);
    assert(item[i].value == i + 1);
    assert(atomic_exchange_explicit(&item[i].taken, 1, memory_order_relaxed) ==
           0);
}

static void *thief(void *times)
{
    for (long i = 0; i < (long)times; i++)
        got(hyi_deque_steal(&deque));
    return NULL;
}

static void owner(void)
{
    push();
    push();
#if WEAK_CASE == 1
    got(hyi_deque_pop(&deque, false));
#elif WEAK_CASE == 2
    got(hyi_deque_take(&deque, false));
#elif WEAK_CASE == 3
    push();
    got(hyi_deque_pop(&deque, false));
#else
    got(hyi_deque_pop(&deque, false));
    push();
    got(hyi_deque_pop(&deque, false));
#endif
}

/* Room for two, so that a third push grows it. */
static void small(void)
{
    struct hyi_deque_array *a = malloc(sizeof(*a) + 2 * sizeof(a->cell[0]));

    a->older = NULL;
    a->mask = 1;
    for (int i = 0; i < 2; i++) {
        atomic_init(&a->cell[i].fiber, NULL);
        a->cell[i].mark = 0;
    }
    atomic_init(&deque.array, a);
}

int main(void)
{
    pthread_t one, two;

    small();
    pthread_create(&one, NULL, thief, (void *)(WEAK_CASE == 3 ? 2l : 1l));
    if (WEAK_CASE != 3)
        pthread_create(&two, NULL, thief, (void *)1l);
    owner();
    pthread_join(one, NULL);
    if (WEAK_CASE != 3)
        pthread_join(two, NULL);
    for (int i = 0; i < ITEMS; i++)
        got(hyi_deque_take(&deque, true));
    for (int i = 0; i < pushed; i++)
        assert(atomic_load_explicit(&item[i].taken, memory_order_relaxed) == 1);
    hyi_deque_free(&deque);
    return 0;
}
