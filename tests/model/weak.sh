#!/bin/sh
# weak.sh [-j JOBS] WHAT: the weak-memory models (docs/design/models.md).
#
#   run [MODEL:CASE...]   explores the scenarios, all or those, under RC11 and
#                         IMM; fails when one has an error
#   weaken [WHAT...]      weakens each memory order of the modelled sources, or of
#                         those files, or FILE:FUNCTION, one at a time, and says
#                         which scenario catches it; fails when one is caught by
#                         none and weak_kept.txt has no reason for it
#   record                both of all, into weak_transcript.md; what was explored
#                         before, program for program, stands in
#                         weak_programs.txt and is not explored again
#   check                 needs no GenMC: the transcript is of these sources
#
# GENMC in the environment names the program; else it is genmc on the PATH. Of
# the LLVM it was built with, clang and opt are there as clang-14 and opt-14, say.
# WEAK_MEMO: a directory that keeps what was explored, for a record that is
# interrupted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
genmc=${GENMC:-genmc}
seconds=${WEAK_SECONDS:-600}      # for a scenario,
try_seconds=${WEAK_TRY_SECONDS:-120} # and for one with an order weakened
jobs=1

scenarios="lock:1 lock:2 park:1 park:2 deque:1 deque:2 deque:3 deque:4
thread:1 thread:2 fiber:1 fiber:2 fiber:3 fiber:4 idle:1 idle:2 idle:3 idle:4
slot:1 slot:2 slot:3 slot:4 slot:5 slot:6 slot:7 slot:8 slot:9 slot:10
table:1 table:2 table:3 table:4 table:5 table:6 table:7 table:8
poll:1 poll:2 poll:3 poll:4 poll:5 poll:6 poll:7 poll:8 poll:9 poll:10 poll:11
poll:12 sync:1 sync:2 sync:3 sync:4 sync:5 sync:6 sync:7 sync:8 sync:9 sync:10
join:1 join:2 chan:1 chan:2 chan:3 chan:4 chan:5
ring:1 ring:2 ring:3 ring:4 ring:5 ring:6 ring:7 ring:8 ring:9
ring:10 ring:11 ring:12 ring:13 ring:14 inline:1 inline:2 inline:3
marks:1 marks:2 marks:3 marks:4 marks:5 marks:6 marks:7 marks:8 marks:9
bytes:1 bytes:2 bytes:3 bytes:4 bytes:5 bytes:6 bytes:7 bytes:8 bytes:9
many:1 many:2 many:3 many:4 many:5 many:6 many:7
shared:1 shared:2 shared:3 shared:4 shared:5"

sources="lib/base/order.h lib/base/park.c lib/runtime/lock.h
lib/runtime/deque.h lib/runtime/core.h lib/runtime/queues.h lib/runtime/queues.c
lib/runtime/inbox.c lib/runtime/parker.c lib/runtime/hop.h lib/runtime/hop.c
lib/runtime/worker.c lib/runtime/idle.c
lib/runtime/table.c lib/runtime/fiber.c lib/runtime/waits.h lib/runtime/waits.c
lib/runtime/thread.c lib/runtime/sync.c lib/runtime/chan.c
lib/ring/ring_layout.h lib/ring/ring.c lib/ring/ring_attach.c lib/ring/ring_shared.c
lib/ring/ring_wait.c lib/ring/ring_overwrite.c lib/ring/ring_bytes.c
lib/ring/ring_many.c
include/hyperion/inline/ring.h"

# Files that the scenarios drive, for what is in the others.
driven="lib/runtime/runtime.c"

# --- programs -----------------------------------------------------------------
# What GenMC explores is a scenario cut down to what it reaches, without line
# numbers: so its checksum stays the same until something changes that the
# scenario has to do with.

find_tools() {
    version=$("$genmc" --version 2>&1 | grep -oE 'GenMC v[^)]*\)|LLVM [0-9.]+' |
        tr '\n' ' ')
    llvm=$(echo "$version" | sed -n 's/.*LLVM \([0-9]*\).*/\1/p')
    at=$(dirname "$(command -v "$genmc")")
    for include in "$at/include" "$at/../include/genmc" "$at/../include"; do
        [ ! -e "$include/genmc.h" ] || break
    done
    options="--disable-estimation --check-liveness --disable-loop-jump-threading"
}

# build TOP MODEL:CASE OUT
build() {
    (cd "$1" && "clang-$llvm" -w -S -emit-llvm -o "$3.whole" -DHY_NO_ASM=1 \
        -D__LINE__=0 -Wno-builtin-macro-redefined "-DWEAK_CASE=${2#*:}" \
        -D__CONFIG_GENMC_INODE_DATA_SIZE=64 -fno-discard-value-names \
        -Xclang -disable-O0-optnone -Xclang -disable-lifetime-markers \
        "-I$include" -Ilib/base -Ilib/runtime -Ilib/ring -Iinclude -Iarch \
        "tests/model/weak_${2%:*}.c") || return 1
    "opt-$llvm" -S -passes=internalize,globaldce \
        -internalize-public-api-list=main "$3.whole" | grep -v '^; ModuleID' >"$3"
    rm -f "$3.whole"
}

key_of() { # PROGRAM
    { echo "$version $options" && cat "$1"; } | sha256sum | cut -c1-16
}

# explore PROGRAM rc11|imm SECONDS WHAT: a line of its day, how many executions,
# seconds, and its error, "none", or "no end"; from WEAK_MEMO if it is there.
explore() {
    key=$(key_of "$1").$2
    if [ ! -s "$WEAK_MEMO/$key" ]; then
        # shellcheck disable=SC2086 # several options
        timeout "$3" "$genmc" "--$2" $options --input-from-bitcode-file -- "$1" \
            >"$1.log" 2>&1 && status=0 || status=$?
        sed -n 's/^Error: /error /p
            s/.*executions explored: /executions /p
            s/Total wall-clock time: \(.*\)s/seconds \1/p' "$1.log" |
            awk -v status=$status -v day="$(date -u +%Y-%m-%d)" -v most="$3" '
                { key = $1; $1 = ""; found[key] = substr($0, 2) }
                END {
                    e = found["error"]
                    e = e != "" ? e : status == 0 ? "none" : status == 124 ? \
                        "no end" : "status " status
                    n = found["executions"]
                    t = found["seconds"]
                    print day, n != "" ? n : "-", t != "" ? t : most, e
                }' >"$1.out"
        mv "$1.out" "$WEAK_MEMO/$key"
        rm -f "$1.log"
    fi
    [ -z "${WEAK_USED:-}" ] || echo "$key $(cat "$WEAK_MEMO/$key") | $4" \
        >"$WEAK_USED/$key"
    cat "$WEAK_MEMO/$key"
}

# --- scenarios ----------------------------------------------------------------

# Row of a table: scenario, executions and time under each model.
run_one() {
    copy=$(mktemp -d)
    row="| $1"
    status=0
    if ! build "$top" "$1" "$copy/program"; then
        row="$row | FAILED: does not compile"
        status=1
    else
        for model in rc11 imm; do
            explore "$copy/program" $model "$seconds" "$1" >"$copy/outcome"
            read -r _ executions took how <"$copy/outcome"
            [ "$how" = none ] || executions="FAILED: $how" status=1
            row="$row | $executions | ${took}s"
        done
    fi
    rm -rf "$copy"
    echo "$row |"
    return $status
}

# --- orders -------------------------------------------------------------------

# The scenarios as they are, for weaken_one: which have to do with a function,
# and which do not change when it does.
build_one() { # MODEL:CASE
    build "$top" "$1" "$WEAK_BASES/$1" && key_of "$WEAK_BASES/$1" \
        >"$WEAK_BASES/$1.key"
}

# tries FILE FUNCTION NUMBER WEAKER: the scenarios that reach the function, or all
# if it is a macro: the one first that caught the order the last time, then those
# of the file's name, then the smallest. Behind a "more": those that are tried on
# orders without a reason alone, the big ones and all but ten.
tries() {
    # shellcheck disable=SC2086 # a list
    (cd "$WEAK_BASES" && grep -lE "^define .*@$2\\(" -- *:*[0-9]) >"$copy/reach" ||
        printf '%s\n' $scenarios >"$copy/reach"
    awk -F ' *[|] *' -v file="$1" -v name="$2" -v number="$3" -v to="$4" '
        FNR == NR { reach[$1] = 1; next }
        $2 ~ /^[a-z]+:[0-9]+$/ { size[$2] = $3 + 0 }
        $2 == file && $3 == name && $4 == number && $6 == to &&
            $7 !~ /^kept/ { split($7, by, ":"); last = by[1] ":" by[2] }
        END {
            base = file
            sub(/.*\//, "", base)
            for (s in reach) {
                n = s in size ? size[s] : 1
                own = index(base, substr(s, 1, index(s, ":") - 1)) == 1
                class = s == last ? 0 : n > 4000 ? 3 : own ? 1 : 2
                print class, n, s
            }
        }' "$copy/reach" "$transcript" | sort -n -k 1,1 -k 2,2 |
        awk '!more && ($1 == 3 || ($1 == 2 && ++others > 10)) {
                print "more"
                more = 1
            }
            { print $3 }'
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
    token=$(echo "$4" | sed 's/memory_order_//; s/__ATOMIC_//; s/($//')
    to=$(echo "$5" | sed 's/memory_order_//; s/__ATOMIC_//; s/default/weaker/')
    caught='' unfinished=''
    reason=$(kept "$1" "$2" "$3" "$to")
    for scenario in $(tries "$1" "$2" "$3" "$to"); do
        case $reason in "kept: of a failed exchange"*) break ;; esac
        if [ "$scenario" = more ]; then
            [ "$reason" = "NOT CAUGHT" ] && continue || break
        fi
        build "$copy" "$scenario" "$copy/program" || exit 1
        [ "$(key_of "$copy/program")" != "$(cat "$WEAK_BASES/$scenario.key")" ] ||
            continue
        explore "$copy/program" rc11 "$try_seconds" \
            "$scenario $1 $2 $3 $to" >"$copy/outcome"
        read -r _ _ _ how <"$copy/outcome"
        case $how in
        none) continue ;;
        "no end" | status*) unfinished="$unfinished $scenario" && continue ;;
        esac
        caught="$scenario: $how"
        break
    done
    rm -rf "$copy"
    [ -n "$caught" ] || caught="$reason${unfinished:+ (no end:$unfinished)}"
    echo "| $1 | $2 | $3 | $token | $to | $caught |"
    case $caught in "NOT CAUGHT"*) return 1 ;; esac
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

# Each order that could be weaker: file, function, number, order, weaker.
orders() {
    # shellcheck disable=SC2086 # a list of files
    (cd "$top" && awk -f "$here/weak_orders.awk" $sources)
}

# Each function of the sources that takes part, and each file of the scenarios,
# with a checksum of its tokens.
functions() {
    # shellcheck disable=SC2086 # lists of files
    (cd "$top" && awk -v names=1 -f "$here/weak_orders.awk" $sources $driven &&
        awk -v names=1 -v whole=1 -f "$here/weak_orders.awk" \
            tests/model/weak*.[ch]) |
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
    # shellcheck disable=SC2086 # a list
    [ $# -gt 0 ] || set -- $scenarios
    echo "| scenario | RC11: executions | time | IMM: executions | time |"
    echo "|---|---:|---:|---:|---:|"
    printf '%s\n' "$@" | each run_one
}

# shellcheck disable=SC2120 # from the command line
weaken() { # [FILE | FILE:FUNCTION...]
    WEAK_BASES=$scratch/bases
    export WEAK_BASES
    mkdir -p "$WEAK_BASES"
    # shellcheck disable=SC2086 # a list
    printf '%s\n' $scenarios | each build_one
    echo "| file | function | nth | order | weakened to | caught by |"
    echo "|---|---|---:|---|---|---|"
    orders | awk -v "wanted=$*" '
        BEGIN { n = split(wanted, part, " ") }
        { ok = n == 0 }
        { for (i = 1; i <= n; i++) ok += part[i] == $1 || part[i] == $1 ":" $2 }
        ok' | each weaken_one
}

# What was explored before, from the file to WEAK_MEMO.
recall() {
    [ ! -e "$here/weak_programs.txt" ] ||
        while read -r key rest; do
            [ -e "$WEAK_MEMO/$key" ] || echo "${rest%% |*}" >"$WEAK_MEMO/$key"
        done <"$here/weak_programs.txt"
}

record() {
    WEAK_USED=$scratch/used
    export WEAK_USED
    mkdir "$WEAK_USED"
    recall
    status=0
    {
        cat <<END
# Weak-memory models: transcript

$(date -u +%Y-%m-%d), ${version% }, by \`sh tests/model/weak.sh record\`:
docs/design/models.md says what this shows, weak_programs.txt on which day each
program was explored.

## Scenarios
END
        run || status=1
        printf '\n## Each memory order weakened once\n'
        weaken || status=1
        printf '\n## Functions, as they were\n'
        functions | sed 's/^/    /'
    } >"$scratch/transcript"
    cat "$WEAK_USED"/* | sort -t '|' -k 2 >"$here/weak_programs.txt"
    mv "$scratch/transcript" "$transcript"
    return $status
}

# The scenarios, functions and orders of the transcript are those of the sources.
check() {
    status=0
    functions >"$scratch/now"
    sed -n 's/^    \([a-z].*\)/\1/p' "$transcript" >"$scratch/then"
    diff "$scratch/then" "$scratch/now" >"$scratch/diff" || status=1
    sed -n 's/^[<>] \([^ ]*\) \([^ ]*\) .*/\1: \2/p' "$scratch/diff" | sort -u |
        sed 's/$/ is not what the models were run on/'
    # shellcheck disable=SC2086 # a list
    printf '%s\n' $scenarios >"$scratch/now"
    sed -n 's/^| \([a-z]*:[0-9]*\) .*/\1/p' "$transcript" | diff - "$scratch/now" ||
        status=1
    if grep -nE 'FAILED|NOT CAUGHT' "$transcript"; then
        status=1
    fi
    [ $status -eq 0 ] ||
        echo "run: sh tests/model/weak.sh record, with GenMC (docs/design/models.md)"
    return $status
}

if [ "${1:-}" = -j ]; then
    jobs=$2
    shift 2
fi
transcript=$here/weak_transcript.md
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export GENMC="$genmc"
case ${1:-} in
run | weaken | record)
    [ -n "${WEAK_MEMO:-}" ] || WEAK_MEMO=$scratch/memo
    export WEAK_MEMO
    mkdir -p "$WEAK_MEMO"
    ;;
esac
case ${1:-} in
run | weaken | record | run_one | build_one | weaken_one)
    find_tools
    "$@"
    ;;
check | functions)
    "$@"
    ;;
*)
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d'
    exit 2
    ;;
esac
