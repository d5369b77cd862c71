#!/bin/sh
# style.sh SOURCE: what docs/STYLE.md and the layout of the tree ask for and a
# machine can see. Prints every breach; fails when there is one.
set -eu
cd "$1"
here=tests/lint
status=0

list() { # every file that belongs to the tree
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files -co --exclude-standard | while read -r file; do
            [ ! -e "$file" ] || echo "$file"
        done
    else
        find . -type f -not -path './build*' -not -path './.git/*' |
            sed 's|^\./||'
    fi | LC_ALL=C sort
}

breach() { # TEXT, with the offenders on standard input
    offenders=$(cat)
    [ -n "$offenders" ] || return 0
    echo "$1:"
    echo "$offenders" | sed 's/^/    /'
    status=1
}

sources() { # C files below the folders given
    for folder in "$@"; do
        grep -E "^$folder/.*\.[ch]$" "$files" || true
    done
}

files=$(mktemp)
found=$(mktemp)
trap 'rm -f "$files" "$found"' EXIT
list >"$files"

# Layout.
cut -d/ -f1 "$files" | sort -u |
    grep -vE '^(CMakeLists\.txt|README\.md|LICENSE|include|lib|arch|examples|tests|docs|cmake|\..*)$' \
        >"$found" || true
breach "not among the agreed entries of the top level" <"$found"
grep -vE '^(arch|include/hyperion/inline)/' "$files" | sed 's|.*/||' |
    grep -vE '^(CMakeLists\.txt|README\.md|Makefile)$' | sort | uniq -d >"$found"
breach "basenames that are used twice outside arch/ and inline/" <"$found"
for isa in x86_64 aarch64; do
    sed -n "s|^arch/$isa/||p" "$files" | grep -v '^vec_' | sort >"$found.$isa"
done
diff "$found.x86_64" "$found.aarch64" >"$found" || true
rm -f "$found.x86_64" "$found.aarch64"
breach "file names that differ between arch/x86_64 and arch/aarch64" <"$found"

# Every header is in the component table and in hyperion.h; every component has
# its design document.
grep -E '^include/hyperion/.*\.h$' "$files" | sed 's|^include/hyperion/||' |
    while read -r header; do
        [ "$header" = hyperion.h ] && continue
        grep -qE "[ (]$header( |\)|\$)" CMakeLists.txt ||
            echo "$header is in no row of CMakeLists.txt"
        case $header in
        inline/*) ;;
        *)
            grep -q "#include <hyperion/$header>" include/hyperion/hyperion.h ||
                echo "$header is not included by hyperion.h"
            ;;
        esac
    done >"$found"
breach "headers" <"$found"
sed -n 's|^lib/\([a-z]*\)/.*|\1|p' "$files" | sort -u |
    while read -r component; do
        [ -f "docs/design/$component.md" ] || echo "docs/design/$component.md"
        ls tests/unit/test_"$component"*.c >/dev/null 2>&1 ||
            echo "tests/unit/test_$component*.c"
    done >"$found"
breach "missing" <"$found"

# Every system fulfils the whole contract of os.h, once.
grep -oE '^[a-z][a-z_0-9 ]* \**hyi_os_[a-z_]+\(' lib/base/os.h |
    sed 's/.*\(hyi_os_[a-z_]*\)(/\1/' | sort -u |
    while read -r name; do
        for system in linux darwin; do
            written=$(cat lib/base/os_posix.c "lib/base/os_$system.c" |
                grep -c "^[a-z].*[ *]$name(" || true)
            [ "$written" -eq 1 ] ||
                echo "$name stands $written times in os_posix.c, os_$system.c"
        done
    done >"$found"
breach "missing" <"$found"

# Versions agree.
version=$(sed -n 's/^project(hyperion VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
{
    grep -q "HY_VERSION_STRING \"$version\"" include/hyperion/base.h || echo base.h
    grep -q "^HYPERION_${version%.*} {" cmake/hyperion.map || echo hyperion.map
    grep -qs "^## ${version%.*}" docs/CHANGELOG.md || echo CHANGELOG.md
} >"$found"
breach "version $version is not what these say" <"$found"

# Text.
grep -E '\.(c|h|S|py|sh|cmake|in|awk|md|txt|yml|map)$' "$files" |
    grep -v '^docs/.*\.in$' >"$found.text"
xargs grep -n "$(printf '\t')" <"$found.text" | grep -v '^docs/.*\.md' >"$found" || true
breach "tabs" <"$found"
xargs grep -nE ' +$' <"$found.text" | cut -d: -f1,2 >"$found" || true
breach "white space at the end of a line" <"$found"
while read -r file; do
    [ -z "$(tail -c 1 "$file")" ] || echo "$file"
done <"$found.text" >"$found"
breach "no newline at the end" <"$found"
rm -f "$found.text"
grep -E '^(lib|arch|include|examples|tests|cmake|docs)/' "$files" |
    xargs grep -nE '\<(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\>' >"$found" || true
breach "left-overs" <"$found"

# Each source opens with what it is; the ten lines are the README's, as they are.
grep -E '\.[chS]$' "$files" | grep -v '/ten_lines\.c$' | while read -r file; do
    name=$(basename "$file")
    [ "$(head -c 2 "$file")" = "/*" ] &&
        head -n 2 "$file" | grep -qF "$name - " || echo "$file"
done >"$found"
breach "does not open with a comment '<file name> - <what it is>'" <"$found"

# Architectures and systems are known in few places.
# shellcheck disable=SC2046 # file names are words, here and below
grep -nE '__(x86_64|aarch64|AVX|ARM|i386|arm)' $(sources lib include examples) |
    grep -v '^include/hyperion/inline/' >"$found" || true
breach "tests for an architecture" <"$found"
# shellcheck disable=SC2046
grep -nE '__(linux|APPLE)__' $(sources lib include examples) |
    grep -vE '/os_[a-z]+\.[ch]:' >"$found" || true
breach "tests for a system" <"$found"

# Size. The library and its programs; then the tests.
for group in "lib arch include examples" "tests"; do
    # shellcheck disable=SC2046,SC2086 # lists of words
    awk -f "$here/functions.awk" $(sources $group) >"$found" || {
        breach "in $group" <"$found"
        status=1
    }
    echo "$group: $(tail -n 1 "$found")"
done

# Format.
# shellcheck disable=SC2046
clang-format --dry-run -Werror $(sources lib arch include examples tests) \
    >"$found" 2>&1 || {
    grep -E 'error: ' "$found" | cut -d: -f1 | sort | uniq -c |
        sed 's/$/ (clang-format -i)/' >"$found.files"
    breach "not as clang-format has it (places, file)" <"$found.files"
    rm -f "$found.files"
    status=1
}
exit $status
