#!/bin/sh
# The inline switch in every kind of program: sh inline_all.sh INCLUDE ARCHIVE
# WORK [-DHY_NO_ASM=1]. Compilers and tools that are not there are left out and
# named.
set -eu
include=$1 archive=$2 work=$3
shift 3
define=$*
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"
. "$here/../say.sh"

# build COMPILER SOURCE FLAGS...: one program, run.
build() {
    compiler=$1 source=$2
    shift 2
    # shellcheck disable=SC2086
    $compiler -Wall -Wextra -Wpedantic -Werror $define -I "$include" "$@" \
        "$here/$source" -x none "$archive" -lpthread -lm -o program
    ./program
}

# frames PART: the functions of one backtrace, innermost first.
frames() {
    awk -v part="$1" '/^---/ { here = $2 == part }
        here && /^#/ { sub(/.* in /, ""); sub(/^#[0-9]* */, ""); print $1 }' \
        gdb.txt | grep -v hy_inline_context_switch | xargs
}
outer="outer_work begin first_inline_step"

# Backtraces of the context while it runs and while it is suspended.
debug() {
    # shellcheck disable=SC2086
    $1 $define -I "$include" "$2" -g "$here/inline_parked.c" "$archive" \
        -lpthread -lm -o parked
    cat >commands <<'EOF'
set width 0
break stop_here
run
echo --- running\n
backtrace
continue
echo --- suspended\n
set $rsp = parked.sp
set $rbp = parked.fp
set $rbx = parked.bp
set $rip = parked.ip
backtrace
kill
EOF
    gdb -nx -q -batch -x commands parked >gdb.txt 2>&1 || true
    [ "$(frames running)" = "stop_here inner_work $outer" ] &&
        [ "$(frames suspended)" = "inner_work $outer" ] &&
        echo "backtraces" && return
    cat gdb.txt
    return 1
}

arch=$(uname -m)
for pair in gcc:g++ clang:clang++; do
    cc=${pair%:*} cxx=${pair#*:}
    if ! command -v "$cc" >/dev/null; then
        echo "$cc: not there"
        continue
    fi
    for std in "$cc -std=gnu11 -x c" "$cxx -std=gnu++11 -x c++"; do
        command -v "${std%% *}" >/dev/null || continue
        for level in -O0 -O1 -O2 -O3 -Os; do
            say "$std $level" build "$std" inline_switch.c $level
        done
        for flag in -fPIC -fno-omit-frame-pointer -fno-pie -flto \
            -fno-asynchronous-unwind-tables -fstack-protector-all \
            -funroll-loops; do
            link=""
            [ $flag != -fno-pie ] || link=-no-pie
            say "$std $flag" build "$std" inline_switch.c -O2 $flag $link
        done
        say "$std -O0 frame pointer" build "$std" inline_switch.c -O0 \
            -fno-omit-frame-pointer
        if [ "$arch" = x86_64 ]; then
            for flag in -masm=intel -fcf-protection=full -mavx2 -mavx512f; do
                if [ $flag = -mavx512f ] &&
                    ! grep -q avx512f /proc/cpuinfo; then
                    continue
                fi
                say "$std $flag" build "$std" inline_switch.c -O3 $flag
            done
        elif [ "$arch" = aarch64 ]; then
            say "$std branch protection" build "$std" inline_switch.c -O2 \
                -mbranch-protection=standard
        fi
    done
    if command -v "$cxx" >/dev/null; then
        for level in -O0 -O2 "-O2 -fno-omit-frame-pointer" "-O2 -flto"; do
            # shellcheck disable=SC2086
            say "$cxx exceptions $level" build "$cxx -std=c++11 -x c++" \
                inline_throw.cpp $level
        done
    fi
    if [ "$arch" = x86_64 ] && [ -z "$define" ] &&
        command -v gdb >/dev/null; then
        say "$cc gdb -O0" debug "$cc" -O0
        say "$cc gdb -O2" debug "$cc" -O2
    else
        echo "$cc: without gdb"
    fi
done
said_all
