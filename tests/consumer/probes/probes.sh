#!/bin/sh
# The probes for tracers: which there are, and that each fires with what it
# promises. sh probes.sh SOURCE BUILD WORK [-D...]; CC in the environment.
# Ends with 77 where the tools for it are missing.
set -eu
source=$1 build=$2 work=$3
shift 3
flags=$*
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"

fail() {
    echo "probes.sh: $*" >&2
    exit 1
}

command -v readelf >/dev/null || {
    echo "no readelf"
    exit 77
}

# In the library: name, number of arguments, and whether it has a semaphore.
readelf -n "$build/libhyperion.so" >notes.txt
awk '/Provider:/ { ours = $2 == "hyperion" }
    ours && /Name:/ { name = $2 }
    ours && /Semaphore:/ { counted = $NF !~ /^0x0*$/ }
    ours && /Arguments:/ { print name, NF - 1, counted }' notes.txt |
    LC_ALL=C sort >found.txt
cat >wanted.txt <<'EOF'
awake 1 1
end 2 1
park 3 1
sleep 1 1
spawn 3 1
start 2 1
steal 2 1
switch 3 1
wake 2 1
EOF
diff wanted.txt found.txt || fail "these are not the probes"

command -v gdb >/dev/null || {
    echo "no gdb: the probes are there, and were not seen to fire"
    exit 77
}
# shellcheck disable=SC2086 # lists of words
${CC:-cc} $flags -I"$source/include" "$here/probe_fibers.c" -o program \
    -L"$build" -lhyperion -Wl,-rpath,"$build"
{
    echo 'set width 0'
    echo 'set confirm off'
    echo 'set debuginfod enabled off'
    echo 'break main'
    echo 'run'
    while read -r name format; do
        printf 'break -probe-stap hyperion:%s\ncommands\nsilent\n' "$name"
        printf 'printf "probe %s %s\nend\n' "$name" "$format"
    done <<'EOF'
spawn %lx %s %lx\n", $_probe_arg0, (char *)$_probe_arg1, $_probe_arg2
start %lx %d\n", $_probe_arg0, $_probe_arg1
switch %lx %lx %d\n", $_probe_arg0, $_probe_arg1, $_probe_arg2
park %lx %s %d\n", $_probe_arg0, (char *)$_probe_arg1, $_probe_arg2
wake %lx %lx\n", $_probe_arg0, $_probe_arg1
end %lx %d\n", $_probe_arg0, $_probe_arg1
sleep %d\n", $_probe_arg0
awake %d\n", $_probe_arg0
EOF
    i=0
    while [ $i -lt 80 ]; do # stops, with some to spare
        echo 'continue'
        i=$((i + 1))
    done
} >commands
timeout 60 gdb -nx -q -batch -x commands ./program >gdb.txt 2>&1 || true
grep -q '^done' gdb.txt || {
    if grep -q 'ptrace: Operation not permitted\|not in executable format' \
        gdb.txt; then
        echo "gdb cannot run programs here"
        exit 77
    fi
    cat gdb.txt
    fail "the program did not come to its end under gdb"
}

# The ids by their names; what workers do while nothing is ready comes between.
sed -n 's/^probe //p' gdb.txt >hits.txt
grep -q '^sleep 0$' hits.txt || fail "no worker slept"
grep -q '^awake 0$' hits.txt || fail "no worker awoke"
a=$(sed -n 's/^spawn \([0-9a-f]*\) sleeper .*/\1/p' hits.txt)
b=$(sed -n 's/^spawn \([0-9a-f]*\) waiter .*/\1/p' hits.txt)
c=$(sed -n 's/^spawn \([0-9a-f]*\) opener .*/\1/p' hits.txt)
[ -n "$a" ] && [ -n "$b" ] && [ -n "$c" ] || {
    cat hits.txt
    fail "the three are not there"
}
grep -v '^sleep\|^awake' hits.txt |
    sed "s/\\<$a\\>/A/g; s/\\<$b\\>/B/g; s/\\<$c\\>/C/g" >story.txt
cat >told.txt <<'EOF'
spawn A sleeper 0
spawn B waiter 0
spawn C opener 0
start A 0
switch 0 A 0
park A sleep 0
start B 0
switch A B 0
park B event 0
start C 0
switch B C 0
wake B C
end C 0
switch 0 B 0
end B 0
switch 0 0 0
wake A 0
switch 0 A 0
end A 0
switch 0 0 0
EOF
diff told.txt story.txt || fail "that is not what happened"
echo "$(wc -l <hits.txt) hits of $(wc -l <wanted.txt) probes, in order"
