#!/bin/sh
# landing_pads.sh BUILD ARCH COMPILER [READELF] - what the libraries say of
# themselves to whoever enforces control flow. Every object says that indirect
# branches find landing pads in it (IBT, BTI). None says that it can do with a
# shadow stack (SHSTK, GCS): the switches do not exchange one. A shared library
# says the first when the compiler's own start-up files do, and never the second.
set -eu
build=$1
arch=$2
compiler=$3
readelf=${4:-readelf}
status=0

case $arch in
x86_64) pads=IBT forbidden=SHSTK ;;
aarch64) pads=BTI forbidden=GCS ;;
*)
    echo "$arch: nothing is promised"
    exit 0
    ;;
esac

says() { # FILE PROPERTY
    "$readelf" -nW "$1" 2>/dev/null | grep -q "feature:.*$2"
}

wrong() {
    echo "$*"
    status=1
}

# A library has them when the files that the compiler adds have them.
start=yes
for file in crti.o crtbeginS.o crtendS.o crtn.o; do
    says "$($compiler -print-file-name=$file)" $pads || start=no
done

for archive in "$build"/libhyperion*.a; do
    count=$("$readelf" -nW "$archive" | awk -v pads=$pads \
        -v forbidden=$forbidden '
        function member() {
            if (file != "" && !has)
                print file ": without " pads > "/dev/stderr"
            bad += file != "" && !has
            has = 0
        }
        /^File: / { member(); file = $2; n++ }
        / feature:/ && $0 ~ pads { has = 1 }
        / feature:/ && $0 ~ forbidden {
            print file ": claims " forbidden > "/dev/stderr"
            bad++
        }
        END { member(); print n + 0; exit bad != 0 }') ||
        wrong "$(basename "$archive"): objects that are not as they should be"
    [ "$count" -gt 0 ] || wrong "$archive: no objects"
    library=${archive%.a}.so
    ! says "$library" $forbidden || wrong "$library claims $forbidden"
    if [ $start = yes ]; then
        says "$library" $pads || wrong "$library lacks $pads"
    fi
    echo "$(basename "$archive" .a): $count objects with $pads"
done
[ $start = yes ] ||
    echo "the compiler's start-up files have no $pads, so no library has"
exit $status
