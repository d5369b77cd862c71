#!/bin/sh
# bare_machine.sh SOURCE WORK - cmake/bootstrap.sh where things are missing: on a
# machine that this script makes up of a few links and stand-ins, so that it
# needs neither root nor a network, and installs nothing.
set -eu

bootstrap=$1/cmake/bootstrap.sh
work="$2/with a space"
bin=$work/bin
checks=0

fail() {
    echo "FAILED: $*: $(cat "$work/out.txt")" >&2
    exit 1
}

# A machine that has these commands; each of ours writes down how it was called.
machine() { # ROOT|USER COMMAND...
    rm -rf "$work"
    mkdir -p "$bin" "$work/elsewhere"
    for command in sh sed dirname mkdir cat env; do
        ln -s "$(command -v $command)" "$bin/$command"
    done
    user=0
    [ "$1" = ROOT ] || user=1000
    stand_in id "echo $user"
    shift
    for command in "$@"; do
        stand_in "$command" "exit 0"
    done
    : >"$work/called.txt"
}

stand_in() { # COMMAND BODY
    printf '#!/bin/sh\necho "%s $*" >>"%s/called.txt"\n%s\n' \
        "$1" "$work" "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}

# From another folder.
run() { # STATUS PATTERN ARGUMENTS...
    status=$1
    pattern=$2
    shift 2
    got=0
    (cd "$work/elsewhere" && exec env -i PATH="$bin" \
        HY_BUILD_DIR="${folder:-$work/build}" \
        "$bin/sh" "$bootstrap" "$@") >"$work/out.txt" 2>&1 || got=$?
    [ "$got" -eq "$status" ] || fail "$* ended with $got, not $status"
    grep -q -- "$pattern" "$work/out.txt" || fail "'$pattern' was not said"
    checks=$((checks + 1))
}

called() { # PATTERN
    grep -q -- "$1" "$work/called.txt" || fail "'$1' was not called"
    checks=$((checks + 1))
}

not_called() {
    ! grep -q -- "$1" "$work/called.txt" || fail "'$1' was called"
    checks=$((checks + 1))
}

machine USER
run 0 "bootstrap.sh demo" --help
run 2 "bootstrap.sh demo"
run 2 "bootstrap.sh demo" demo twice
run 1 "no apt-get here" test
run 1 "libcriterion-dev: the test framework" test

machine USER apt-get
run 1 "As root, run: apt-get install gcc libc6-dev cmake" test
not_called apt-get

machine USER apt-get sudo
run 1 "still missing after the installation: gcc" demo
called "sudo apt-get update"
called "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y .* gcc libc6-dev"

# Without a network.
machine ROOT
stand_in apt-get 'echo "Could not resolve host"; exit 100'
run 1 "apt-get update failed; going on" demo
run 1 "could not install gcc .*network" demo
not_called sudo

# What is there already is not installed.
machine ROOT apt-get cc c++ ninja pkg-config make objdump file gdb \
    dpkg-shlibdeps
stand_in cmake 'echo "cmake version 3.18.4"'
run 1 "nothing to install" test
run 1 "3.25 or newer is needed; here is 3.18" test
not_called apt-get

# No place to build in: a file is in the way.
: >"$work/file"
folder=$work/file/build
run 1 "cannot write to .*HY_BUILD_DIR" test

echo "$checks checks passed"
