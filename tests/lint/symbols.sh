#!/bin/sh
# symbols.sh SOURCE BUILD COMPILER [NM]: what each library exports is what its
# headers declare, no more and no less, under the version of the script; and
# its archive defines the same. Prints each difference; fails when there is one.
set -eu
source=$1
build=$2
compiler=$3
nm=${4:-nm}
here=$(dirname "$0")
work=$build/symbols
mkdir -p "$work"
version=$(sed -n 's/^project(hyperion VERSION \([0-9]*\.[0-9]*\).*/HYPERION_\1/p' \
    "$source/CMakeLists.txt")
status=0

complain() { # FILE TEXT: each line of the file is a symbol
    [ ! -s "$1" ] && return
    sed "s|^|$2: |" "$1"
    status=1
}

for list in "$build"/headers/*.txt; do
    library=$(basename "$list" .txt)
    sh "$here/public_names.sh" "$source" "$compiler" <"$list" |
        sed 's/()$//' >"$work/$library.declared"
    [ -s "$work/$library.declared" ] || {
        echo "$library: no public name found"
        status=1
    }
    "$nm" -D --defined-only "$build/lib$library.so" | awk '$2 != "A" {print $3}' |
        LC_ALL=C sort -u >"$work/$library.versioned"
    sed 's/@.*//' "$work/$library.versioned" >"$work/$library.exported"
    grep -v "@@$version\$" "$work/$library.versioned" >"$work/odd" || true
    complain "$work/odd" "lib$library.so exports, without @@$version"
    LC_ALL=C comm -13 "$work/$library.declared" "$work/$library.exported" >"$work/odd"
    complain "$work/odd" "lib$library.so exports, but no header declares"
    LC_ALL=C comm -23 "$work/$library.declared" "$work/$library.exported" >"$work/odd"
    complain "$work/odd" "lib$library.so lacks, but a header declares"
    "$nm" -g --defined-only "$build/lib$library.a" 2>/dev/null |
        awk 'NF == 3 {print $3}' | LC_ALL=C sort -u >"$work/$library.archived"
    LC_ALL=C comm -23 "$work/$library.declared" "$work/$library.archived" >"$work/odd"
    complain "$work/odd" "lib$library.a lacks, but a header declares"
    # <sys/sdt.h> puts one hidden symbol of its own beside the probes.
    grep -v '^hy_\|^hyi_\|^_\.stapsdt\.base$' "$work/$library.archived" \
        >"$work/odd" || true
    complain "$work/odd" "lib$library.a defines a name outside hy_ and hyi_"
    echo "$library: $(wc -l <"$work/$library.declared") public names"
done
exit $status
