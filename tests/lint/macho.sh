#!/bin/sh
# macho.sh SOURCE: every assembly file, and every C file of the two halves of
# arch/ that needs no system header of macOS, assembles as Mach-O too. This is
# all that can be shown without a Mac.
set -eu
cd "$1"
status=0
count=0
for isa in x86_64 aarch64; do
    target=x86_64-apple-darwin
    [ $isa = x86_64 ] || target=arm64-apple-darwin
    for file in arch/$isa/*.S tests/checkarch/*_$isa.S; do
        [ -f "$file" ] || continue
        count=$((count + 1))
        clang --target=$target -Wall -Werror -Iarch -c "$file" -o /dev/null || {
            echo "$file does not assemble for $target"
            status=1
        }
    done
done
echo "$count files"
exit $status
