#!/bin/sh
# mutants.sh SOURCE WORK [TRIALS [NAME]] - plants bugs in copies of the library, one
# by one, and has the simulation find each.
#
# A bug is one sed script on one file; a script that changes nothing is an
# error, so that a bug whose place has moved is not taken for one that is found.
# Each must be found in every trial; how many schedules that takes is said.
set -eu

top=$1
work=$2
trials=${3:-5}
status=0
only=${4:-}

build() {
    cmake -S "$1" -B "$1/build" -G Ninja -DHY_SIMULATION=ON \
        -DHY_EXAMPLES=OFF -DHY_INSTALL=OFF &&
        ninja -C "$1/build" sim_explore
}

# bug NAME FILE SCRIPT SAYS: SAYS is what the report of the find must hold.
bug() {
    name=$1
    file=$2
    case $name in *"$only"*) ;; *) return 0 ;; esac
    copy=$work/$name
    rm -rf "$copy"
    mkdir -p "$copy"
    for part in CMakeLists.txt README.md LICENSE arch cmake docs include lib tests; do
        cp -R "$top/$part" "$copy/"
    done
    sed "$3" "$top/$file" >"$copy/$file"
    if cmp -s "$top/$file" "$copy/$file"; then
        echo "$name: its place in $file has moved"
        status=1
        return 0
    fi
    if ! build "$copy" >"$copy/log.txt" 2>&1; then
        tail -n 20 "$copy/log.txt"
        echo "$name: does not build"
        status=1
        return 0
    fi
    if ! "$copy/build/tests/sim/sim_explore" --count 2000000 \
        --jobs "$(nproc)" --trials "$trials" >"$copy/found.txt" 2>&1; then
        cat "$copy/found.txt"
        echo "$name: NOT FOUND"
        status=1
        return 0
    fi
    grep -q -e "$4" "$copy/found.txt" || {
        cat "$copy/found.txt"
        echo "$name: something else was found"
        status=1
    }
    sed "s/^/$name: /" "$copy/found.txt" | grep -v ': again: '
    rm -rf "$copy"
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
bug lost_wake_up_post lib/runtime/worker.c \
    '/first = atomic_load_explicit(&w->inbox, memory_order_relaxed);/i\    hyi_worker_kick(w);
     /^    hyi_worker_kick(w);$/d' \
    'deadlock\|no end after'

# The indices of a deque begin at 0 again whenever it is empty: a thief's
# compare-exchange succeeds on an index that means another fiber by now.
bug aba_deque lib/runtime/deque.h \
    '/^    if (HYI_UNLIKELY(a == NULL || bottom - top > (int64_t)a->mask)) {/i\    if (bottom == top) {\
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

exit $status
