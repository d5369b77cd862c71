#!/bin/sh
# run.sh STEP: libhyperion as its users meet it. ctest calls one step at a time
# (CMakeLists.txt beside this file) with these in the environment:
#   SOURCE  the source tree          BUILD  its build tree
#   CC CXX  compilers of the users   WORK   a folder of our own
#
# prefix comes first: it installs, and moves the installation somewhere else,
# so that every later step also shows that a prefix can be moved. Paths may hold
# spaces: what pkg-config prints is read by eval, as a makefile's shell does.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=$WORK/moved/prefix
parts=$(for list in "$BUILD"/headers/*.txt; do
    basename "$list" .txt | sed 's/^hyperion-//'
done)
lib=$prefix/$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' "$BUILD/CMakeCache.txt")
documents=$prefix/share/doc/hyperion
export PKG_CONFIG_PATH="$lib/pkgconfig"

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
            sed -n 's|^inline/.*|#include <hyperion/&>|p' \
                "$BUILD/headers/hyperion.txt"
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
    [ -f "$documents/LICENSE" ] || fail "no LICENSE installed"
}

# Each page's links hold where it is installed, each example compiles there, and
# each manual page knows the options of its program.
step_documents() {
    [ -f "$documents/README.md" ] || fail "no README.md installed"
    find "$documents" -name '*.md' | while read -r page; do
        grep -o '](\([^)#]*\)' "$page" | sed 's/^](//' |
            grep -v '^[a-z]*:' | while read -r link; do
            [ -e "$(dirname "$page")/$link" ] ||
                fail "$page links to $link, which is not installed"
        done || exit 1
    done
    for example in "$documents"/examples/*.c; do
        eval "set -- $(pkg-config --cflags hyperion)"
        $CC -std=gnu11 -fsyntax-only -Werror "$@" "$example"
    done
    for program in "$prefix"/bin/hyperion-*; do
        page=$prefix/share/man/man1/${program##*/}.1
        [ -f "$page" ] || fail "$program has no manual page"
        {
            "$program" --help
            "$program" query --help || true # of those that have commands
            "$program" index --help || true
        } 2>/dev/null | grep -oE -- '[ ,]--?[a-zA-Z]+' | tr -d ' ,' |
            sort -u | while read -r option; do
                sed 's/\\//g' "$page" | grep -q -- "$option" ||
                    fail "$page does not tell of $option"
            done
        if command -v mandoc >/dev/null; then
            mandoc -T lint -W error "$page"
        fi
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
    # shellcheck disable=SC2086 # an empty word or one
    eval "set -- \"\$@\" $(pkg-config --cflags "$(library_of "$part")") \
        \"\$WORK/sources/\$part.c\" -o \"\$out\" \
        $(pkg-config $kind --libs "$(library_of "$part")")"
    "$@" -Wall -Wextra -Werror
    LD_LIBRARY_PATH="$lib" "$out"
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

configures() { # BUILD-FOLDER OPTIONS...: the project beside this file
    folder=$WORK/$1
    shift
    rm -rf "$folder"
    cmake -S "$here/package" -B "$folder" -G Ninja \
        -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
        -DCMAKE_PREFIX_PATH="$prefix" -DSOURCES="$WORK/sources" "$@" \
        >"$folder.txt" 2>&1
}

configure() { # the same, when it must succeed
    configures "$@" || {
        cat "$WORK/$1.txt"
        fail "$1 does not configure"
    }
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
    configure shared -DHOW=installed -DPARTS="$all"
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
    if configures "$refused" "$@"; then
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
    expect_refusal "mixed_two_calls" $mixes -DHOW=installed -DPARTS=slab \
        -DMIX=direct
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
        --exclude=./.git --mode=u+w .
}

# Without a build type, as parents do: it stays theirs to say, and ours is
# optimised all the same. What is linked is built, as BUILD_SHARED_LIBS says;
# and the parent's installation holds nothing of ours.
step_subdirectory() {
    configure subdirectory -DHOW=subdirectory -DWHERE="$SOURCE" \
        -DPARTS=slab
    build_and_run subdirectory slab
    ninja -C "$WORK/subdirectory" -t commands hyperion-slab_static |
        grep "slab\\.c[\"']*\$" | grep -q -- ' -O2 ' || fail "it is not optimised"
    if [ -n "$(find "$WORK/subdirectory" -name '*hyperion*.so')" ]; then
        fail "built, and the parent did not link it"
    fi
    cmake --install "$WORK/subdirectory" --prefix "$WORK/parent" >/dev/null
    if [ -n "$(find "$WORK/parent" -iname '*hyperion*')" ]; then
        fail "installed, and the parent did not ask for it"
    fi
    configure subdirectory -DHOW=subdirectory -DWHERE="$SOURCE" -DPARTS=slab \
        -DHY_INSTALL=ON
    ninja -C "$WORK/subdirectory" -t commands all | grep -q libhyperion.so ||
        fail "not built to be installed, although the parent asked for it"
}

step_fetch() {
    archive_source
    configure fetch -DHOW=fetch -DWHERE="file://$WORK/source.tar.gz" \
        -DPARTS=hyperion -DSHARED=ON
    build_and_run fetch hyperion
    objdump -p "$WORK/fetch/c_hyperion" | grep -q 'NEEDED.*libhyperion' ||
        fail "BUILD_SHARED_LIBS=ON did not give the shared library"
}

# Other folders for libraries, staged by DESTDIR, used somewhere else, removed.
# One small component shows it.
step_layout() {
    tree=$WORK/layout
    rm -rf "$tree" "$WORK/stage"
    unset PKG_CONFIG_PATH
    for folder in lib64 "lib/$($CC -dumpmachine)"; do
        cmake -S "$SOURCE" -B "$tree" -G Ninja -DCMAKE_C_COMPILER="$CC" \
            -DHY_EXAMPLES=OFF -DCMAKE_INSTALL_LIBDIR="$folder" \
            -DCMAKE_INSTALL_PREFIX=/opt/hy >"$WORK/layout.txt"
        ninja -C "$tree" hyperion-slab_shared hyperion-slab_static \
            >>"$WORK/layout.txt"
        for component in hyperion-slab hyperion-slab-dev documentation; do
            DESTDIR=$WORK/stage cmake --install "$tree" \
                --component $component >>"$WORK/layout.txt"
        done
        staged=$WORK/stage/opt/hy
        [ -f "$staged/$folder/pkgconfig/hyperion-slab.pc" ] ||
            fail "no hyperion-slab.pc in $folder"
        PKG_CONFIG_PATH=$staged/$folder/pkgconfig
        export PKG_CONFIG_PATH
        eval "set -- $(pkg-config --cflags --libs hyperion-slab)"
        $CC "$WORK/sources/slab.c" -o "$WORK/layout_slab" "$@"
        LD_LIBRARY_PATH=$staged/$folder "$WORK/layout_slab"
        # By its folder: on Debian CMake does not look in lib64.
        configure layout_user -DHOW=installed -DPARTS=slab \
            -DHyperion_DIR="$staged/$folder/cmake/Hyperion"
        build_and_run layout_user slab
        DESTDIR=$WORK/stage cmake --build "$tree" --target uninstall \
            >>"$WORK/layout.txt"
        if find "$WORK/stage" ! -type d | grep . ||
            find "$WORK/stage" -iname 'hyperion' | grep .; then
            fail "still there after uninstall"
        fi
    done
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
            -DCMAKE_PREFIX_PATH="$alone"
        build_and_run "alone_$part" "$part"
    done
    expect_refusal "missing" "component 'slab' is not" -DHOW=installed \
        -DPARTS=slab -DCMAKE_PREFIX_PATH="$WORK/alone/jit"
}

# Three packages, whose dependencies and papers are as Debian wants them (but for
# the maintainer, who is whoever packages), and enough to build against.
step_deb() {
    rm -rf "$WORK/deb"
    mkdir -p "$WORK/deb"
    (cd "$WORK/deb" && cpack --config "$BUILD/CPackConfig.cmake" -G DEB) \
        >"$WORK/deb.txt"
    root=$WORK/deb/root
    for name in libhyperion0.1 libhyperion-dev hyperion-tools; do
        set -- "$WORK/deb/${name}_"*.deb
        [ -f "$1" ] || fail "no package $name"
        dpkg -f "$1" Depends | grep -q 'libc6' || fail "$name needs no libc6"
        [ $name = libhyperion0.1 ] ||
            dpkg -f "$1" Depends | grep -q 'libhyperion0.1 (= ' ||
            fail "$name does not need libhyperion0.1"
        dpkg -x "$1" "$root"
        [ -f "$root/usr/share/doc/$name/copyright" ] ||
            fail "$name has no copyright file"
    done
    if command -v lintian >/dev/null; then
        lintian --allow-root --fail-on error --tag-display-limit 0 \
            --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog \
            "$WORK"/deb/*.deb
    fi
    configure deb_user -DHOW=installed -DPARTS=hyperion \
        -DCMAKE_PREFIX_PATH="$root/usr"
    build_and_run deb_user hyperion
    PKG_CONFIG_PATH="$(dirname "$(find "$root" -name hyperion.pc)")" \
        pkg-config --libs hyperion
    "$root/usr/bin/hyperion-search" --help >/dev/null
    [ -f "$root/usr/share/man/man1/hyperion-search.1.gz" ] ||
        fail "no manual page"
    # gdb finds its commands by the library's path.
    [ -f "$root/usr/share/hyperion/hyperion-gdb.py" ] || fail "no hyperion-gdb.py"
    library=$(find "$root/usr/lib" -name 'libhyperion.so.*.*.*')
    [ -f "$root/usr/share/gdb/auto-load${library#"$root"}-gdb.py" ] ||
        fail "gdb would not find the script of $library"
}

# The programs in examples/consumer are what the README tells people to copy.
step_examples() {
    sed -n '/^```c$/,/^```$/{/^```/d;p}' "$SOURCE/README.md" |
        cmp - "$SOURCE/examples/consumer/ten_lines.c" ||
        fail "the README's program is not examples/consumer/ten_lines.c"
    copy=$WORK/example_make
    rm -rf "$copy"
    cp -r "$documents/examples/consumer" "$copy"
    cmake -S "$copy" -B "$WORK/example" -G Ninja -DCMAKE_C_COMPILER="$CC" \
        -DCMAKE_PREFIX_PATH="$prefix" >"$WORK/example.txt"
    ninja -C "$WORK/example" >>"$WORK/example.txt"
    "$WORK/example/ten_lines"
    case $prefix in
    *' '*) return ;; # which a makefile this short does not know
    esac
    make -C "$copy" CC="$CC" >>"$WORK/example.txt"
    LD_LIBRARY_PATH="$lib" "$copy/ten_lines"
}

mkdir -p "$WORK"
"step_$1"
