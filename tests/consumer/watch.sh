#!/bin/sh
# watch.sh SEARCH TOP FOLDER - hyperion-top beside hyperion-search: what is
# published, what a killed process leaves, and its removal. It runs in a mount
# namespace with shared memory of its own, so that it removes nobody else's;
# where there can be none, it is left out.
set -eu

if [ "${4:-}" != apart ]; then
    map=-r
    [ "$(id -u)" -ne 0 ] || map=
    if ! unshare $map -m mount -t tmpfs none /dev/shm 2>/dev/null; then
        echo 'left out: no mount namespace here'
        exit 0
    fi
    exec unshare $map -m sh "$0" "$1" "$2" "$3" apart
fi
mount -t tmpfs none /dev/shm

search=$1
top=$2
work=$3
. "$(dirname "$0")/expect.sh"
rm -rf "$work"
mkdir -p "$work"
cd "$work"

# wait_for PATTERN COMMAND...: until it prints it.
wait_for() {
    pattern=$1
    shift
    i=0
    until "$@" 2>err.txt | grep -q -e "$pattern"; do
        i=$((i + 1))
        [ $i -lt 1200 ] || fail "$* never said $pattern: $(cat err.txt)"
        sleep 0.05
    done
}

refuse 'nothing is published by this user; ' "$top"
refuse 'nothing is published by this user; ' "$top" --once
refuse 'nothing is published by this user; ' "$top" --list
[ -z "$("$top" --list --json)" ] || fail 'something where nothing is'
expect '^0 removed' "$top" --clear

printf 'Otters swim.\n' >otters
expect '^1 document' "$search" index otters --store a
cp --sparse=always a b
mkfifo one two
"$search" repl --store a --watch one <one >one.txt &
first=$!
"$search" repl --store b --watch two <two >two.txt &
second=$!
exec 8>one 9>two
wait_for '^one  .*pid' "$top" --list
wait_for '^two  .*pid' "$top" --list
refuse '2 processes publish; name one' "$top" --once
wait_for '^pipeline documents' "$top" --once one
refuse 'another process has this name' "$search" stats --store c --watch one
expect '^0 removed' "$top" --clear

kill -9 $first
wait $first 2>/dev/null || true
wait_for '^one .*ended$' "$top" --list
expect '^two .* pid ' "$top" --once
expect '^one ENDED' "$top" --once one
kill -9 $second
wait $second 2>/dev/null || true
refuse 'now; 2 that ended' "$top" --once
expect '^2 removed' "$top" --clear
refuse 'nothing is published by this user; ' "$top" --list

passed
