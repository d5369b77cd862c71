#!/bin/sh
# layers.sh SOURCE WORK COMPILER: shows that configuring refuses each way of
# breaking the layers. A copy of the tree is broken once for each, must then
# fail for that reason, and configures again when mended.
set -eu
source=$1
work=$2
compiler=$3
copy=$work/source
status=0

rm -rf "$work"
mkdir -p "$copy"
tar -C "$source" -cf - --exclude='./build*' --exclude=./.git . |
    tar -C "$copy" -xf -
chmod -R u+w "$copy" # the source may be read-only

configures() {
    cmake -S "$copy" -B "$work/build" -G Ninja -DHY_EXAMPLES=OFF \
        -DCMAKE_C_COMPILER="$compiler" >"$work/log.txt" 2>&1
}

# FILE TEXT PATTERN: appends a line to a file of the copy and wants the refusal.
refused() {
    mkdir -p "$(dirname "$copy/$1")"
    existed=no
    if [ -f "$copy/$1" ]; then
        existed=yes
        cp "$copy/$1" "$work/kept"
    fi
    printf '%s\n' "$2" >>"$copy/$1"
    if configures; then
        echo "not refused: $2 in $1"
        status=1
    elif ! tr -s ' \n' ' ' <"$work/log.txt" | grep -q "$3"; then
        cat "$work/log.txt"
        echo "refused for another reason: $2 in $1"
        status=1
    else
        echo "refused: $2 in $1"
    fi
    if [ $existed = yes ]; then
        mv "$work/kept" "$copy/$1"
    else
        rm "$copy/$1"
    fi
}

configures || {
    cat "$work/log.txt"
    echo "the tree itself does not configure"
    exit 1
}
undeclared="not among the DEPENDS"
outside="which is neither in its own folder"
refused lib/base/park.c "#include <hyperion/pager.h>" "$undeclared"
refused lib/slab/added.c "#include <hyperion/pager.h>" "$undeclared"
refused lib/pager/added.c "#include <hyperion/runtime.h>" "$undeclared"
refused lib/text/added.c "#include <hyperion/index.h>" "$undeclared"
refused lib/text/added.c "#  include <hyperion/inline/ring.h>" "$undeclared"
refused lib/vec/added.c "#include <hyperion/hyperion.h>" "$undeclared"
refused lib/vec/added.c '#include "../base/os.h"' "no ../"
printf '/* private */\n' >"$copy/lib/base/../hyi_probe.h"
refused lib/vec/added.c '#include "hyi_probe.h"' "$outside"
rm "$copy/lib/hyi_probe.h"
refused lib/vec/added.c '#if defined(__AVX2__)' "tests for an architecture"
refused lib/vec/added.c '#ifdef __aarch64__' "tests for an architecture"
refused lib/ring/added.c '#ifdef __linux__' "or a system"
refused arch/generic/added.c "#include <hyperion/jit.h>" "$undeclared"
configures || {
    cat "$work/log.txt"
    echo "the mended copy does not configure"
    exit 1
}
sed 's/DEPENDS vec pager slab)/DEPENDS vec pager slab runtime)/' \
    "$source/CMakeLists.txt" >"$copy/CMakeLists.txt"
mkdir -p "$copy/lib/index"
[ -n "$(ls "$copy/lib/index")" ] || echo "/* */" >"$copy/lib/index/added.c"
if configures || ! grep -q "only lower layers" "$work/log.txt"; then
    echo "not refused: index that depends on its own layer"
    status=1
else
    echo "refused: index that depends on its own layer"
fi
exit $status
