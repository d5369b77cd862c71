#!/bin/sh
# throw_all.sh SOURCE BUILD WORK [-DHY_NO_ASM=1] - exceptions in fibers, with each
# compiler and C++ runtime that is there, the library shared and static. What is
# not there is left out and named.
set -eu
source=$1 build=$2 work=$3
define=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"
. "$here/../say.sh"

# compile COMPILER FLAGS...
compile() {
    compiler=$1
    shift
    # shellcheck disable=SC2086 # a compiler and its options; an empty word
    $compiler -Wall -Wextra -Werror $define -I "$source/include" "$@"
}

# The program: all is well, and an exception that nobody catches terminates it.
throws() {
    compile "$@" -lpthread -lm -o program
    timeout 60 ./program >printed.txt
    status=0
    timeout 60 ./program leaves || status=$?
    [ $status -eq 77 ] || {
        echo "an exception that leaves a fiber ends with $status"
        return 1
    }
    cat printed.txt
}

# Loaded by a program in C.
plugged() {
    # shellcheck disable=SC2086 # words
    compile "$1 -std=c++17" -O2 -fPIC -shared -Dmain=throw_plugin "$program" \
        $shared -o plugin.so
    shift
    compile cc "$here/throw_host.c" "$@" -ldl -o host
    timeout 60 ./host ./plugin.so
}

program=$here/fiber_throw.cpp
archive=$build/libhyperion.a
shared="-L$build -lhyperion -Wl,-rpath,$build"
protected=""
[ "$(uname -m)" != x86_64 ] || protected="-O2 -fcf-protection=full"
for cxx in g++ clang++; do
    command -v $cxx >/dev/null || {
        echo "$cxx: not there"
        continue
    }
    # shellcheck disable=SC2086 # words, here and below
    for level in -O0 -O2 "-O2 -flto" "$protected"; do
        say "$cxx $level" throws "$cxx -std=c++17" $level "$program" $shared
        say "$cxx $level, archive" throws "$cxx -std=c++17" $level "$program" \
            "$archive"
    done
    say "$cxx -static" throws "$cxx -std=c++17" -static "$program" "$archive"
    # shellcheck disable=SC2086
    say "$cxx -static-libstdc++" throws "$cxx -std=c++17" -static-libstdc++ \
        -static-libgcc "$program" $shared
    if echo '#include <exception>
        int main() {}' | $cxx -stdlib=libc++ -x c++ - -o try 2>try.txt; then
        # shellcheck disable=SC2086
        say "$cxx -stdlib=libc++" throws "$cxx -std=c++17" -stdlib=libc++ \
            "$program" $shared
    else
        echo "$cxx: without libc++"
    fi
    say "$cxx plug-in" plugged $cxx
    # shellcheck disable=SC2086
    say "$cxx plug-in, linked host" plugged $cxx -DLINKED $shared \
        -Wl,--no-as-needed -lstdc++
done
said_all
