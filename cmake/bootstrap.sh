#!/bin/sh
# bootstrap.sh - from a bare Debian 12 to running programs, in one command.
#
#   sh cmake/bootstrap.sh demo   build, index WordNet's glosses, ask three things
#   sh cmake/bootstrap.sh test   build, run every test, end with the counts
#
# Says what it will install before it does so, installs only what is missing
# (with sudo when it is not run by root), and needs no network when nothing is.
# Everything else it writes goes to build/demo or build/test; HY_BUILD_DIR in
# the environment names another folder, HY_JOBS the number of parallel jobs.
set -eu

unset CDPATH # it makes cd print
top=$(cd "$(dirname "$0")/.." && pwd)

say() {
    printf '%s\n' "bootstrap: $*"
}

die() {
    printf '%s\n' "bootstrap: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
    exit "$1"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Each need is one line: package, what it is for, and how to see that it is
# there already. The same list serves any system for checking, Debian alone for
# installing.
needs_build() {
    need gcc "the C compiler" has cc
    need libc6-dev "the C library's headers" header stdio.h
    need cmake "configures the build" has cmake
    need ninja-build "runs the build" has ninja
    need pkg-config "finds libraries" has pkg-config
    need zlib1g-dev "reads .gz files" header zlib.h
    need libncurses-dev "keys and scrolling in hyperion-top" header ncurses.h
}

needs_demo() {
    needs_build
    need wordnet-base "117,659 dictionary glosses to search" \
        test -r /usr/share/wordnet/data.noun
}

needs_test() {
    needs_build
    need g++ "C++ users of the headers" has c++
    need make "users without CMake" has make
    need binutils "objdump, nm" has objdump
    need libcriterion-dev "the test framework" header criterion/criterion.h
    need systemtap-sdt-dev "probes for tracers, which the tests look at" \
        header sys/sdt.h
    need file "cpack asks it what a library is" has file
    need gdb "backtraces of fibers that wait" has gdb
    need dpkg-dev "what Debian packages depend on" has dpkg-shlibdeps
}

header() {
    has cc && printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1
}

# need PACKAGE WHY CHECK...: remembers the package when the check fails.
need() {
    need_package=$1
    need_why=$2
    shift 2
    if ! "$@"; then
        missing="$missing $need_package"
        reasons="$reasons
    $need_package: $need_why"
    fi
}

install_missing() {
    missing=""
    reasons=""
    "needs_$1"
    if [ -z "$missing" ]; then
        say "nothing to install"
        return
    fi
    say "this is missing and will be installed with apt-get:$reasons"
    has apt-get || die "no apt-get here: this installs on Debian and its" \
        "derivatives only. Install the above by your system's means, then" \
        "run this again"
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "not root, and there is no sudo. As root, run:" \
            "apt-get install$missing"
        as_root="sudo"
    fi
    # shellcheck disable=SC2086 # both are lists of words
    $as_root apt-get update -q || say "apt-get update failed; going on with" \
        "the package lists that are here"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $missing </dev/null ||
        die "apt-get could not install$missing (see above; it needs" \
            "the network, or a mirror in /etc/apt/sources.list)"
    missing=""
    "needs_$1"
    [ -z "$missing" ] || die "still missing after the installation:$missing"
}

check_cmake() {
    version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    # shellcheck disable=SC2086 # two words
    set -- $version
    [ "$1" -gt 3 ] || [ "$2" -ge 25 ] ||
        die "cmake 3.25 or newer is needed; here is $1.$2"
}

jobs() {
    if [ -n "${HY_JOBS:-}" ]; then
        echo "$HY_JOBS"
    elif has nproc; then
        nproc
    else
        echo 2
    fi
}

# The build folder, made and absolute.
build_folder() {
    build=${HY_BUILD_DIR:-$top/build/$1}
    mkdir -p "$build" 2>/dev/null && [ -w "$build" ] ||
        die "cannot write to $build. HY_BUILD_DIR in the environment" \
            "names another folder"
    build=$(cd "$build" && pwd)
}

build() {
    say "building in $build"
    cmake -S "$top" -B "$build" -G Ninja "$@" ||
        die "configuring failed (see above)"
    ninja -C "$build" -j "$(jobs)" || die "building failed (see above)"
}

demo() {
    build_folder demo
    install_missing demo
    check_cmake
    build -DHY_TESTS=OFF -DHY_EXAMPLES=ON
    search=$build/examples/hyperion-search
    [ -x "$search" ] || die "the build did not give $search"
    rm -f "$build/wordnet.store"
    printf '\n$ hyperion-search index --store FILE\n'
    "$search" index --store "$build/wordnet.store"
    for words in "instrument for measuring earthquakes" \
        "fear of being in small closed rooms" \
        "a person who makes or repairs watches and clocks"; do
        printf '\n$ hyperion-search query --store FILE "%s"\n' "$words"
        "$search" query --store "$build/wordnet.store" "$words"
    done
    printf '\n'
    say "ask more with: \"$search\" query --store" \
        "\"$build/wordnet.store\" \"words\""
}

# Counts what ran, from ctest's output ($1: each program's verdict) and its log
# ($2: what each program printed). A Criterion program counts each of its tests;
# any other test counts once, and so does one that failed without a count.
count_results() {
    awk '
        FNR == NR {
            if ($2 == "Test" && $3 ~ /^#[0-9]+:$/)
                verdict[$4] = / Passed / ? "passed" : \
                    /\*\*\*Skipped/ ? "skipped" : "failed"
            next
        }
        $2 == "Test:" && $1 ~ /^[0-9]+\/[0-9]+$/ { name = $3 }
        /Tested: [0-9]+ .*Passing: [0-9]+ .*Failing: [0-9]+ .*Crashing: / {
            gsub(/\033\[[0-9;]*m/, "")
            sub(/.*Tested: /, "")
            gsub(/[^0-9]+/, " ")
            good[name] += $2
            bad[name] += $3 + $4
        }
        END {
            for (name in verdict) {
                counted = good[name] + bad[name]
                if (verdict[name] == "skipped")
                    skipped++
                else if (verdict[name] == "passed")
                    passed += counted ? good[name] : 1
                else {
                    passed += good[name]
                    failed += bad[name] ? bad[name] : 1
                }
            }
            printf "%d passed, %d failed", passed, failed
            printf skipped ? ", %d skipped\n" : "\n", skipped
        }
    ' "$1" "$2"
}

run_tests() {
    build_folder test
    install_missing test
    check_cmake
    build -DHY_TESTS=ON -DHY_EXAMPLES=ON
    say "running the tests"
    status=0
    ctest --test-dir "$build" --output-on-failure --no-tests=error \
        -j "$(jobs)" -O "$build/ctest.txt" </dev/null || status=$?
    log=$build/Testing/Temporary/LastTest.log
    if [ "$status" -ne 0 ]; then
        say "failures above; the whole log is $log"
    fi
    count_results "$build/ctest.txt" "$log"
    return "$status"
}

[ $# -le 1 ] || usage 2 >&2
case ${1:-} in
demo) demo ;;
test) run_tests ;;
-h | --help | help) usage 0 ;;
*) usage 2 >&2 ;;
esac
