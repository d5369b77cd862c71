#!/bin/sh
# weak.sh [-j JOBS] WHAT: the weak-memory models (docs/design/models.md).
#
#   run [MODEL:CASE...]   explores the scenarios, all or those, under RC11 and
#                         IMM; fails when one has an error
#   weaken [FILE...]      weakens each memory order of the modelled sources, one
#                         at a time, and says which scenario catches it; fails
#                         when one is caught by none and weak_kept.txt has no
#                         reason for it
#   record                both of all, as weak_transcript.md
#   check                 needs no GenMC: the transcript is of these sources
#
# GENMC in the environment names the program; else it is genmc on the PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
genmc=${GENMC:-genmc}
seconds=${WEAK_SECONDS:-600}
jobs=1

scenarios="lock:1 lock:2 park:1 park:2 deque:1 deque:2 deque:3 deque:4
fiber:1 fiber:2 fiber:3 fiber:4 idle:1 idle:2 idle:3
slot:1 slot:2 slot:3 slot:4 slot:5 slot:6 slot:7 slot:8
sync:1 sync:2 sync:3 sync:4 sync:5 sync:6 sync:7 sync:8
chan:1 chan:2 chan:3 chan:4 chan:5
ring:1 ring:2 ring:3 ring:4 ring:5 ring:6 ring:7 ring:8 ring:9
inline:1 inline:2"
scenarios_line=$(echo "$scenarios" | tr '\n' ' ')

sources="lib/base/order.h lib/base/park.c lib/runtime/lock.h
lib/runtime/deque.h lib/runtime/core.h lib/runtime/queues.h lib/runtime/queues.c
lib/runtime/inbox.c lib/runtime/parker.c lib/runtime/hop.h lib/runtime/hop.c
lib/runtime/worker.c lib/runtime/idle.c
lib/runtime/table.c lib/runtime/fiber.c lib/runtime/waits.h lib/runtime/waits.c
lib/runtime/sync.c lib/runtime/chan.c lib/ring/ring_layout.h lib/ring/ring.c
lib/ring/ring_wait.c lib/ring/ring_overwrite.c include/hyperion/inline/ring.h"

# The scenarios that are tried on an order of a file, the quickest first.
scenarios_of() {
    case $1 in
    lib/base/order.h) echo idle:2 ring:4 ring:5 ;;
    lib/base/park.c) echo park:1 park:2 sync:2 ;;
    lib/runtime/lock.h) echo lock:1 lock:2 ;;
    lib/runtime/deque.h) echo deque:1 deque:2 deque:3 deque:4 idle:2 ;;
    lib/runtime/core.h) echo slot:5 slot:1 slot:2 ;;
    lib/runtime/queues.? | lib/runtime/inbox.c | lib/runtime/parker.c | \
        lib/runtime/hop.? | lib/runtime/worker.c)
        echo idle:3 fiber:1 slot:5 fiber:4 fiber:2 fiber:3
        ;;
    lib/runtime/idle.c) echo idle:3 idle:2 ;;
    lib/runtime/table.c | lib/runtime/fiber.c)
        echo slot:1 slot:3 slot:6 slot:8 slot:2 slot:4 slot:5
        ;;
    lib/runtime/waits.?) echo sync:8 ;;
    lib/runtime/sync.c) echo sync:1 sync:2 sync:3 sync:4 sync:5 sync:6 sync:7 ;;
    lib/runtime/chan.c) echo chan:1 chan:4 chan:5 ;;
    lib/ring/ring_overwrite.c) echo ring:9 ;;
    lib/ring/ring_wait.c) echo ring:4 ring:5 ring:2 ring:3 ring:6 ring:7 ring:8 ;;
    lib/ring/*) echo ring:1 ring:4 ring:5 ring:2 ring:3 ;;
    *) echo inline:1 inline:2 ;;
    esac
}

# explore TOP MODEL:CASE rc11|imm LOG: GenMC's status, 124 when it took too long.
explore() {
    name=${2%:*}
    timeout "$seconds" "$genmc" "--$3" --disable-estimation --check-liveness \
        --disable-loop-jump-threading -- -Xclang -disable-lifetime-markers \
        -DHY_NO_ASM=1 "-DWEAK_CASE=${2#*:}" "-I$1/lib/base" \
        "-I$1/lib/runtime" "-I$1/lib/ring" "-I$1/include" "-I$1/arch" \
        "$1/tests/model/weak_$name.c" >"$4" 2>&1
}

# Row of a table: scenario, executions and time under each model.
run_one() {
    log=$(mktemp)
    row="| $1"
    status=0
    for model in rc11 imm; do
        if explore "$top" "$1" "$model" "$log" &&
            grep -q 'No errors were detected' "$log"; then
            row="$row | $(sed -n 's/.*executions explored: //p' "$log")"
        else
            row="$row | FAILED: $(sed -n 's/^\(Error\|LLVM ERROR\): //p' "$log")"
            status=1
        fi
        row="$row | $(sed -n 's/Total wall-clock time: //p' "$log")"
    done
    rm -f "$log"
    echo "$row |"
    return $status
}

# A copy of what the models read.
copy_tree() {
    mkdir -p "$1/tests" "$1/include"
    cp -R "$top/lib" "$top/arch" "$1"
    cp -R "$top/include/hyperion" "$1/include"
    cp -R "$top/tests/model" "$1/tests"
}

# weaken_one FILE FUNCTION NUMBER ORDER WEAKER: row of a table.
weaken_one() {
    copy=$(mktemp -d)
    copy_tree "$copy"
    awk -v "target=$2" -v "number=$3" -v "weaker=$5" \
        -f "$here/weak_orders.awk" "$top/$1" >"$copy/$1"
    caught=
    for scenario in $(scenarios_of "$1"); do
        explore "$copy" "$scenario" rc11 "$copy/log" && continue
        how=$(sed -n 's/^Error: //p' "$copy/log")
        [ -n "$how" ] || continue
        caught="$scenario: $how"
        break
    done
    rm -rf "$copy"
    token=$(echo "$4" | sed 's/memory_order_//; s/__ATOMIC_//; s/($//')
    to=$(echo "$5" | sed 's/memory_order_//; s/__ATOMIC_//; s/default/weaker/')
    [ -n "$caught" ] || caught=$(kept "$1" "$2" "$3" "$to")
    echo "| $1 | $2 | $3 | $token | $to | $caught |"
    [ "$caught" != "NOT CAUGHT" ]
}

# Why an order stays that no scenario needs: of the weak_kept.txt's lines
# "file function number weaker: reason", where * stands for any.
kept() {
    awk -v file="$1" -v name="$2" -v number="$3" -v weaker="$4" '
        function fits(is, has) { return is == "*" || is == has }
        /^[^#]/ {
            split($0, part, ": ")
            n = split(part[1], key, " ")
            if (n == 4 && fits(key[1], file) && fits(key[2], name) &&
                fits(key[3], number) && fits(key[4], weaker)) {
                print "kept: " substr($0, length(part[1]) + 3)
                found = 1
                exit
            }
        }
        END { if (!found) print "NOT CAUGHT" }' "$here/weak_kept.txt"
}

orders() {
    # shellcheck disable=SC2086 # a list of files
    (cd "$top" && awk -f "$here/weak_orders.awk" $sources)
}

# Each function of the sources that takes part, and a checksum of its tokens.
functions() {
    # shellcheck disable=SC2086 # a list of files
    (cd "$top" && awk -v names=1 -f "$here/weak_orders.awk" $sources) |
        while read -r file name text; do
            echo "$file $name $(echo "$text" | cksum | cut -d' ' -f1)"
        done
}

# each COMMAND: calls this script for each line of standard input, and keeps
# their order.
each() {
    rows=$(mktemp -d)
    status=0
    awk '{ printf "%04d %s\n", NR, $0 }' |
        xargs -P "$jobs" -I '{}' sh -c '
            set -- $2 -- "$0" "$1" "$3"
            number=$1
            shift
            args=
            while [ "$1" != -- ]; do
                args="$args $1"
                shift
            done
            sh "$2" "$3" $args >"$4/$number" || echo "$number" >>"$4/failed"
        ' "$here/weak.sh" "$1" '{}' "$rows" || status=1
    cat "$rows"/[0-9]* 2>/dev/null || true
    [ ! -e "$rows/failed" ] || status=1
    rm -rf "$rows"
    return $status
}

run() { # [MODEL:CASE...]
    [ $# -gt 0 ] || eval "set -- $scenarios_line"
    echo "| scenario | RC11: executions | time | IMM: executions | time |"
    echo "|---|---:|---:|---:|---:|"
    printf '%s\n' "$@" | each run_one
}

weaken() { # [FILE...]
    echo "| file | function | nth | order | weakened to | caught by |"
    echo "|---|---|---:|---|---|---|"
    orders | awk -v "files=$*" 'files == "" || index(files, $1) > 0' |
        each weaken_one
}

record() {
    cat <<END
# Weak-memory models: transcript

$(date -u +%Y-%m-%d), $("$genmc" --version 2>&1 | grep -oE 'GenMC v[^)]*\)'), by
\`sh tests/model/weak.sh record\`. docs/design/models.md says what this shows.

## Scenarios
END
    run "$@"
    printf '\n## Each memory order weakened once\n'
    weaken "$@"
    printf '\n## Functions, as they were\n'
    functions | sed 's/^/    /'
}

# The functions and the orders of the transcript are those of the sources.
check() {
    transcript=$here/weak_transcript.md
    now=$(mktemp)
    then=$(mktemp)
    functions >"$now"
    sed -n 's/^    \([a-z].*\)/\1/p' "$transcript" >"$then"
    status=0
    diff "$then" "$now" >"$now.diff" || status=1
    sed -n 's/^[<>] \([^ ]*\) \([^ ]*\) .*/\1: \2/p' "$now.diff" | sort -u |
        sed 's/$/ is not what the models were run on/'
    if grep -nE 'FAILED|NOT CAUGHT' "$transcript"; then
        status=1
    fi
    rm -f "$now" "$then" "$now.diff"
    [ $status -eq 0 ] ||
        echo "run: sh tests/model/weak.sh record, with GenMC (docs/design/models.md)"
    return $status
}

if [ "${1:-}" = -j ]; then
    jobs=$2
    shift 2
fi
export GENMC="$genmc"
case ${1:-} in
run | weaken | record | check | functions | run_one | weaken_one)
    "$@"
    ;;
*)
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d'
    exit 2
    ;;
esac
