#!/bin/sh
# run.sh STEP: libhyperion as its users meet it. ctest calls one step at a time
# (CMakeLists.txt beside this file) with these in the environment:
#   SOURCE  the source tree          BUILD  its build tree
#   CC CXX  compilers of the users   WORK   a folder of our own
#
# prefix comes first: it installs, and moves the installation somewhere else,
# so that every later step also shows that a prefix can be moved.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=$WORK/moved/prefix
parts=$(for list in "$BUILD"/headers/*.txt; do
    basename "$list" .txt | sed 's/^hyperion-//'
done)
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

library_of() {
    [ "$1" = hyperion ] && echo hyperion || echo "hyperion-$1"
}

# A program for one part that takes the address of every public name, so that
# linking it shows that the library has them all.
write_source() {
    library=$(library_of "$1")
    {
        echo "/* Every public name of $library. */"
        if [ "$1" = hyperion ]; then
            echo "#include <hyperion/hyperion.h>"
        else
            sed 's|.*|#include <hyperion/&>|' "$BUILD/headers/$library.txt"
        fi
        echo "#include <stdio.h>"
        echo "#include <string.h>"
        echo "typedef void (*any_function)(void);"
        echo "extern any_function const names[];"
        echo "any_function const names[] = {"
        sh "$here/../lint/public_names.sh" "$SOURCE" "$CC" \
            <"$BUILD/headers/$library.txt" | sed -n 's/()$//p' |
            sed 's/.*/    (any_function)(&),/'
        cat <<'EOF'
};

int main(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i] == NULL)
            return 1;
    if (strcmp(hy_version(), HY_VERSION_STRING) != 0)
        return 2;
    return printf("%zu public functions\n",
                  sizeof(names) / sizeof(names[0])) < 0;
}
EOF
    } >"$WORK/sources/$1.c"
}

step_prefix() {
    rm -rf "$WORK/first" "$WORK/moved"
    mkdir -p "$WORK/moved" "$WORK/sources"
    cmake --install "$BUILD" --prefix "$WORK/first" >"$WORK/install.txt"
    mv "$WORK/first" "$prefix"
    if grep -rIl "$WORK/first" "$prefix"; then
        fail "these installed files name the prefix they were installed to"
    fi
    for part in $parts; do
        write_source "$part"
    done
    for file in LICENSE README.md; do
        [ -f "$prefix/share/doc/hyperion/$file" ] || fail "no $file installed"
    done
}

# Each header alone, in each language, with every warning an error.
step_headers() {
    for compiler in "$CC:c:c11" "$CXX:c++:c++11" "$CXX:c++:c++20" \
        clang:c:c11 clang++:c++:c++11 clang++:c++:c++20; do
        program=${compiler%%:*}
        standard=${compiler##*:}
        language=${compiler#*:}
        language=${language%:*}
        command -v "$program" >/dev/null || continue
        (cd "$prefix/include" && find hyperion -name '*.h') |
            while read -r header; do
                echo "#include <$header>" |
                    $program -x "$language" -std="$standard" -Wall -Wextra \
                        -Wpedantic -Werror -I"$prefix/include" -fsyntax-only - ||
                    fail "$header is not clean in $program -std=$standard"
            done
        echo "$program -std=$standard: clean"
    done
}

run_pkgconfig() { # PART NAME COMPILER FLAGS...: builds, runs, shows its kind
    part=$1
    out=$WORK/pc_$2
    shift 2
    # shellcheck disable=SC2046 # flags are lists of words
    "$@" -Wall -Wextra -Werror "$WORK/sources/$part.c" -o "$out" \
        $(pkg-config --cflags $(library_of "$part")) \
        $(pkg-config $kind --libs $(library_of "$part"))
    LD_LIBRARY_PATH="$prefix/lib" "$out"
    needed=$(objdump -p "$out" | grep -c 'NEEDED.*libhyperion' || true)
    [ "$needed" = "$expected" ] ||
        fail "$out needs $needed shared libraries of ours, not $expected"
}

step_pkgconfig() {
    for part in $parts; do
        kind=""
        expected=1
        run_pkgconfig "$part" "$part" "$CC" -std=c11
        run_pkgconfig "$part" "cxx_$part" "$CXX" -x c++ -std=c++11
        run_pkgconfig "$part" "lto_$part" "$CC" -O2 -flto
        kind=--static
        expected=0
        run_pkgconfig "$part" "static_$part" "$CC" -static
        run_pkgconfig "$part" "pie_$part" "$CC" -static-pie -fPIE -flto -O2
        pkg-config --exists "$(library_of "$part") = $(pkg-config \
            --modversion hyperion)" || fail "$part.pc has another version"
    done
}

configure() { # BUILD-FOLDER OPTIONS...: the project beside this file
    folder=$WORK/$1
    shift
    rm -rf "$folder"
    cmake -S "$here/package" -B "$folder" -G Ninja \
        -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
        -DCMAKE_PREFIX_PATH="$prefix" -DSOURCES="$WORK/sources" "$@" \
        >"$folder.txt" 2>&1
}

semicolons() {
    echo "$@" | tr ' ' ';'
}

build_and_run() { # BUILD-FOLDER PARTS
    ninja -C "$WORK/$1" >"$WORK/$1.txt" 2>&1 || {
        cat "$WORK/$1.txt"
        fail "$1 does not build"
    }
    for built in $2; do
        "$WORK/$1/c_$built"
        "$WORK/$1/cxx_$built"
    done
}

step_package() {
    # shellcheck disable=SC2086 # a list
    all=$(semicolons $parts)
    configure shared -DHOW=installed -DPARTS="$all" || cat "$WORK/shared.txt"
    build_and_run shared "$parts"
    configure static -DHOW=installed -DPARTS="$all" -DHyperion_USE_STATIC=ON
    build_and_run static "$parts"
    for part in $parts; do
        objdump -p "$WORK/shared/c_$part" | grep -q 'NEEDED.*libhyperion' ||
            fail "$part is not shared by default"
        objdump -p "$WORK/static/c_$part" | grep 'NEEDED.*libhyperion' &&
            fail "$part is shared in spite of Hyperion_USE_STATIC"
    done
    return 0
}

expect_refusal() { # BUILD-FOLDER PATTERN OPTIONS...
    refused=$1
    pattern=$2
    shift 2
    if configure "$refused" "$@"; then
        fail "$refused should have been refused"
    fi
    tr '\n' ' ' <"$WORK/$refused.txt" | grep -q "$pattern" || {
        cat "$WORK/$refused.txt"
        fail "$refused was refused for another reason than: $pattern"
    }
    echo "$refused: refused"
}

step_refusals() {
    both="hyperion;slab"
    mixes=MIXES_UMBRELLA_AND_COMPONENT
    for mix in direct library; do
        expect_refusal "mixed_$mix" $mixes -DHOW=installed -DPARTS="$both" \
            -DMIX=$mix
        expect_refusal "mixed_static_$mix" $mixes -DHOW=installed \
            -DPARTS="$both" -DMIX=$mix -DHyperion_USE_STATIC=ON
        expect_refusal "mixed_tree_$mix" $mixes -DHOW=subdirectory \
            -DWHERE="$SOURCE" -DPARTS="$both" -DMIX=$mix
    done
    # What CMake cannot see, behind an archive's private link, works.
    configure mixed_archive -DHOW=installed -DPARTS="$both" -DMIX=archive
    build_and_run mixed_archive "hyperion slab"
    "$WORK/mixed_archive/mixed"
    archive_source
    expect_refusal mixed_fetch $mixes -DHOW=fetch \
        -DWHERE="file://$WORK/source.tar.gz" -DPARTS="$both" -DMIX=direct
    expect_refusal unknown "has no component 'nonsense'.*hyperion, *pager" \
        -DHOW=installed -DPARTS="hyperion;nonsense"
}

archive_source() {
    tar -C "$SOURCE" -czf "$WORK/source.tar.gz" --exclude='./build*' \
        --exclude=./.git .
}

# Without a build type, as parents do: then it is theirs to say.
step_subdirectory() {
    configure subdirectory -DHOW=subdirectory -DWHERE="$SOURCE" \
        -DPARTS=hyperion || {
        cat "$WORK/subdirectory.txt"
        fail "add_subdirectory does not configure"
    }
    build_and_run subdirectory hyperion
}

step_fetch() {
    archive_source
    configure fetch -DHOW=fetch -DWHERE="file://$WORK/source.tar.gz" \
        -DPARTS=slab -DHyperion_USE_STATIC=ON || {
        cat "$WORK/fetch.txt"
        fail "FetchContent does not configure"
    }
    ninja -C "$WORK/fetch" c_slab cxx_slab plugin_slab >"$WORK/fetch.txt" || {
        cat "$WORK/fetch.txt"
        fail "FetchContent does not build"
    }
    "$WORK/fetch/c_slab"
}

# One component's own part of an installation is enough to build against it,
# and holds no header that would not compile.
step_component() {
    for part in $parts; do
        library=$(library_of "$part")
        alone=$WORK/alone/$part
        rm -rf "$alone"
        for component in "$library" "$library-dev"; do
            cmake --install "$BUILD" --prefix "$alone" \
                --component "$component" >/dev/null
        done
        (cd "$alone/include" && find hyperion -name '*.h') |
            while read -r header; do
                echo "#include <$header>" | $CC -x c -std=c11 -Wall -Werror \
                    -I"$alone/include" -fsyntax-only - ||
                    fail "$library installs $header, which does not compile"
            done
        configure "alone_$part" -DHOW=installed -DPARTS="$part" \
            -DCMAKE_PREFIX_PATH="$alone" || cat "$WORK/alone_$part.txt"
        build_and_run "alone_$part" "$part"
    done
    expect_refusal "missing" "component 'slab' is not" -DHOW=installed \
        -DPARTS=slab -DCMAKE_PREFIX_PATH="$WORK/alone/jit"
}

step_deb() {
    rm -rf "$WORK/deb"
    mkdir -p "$WORK/deb"
    (cd "$WORK/deb" && cpack --config "$BUILD/CPackConfig.cmake" -G DEB) \
        >"$WORK/deb.txt"
    for package in "$WORK"/deb/*.deb; do
        dpkg -x "$package" "$WORK/deb/root"
    done
    configure deb_user -DHOW=installed -DPARTS=hyperion \
        -DCMAKE_PREFIX_PATH="$WORK/deb/root/usr" || cat "$WORK/deb_user.txt"
    build_and_run deb_user hyperion
    PKG_CONFIG_PATH="$WORK/deb/root/usr/lib/pkgconfig" pkg-config --libs hyperion
}

# The programs in examples/consumer are what the README tells people to copy.
step_examples() {
    sed -n '/^```c$/,/^```$/p' "$SOURCE/README.md" | sed '/^```/d' |
        cmp - "$SOURCE/examples/consumer/ten_lines.c" ||
        fail "the README's program is not examples/consumer/ten_lines.c"
    cmake -S "$SOURCE/examples/consumer" -B "$WORK/example" -G Ninja \
        -DCMAKE_C_COMPILER="$CC" -DCMAKE_PREFIX_PATH="$prefix" \
        >"$WORK/example.txt"
    ninja -C "$WORK/example" >>"$WORK/example.txt"
    "$WORK/example/ten_lines"
    cp -r "$SOURCE/examples/consumer" "$WORK/example_make"
    make -C "$WORK/example_make" CC="$CC" >>"$WORK/example.txt"
    LD_LIBRARY_PATH="$prefix/lib" "$WORK/example_make/ten_lines"
    rm -r "$WORK/example_make"
    sed -n '/^```c$/,/^```$/{/^```/d;p}' "$SOURCE/README.md" >"$WORK/readme.c"
    # shellcheck disable=SC2046 # flags are lists of words
    $CC "$WORK/readme.c" -o "$WORK/readme" $(pkg-config --cflags --libs hyperion)
    LD_LIBRARY_PATH="$prefix/lib" "$WORK/readme"
}

mkdir -p "$WORK"
"step_$1"
