#!/bin/sh
# Patch sites in every kind of program: sh build_all.sh INCLUDE ARCHIVE WORK
# Compilers and linkers that are not there are left out and named.
set -eu
include=$1 archive=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"
. "$here/../say.sh"

# build OUT LANGUAGE FLAGS...: one program of both files.
build() {
    out=$1 language=$2
    shift 2
    "$cc" -x "$language" -Wall -Wextra -Wpedantic -Werror -I "$include" "$@" \
        "$here/patch_near.c" "$here/patch_far.c" -x none "$archive" \
        -lpthread -lm -o "$out"
}

both() {
    build program "$@" && ./program
}

# The key and sites in a -fPIC library, other sites in the program.
library() {
    language=$1
    shift
    "$cc" -x "$language" -fPIC -shared -Wall -Wextra -Werror -I "$include" \
        "$@" "$here/patch_far.c" -o libfar.so
    "$cc" -x "$language" -Wall -Wextra -Werror -I "$include" "$@" \
        "$here/patch_near.c" -x none libfar.so "$archive" -rdynamic \
        -Wl,-rpath,"$work" -lpthread -lm -o program
    ./program
}

# Both files define the key: the linker must refuse.
twice() {
    ! "$cc" -I "$include" "$here/patch_near.c" "$here/patch_far.c" \
        -Dnever_called=again -Dhidden_use=again_use -Dfar_sites=again_sites \
        "$here/patch_far.c" "$archive" -lpthread -lm -o program || return 1
    echo "refused"
}

gc="-ffunction-sections -fdata-sections -Wl,--gc-sections"
for cc in gcc clang; do
    if ! command -v $cc >/dev/null; then
        echo "$cc: not there"
        continue
    fi
    # shellcheck disable=SC2086
    for language in c c++; do
        std="-std=c11"
        [ $language = c ] || std="-std=c++11"
        say "$cc $language -O2" both $language $std -O2
        say "$cc $language -O0" both $language $std -O0
        say "$cc $language -O3 no pie" both $language $std -O3 -no-pie -fno-pie
        say "$cc $language hidden" both $language $std -O2 -fvisibility=hidden
        say "$cc $language gc" both $language $std -O2 $gc
        say "$cc $language lto" both $language $std -O2 -flto
        say "$cc $language library" library $language $std -O2
        say "$cc $language library -O0" library $language $std -O0
        if command -v ld.lld >/dev/null; then
            say "$cc $language lld gc" both $language $std -O2 -fuse-ld=lld $gc
        fi
        if [ "$(uname -m)" = x86_64 ]; then
            say "$cc $language -masm=intel" both $language $std -O2 -masm=intel
        fi
    done
    if [ $cc = gcc ]; then
        say "gcc lto, each function apart" both c -O2 -flto \
            -flto-partition=max
    fi
    say "$cc defined twice" twice
done
said_all
