#!/bin/sh
# mutants.sh SOURCE WORK [TRIALS [NAME]] - plants bugs in a copy of the library,
# one after another, and has the simulation find each.
#
# A bug is one sed script on one file; a script that changes nothing is an
# error, so that a bug whose place has moved is not taken for one that is found.
# Each must be found in every trial; how many schedules that takes is said.
set -eu

top=$1
work=$2
trials=${3:-5}
only=${4:-}
status=0

rm -rf "$work"
mkdir -p "$work/copy"
for part in CMakeLists.txt README.md LICENSE arch cmake docs include lib tests; do
    cp -R "$top/$part" "$work/copy/"
done
cmake -S "$work/copy" -B "$work/build" -G Ninja -DHY_SIMULATION=ON \
    -DHY_EXAMPLES=OFF -DHY_INSTALL=OFF >"$work/log.txt" 2>&1 ||
    {
        cat "$work/log.txt"
        exit 1
    }

bad() {
    [ ! -f "$2" ] || tail -n 20 "$2"
    echo "$1"
    status=1
}

explore() {
    "$work/build/tests/sim/sim_explore" --count 2000000 --jobs "$(nproc)" \
        --trials "$trials" >"$work/found.txt" 2>&1
}

# bug NAME FILE SCRIPT SAYS: SAYS is what the report of the find must hold.
bug() {
    case $1 in *"$only"*) ;; *) return 0 ;; esac
    sed "$3" "$top/$2" >"$work/copy/$2"
    if cmp -s "$top/$2" "$work/copy/$2"; then
        bad "$1: its place in $2 has moved" ""
    elif ! ninja -C "$work/build" sim_explore >"$work/log.txt" 2>&1; then
        bad "$1: does not build" "$work/log.txt"
    elif ! explore; then
        bad "$1: NOT FOUND" "$work/found.txt"
    elif ! grep -q -e "$4" "$work/found.txt"; then
        bad "$1: something else was found" "$work/found.txt"
    else
        grep -v '^again: ' "$work/found.txt" | sed "s/^/$1: /"
    fi
    cp "$top/$2" "$work/copy/$2"
}

# A worker that lies down does not look into its inbox any more: a post that
# came in between is not seen.
bug lost_wake_up_idle lib/runtime/idle.c \
    's/atomic_load(&rt->over) == 0 && !has_post(w) &&/atomic_load(\&rt->over) == 0 \&\&/' \
    'deadlock'

# Whoever has slept for a small lock takes it as if nobody else still slept.
bug lost_wake_up_lock lib/runtime/lock.h \
    's/^    while (atomic_exchange_explicit(&lock->word, 2, .*) != 0)/    while (!hyi_lock_try(lock)) {\
        uint32_t held = 1;\
        atomic_compare_exchange_strong(\&lock->word, \&held, 2);/
     s/^\( *hyi_os_futex_wait(&lock->word, 2, HY_FOREVER, false);\)/\1 }/' \
    'deadlock'

# A poster looks for the sleeper before it has posted.
bug lost_wake_up_post lib/runtime/inbox.c \
    '/^    uintptr_t first = 0, sent;$/a\    hyi_worker_kick(w);
     /^    hyi_worker_kick(w);$/d' \
    'deadlock\|no end after'

# The indices of a deque begin at 0 again whenever it is empty: a thief's
# compare-exchange succeeds on an index that means another fiber by now.
bug aba_deque lib/runtime/deque.h \
    '/^    if (HYI_UNLIKELY(a == NULL || bottom - top > (int64_t)a->mask))$/i\    if (bottom == top) {\
        bottom = top = 0;\
        atomic_store_explicit(\&q->top, 0, memory_order_relaxed);\
        atomic_store_explicit(\&q->bottom, 0, memory_order_relaxed);\
    }' \
    '.'

# A cancel that has looked at the generation once does not look again when its
# compare-exchange fails: the slot may be another fiber's by now.
bug aba_slot lib/runtime/fiber.c \
    '/^static int cancel(struct hyi_fiber/,/^}/ {
        s/^    uint64_t life;/    uint64_t life; bool looked = false;/
        s/if (hyi_generation(life) != generation ||/if ((!looked \&\& hyi_generation(life) != generation) ||/
        s/^            return -ESRCH;/            return -ESRCH;\
        looked = true;/
    }' \
    '.'

# A select locks its channels in the order of its cases.
bug lock_order_select lib/runtime/chan.c \
    's/(uintptr_t)chan_of(s, a) <= (uintptr_t)chan_of(s, b) ? &a : &b/a->index <= b->index ? \&a : \&b/' \
    'deadlock'

# A join that gives up takes the lock of the table while it holds the fiber's;
# a fiber that ends takes them the other way round.
bug lock_order_table lib/runtime/fiber.c \
    '/^static bool leave_joiners/,/^}/ {
        s/^    if (waiter->prev != NULL)/    struct hyi_lock *table = \&atomic_load(\&f->worker)->rt->table_lock;\
    hyi_lock(table);\
    if (waiter->prev != NULL)/
        s/^    hyi_fiber_unlock(f);/    hyi_unlock(table);\
    hyi_fiber_unlock(f);/
    }' \
    'no end after'

rm -rf "$work"
exit $status
