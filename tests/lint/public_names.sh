#!/bin/sh
# public_names.sh SOURCE COMPILER [HEADER...]: the names that are declared with
# HY_API in these headers (relative to include/hyperion; from standard input
# when none is given), one a line, sorted. Functions print as "name()".
#
# The compiler's preprocessor does the reading: what follows the visibility
# attribute up to the next ; or { is one declaration.
set -eu
source=$1
compiler=$2
shift 2
# shellcheck disable=SC2046 # one header is one word
[ $# -gt 0 ] || set -- $(cat)
for header in "$@"; do
    echo "#include <hyperion/$header>"
done | $compiler -E -P -I"$source/include" -x c - | tr '\n' ' ' |
    sed 's/[;{}]/&\
/g' | grep 'visibility("default")' |
    sed -e 's/__attribute__ *((\([^()]*([^()]*)\)*[^()]*))//g' \
        -e 's/.*[^A-Za-z0-9_]\(hy_[A-Za-z0-9_]*\) *\(\[.*\)*;$/\1/' \
        -e 's/^[^(]*[^A-Za-z0-9_]\(hy_[A-Za-z0-9_]*\) *(.*/\1()/' | LC_ALL=C sort -u
