#!/bin/sh
# gdb_fibers.sh SOURCE BUILD WORK [-DHY_NO_ASM=1] - gdb and hyperion-gdb.py look
# at the fibers of running programs and of core files: with the library shared,
# stripped, static, and compiled with debug information. CC is the compiler.
# What is not there is left out and named; ends with 77 without gdb.
#
# With EMULATOR in the environment, and GDB for its machine, the library of a
# cross-compiled BUILD: it waits for gdb at the socket that -g names.
set -eu
source=$1 build=$2 work=$3
define=${4:-}
: "${EMULATOR:=}" "${GDB:=gdb}"
here=$(cd "$(dirname "$0")" && pwd)
script=$source/lib/runtime/hyperion-gdb.py
: "${CC:=cc}"
rm -rf "$work"
mkdir -p "$work"
cd "$work"
. "$here/../say.sh"

if ! "$GDB" -nx -q -batch -ex 'python print(gdb.VERSION)' >gdb.txt 2>&1; then
    echo "no gdb with Python here"
    exit 77
fi

# look PROGRAM ARGUMENTS...: gdb with the commands on standard input, each named
# before what it printed; one that fails does not end it.
look() {
    printf 'set width 0\nset pagination off\nset height 0\n' >commands
    echo "source $script" >>commands
    while read -r line; do
        printf "python run(r'''%s''')\n" "$line"
    done >>commands
    cat >run.py <<'RUN'
import gdb


def run(command):
    print("--- " + command, flush=True)
    try:
        gdb.execute(command)
    except gdb.error as error:
        print("error: %s" % error, flush=True)
RUN
    timeout 120 "$GDB" -nx -q -batch -iex "set debuginfod enabled off" \
        -x run.py -x commands --args "$@" >gdb.txt 2>&1 </dev/null || true
}

# The part of gdb.txt that a command printed; the last of several.
part() {
    awk -v command="--- $1" '/^--- / { here = $0 == command; text = "" }
        here { text = text $0 "\n"; kept = text } END { printf "%s", kept }' \
        gdb.txt
}

# wrong WHAT: a check has failed; gdb.txt is shown once.
wrong() {
    echo "$*"
    [ $bad -ne 0 ] || cat gdb.txt
    bad=$((bad + 1))
}

# expect COMMAND PATTERN...: what it printed has them all.
expect() {
    command=$1
    shift
    for pattern in "$@"; do
        checks=$((checks + 1))
        part "$command" | grep -qE -- "$pattern" ||
            wrong "'$command' did not print '$pattern':"
    done
}

# frames COMMAND NAMES: the functions of a backtrace that are the program's.
frames() {
    got=$(part "$1" | awk '/^#/ { sub(/^#[0-9]+ +/, "")
        sub(/^0x[0-9a-f]+ in /, ""); print $1 }' |
        grep -xE 'stop_here|handle|descend|deep|locks|sleeps|waits|spins?|leads|turns?' |
        xargs)
    checks=$((checks + 1))
    [ "$got" = "$2" ] || wrong "'$1' gave the frames '$got', not '$2':"
}

# whole COMMAND: a backtrace of a suspended fiber from end to end. gdb guesses
# on where a frame is wrong, and would still find most of the others.
whole() {
    ends=$(part "$1" | awk '/^#/ { sub(/^#[0-9]+ +/, "")
        sub(/^0x[0-9a-f]+ in */, ""); if (NR == 2) first = $1; last = $1
        if (/^[(?]/) print "a frame without name" }
        END { print first, last }' | xargs)
    checks=$((checks + 1))
    [ "$ends" = "hy_arch_hop hy_arch_hop" ] ||
        wrong "'$1' does not go from end to end, but: $ends"
}

# test_of FUNCTION ARGUMENTS...: runs it; its checks decide.
test_of() {
    bad=0 checks=0
    "$@" || wrong "$1 failed"
    [ $bad -ne 0 ] || echo "$checks checks"
    [ $bad -eq 0 ]
}
deep="descend descend descend descend deep"

# Everything, in a running program.
live() {
    look "$@" <<'COMMANDS'
hyperion bt deep
break stop_here
run
hyperion fibers
hyperion fibers -state parked -limit 1
hyperion fibers -wait m* -name l?cks
hyperion fibers -worker 1
hyperion fiber
hyperion fiber deep
bt
up
info locals
print own + 0
print $_thread
bt 2
thread apply all bt
hyperion bt spins
hyperion bt turns
hyperion bt 0x40000000
hyperion fiber spins
print own
hyperion fiber unstarted
hyperion fiber ended
hyperion fiber nonsense
hyperion fiber 99
hyperion fibers -colour red
hyperion bt all
hyperion fiber locks
print ((unsigned long(*)(void))hy_now)() > 0
hyperion fiber
bt -full
hyperion fiber 0
bt -9
continue
COMMANDS
    expect "hyperion bt deep" 'there is no process and no core file'
    id='0x[48]0000[0-9a-f]{3}'
    expect "hyperion fibers" '"looked at": 2 workers, 7 live fibers' \
        '1 new, 1 ready, 2 running, 3 parked \((event 1|mutex 1|sleep 1|, ){5}\)' \
        "^  $id  +running .* 16384  0, thread 1  +leads" \
        "^  $id  +running .* 16384  1, thread 2  +spins" \
        "^  $id  +parked    mutex +[1-9][0-9]+ +[1-9][0-9]+    16384  0 +locks" \
        "^  $id  +ready  .* 16384  0 +turns" \
        "^  $id  +new  +-  +-    16384  0 +unstarted"
    expect "hyperion fibers -state parked -limit 1" "3 of them as asked for" \
        "and 2 more"
    expect "hyperion fibers -wait m* -name l?cks" "1 of them as asked for" locks
    expect "hyperion fibers -worker 1" "1 of them as asked for" spins
    expect "hyperion fiber deep" '^fiber 0x[0-9a-f]+ "deep", parked on event'
    frames bt "$deep"
    whole bt
    expect up ' descend \(depth='
    expect "info locals" 'here = 11'
    expect "print own + 0" '= 100$'
    expect "bt 2" '^#1 '
    expect "print \$_thread" '= 1$'
    frames "hyperion bt spins" "spin spins"
    frames "hyperion bt turns" "turn turns"
    frames "hyperion bt 0x40000000" "stop_here leads"
    expect "hyperion fiber spins" '"spins" runs on thread 2' ' spin '
    expect "print own" '= 101$'
    expect "hyperion fiber unstarted" 'not started: it will call waits'
    expect "hyperion fiber ended" 'error: no fiber 0x[0-9a-f]+: it has ended'
    expect "hyperion fiber nonsense" "error: no fiber is called 'nonsense'"
    expect "hyperion fiber 99" 'error: no fiber 0x63'
    expect "hyperion fibers -colour red" "error: unknown option '-colour'"
    expect "hyperion bt all" '"sleeps", parked on sleep' 'will call waits'
    expect "print ((unsigned long(*)(void))hy_now)() > 0" '= 1$'
    expect "hyperion fiber" '^fiber 0x[0-9a-f]+ "locks"'
    frames "bt -full" "locks"
    whole "bt -full"
    frames "bt -9" "stop_here leads"
    expect continue '7 of 7 ran to their end' 'exited normally'
}

# Without names of the library, or without any.
nameless() {
    look "$@" <<'COMMANDS'
run
hyperion fibers
hyperion fiber deep
bt
hyperion bt all
COMMANDS
    expect "hyperion fibers" '7 live fibers' '"looked at"' ' unstarted'
    expect "hyperion fiber deep" 'deep", parked on event'
    checks=$((checks + 1))
    count=$(part bt | grep -c '^#')
    [ "$count" -ge 9 ] && [ "$count" -le 12 ] || wrong "$count frames:"
}

# As nameless, but for the program's names.
stripped() {
    strip -o stripped/libhyperion.so."$version" "$(readlink -f "$shared")"
    LD_LIBRARY_PATH=$work/stripped nameless "$@"
    frames bt "$deep"
}

# In a core file, of the kernel or of gdb.
core() {
    look "$1" <<COMMANDS
core-file $2
hyperion fibers
hyperion fiber deep
bt
up
info locals
print own + 0
hyperion fiber spins
hyperion fiber 0
hyperion bt all
COMMANDS
    expect "hyperion fibers" '7 live fibers' 'thread [12]  +leads' \
        ' parked    sleep .* sleeps'
    frames bt "$deep"
    whole bt
    expect up ' descend \(depth='
    expect "info locals" 'here = 11'
    expect "hyperion fiber spins" '"spins" runs on thread' ' spin '
    expect "hyperion bt all" '"locks", parked on mutex' 'will call waits'
}

core_of_kernel() {
    rm -f core*
    # shellcheck disable=SC3045 # where it is not there, neither is the core
    (ulimit -c unlimited && exec ./shared 0 abort) || true
    set -- core*
    if [ ! -s "$1" ]; then
        echo "no core file appeared here"
        return
    fi
    core ./shared "$1"
}

# gdb's own writer leaves out a mapping that has guards in it.
core_of_gdb() {
    look ./shared 0 "$1" <<'COMMANDS'
break stop_here
run
generate-core-file gdb.core
COMMANDS
    grep -q 'Saved corefile' gdb.txt
}
core_unguarded() {
    core_of_gdb unguarded && core ./shared gdb.core
}
core_guarded() {
    core_of_gdb guarded
    if ! grep -q 'Memory read failed' gdb.txt; then
        core ./shared gdb.core
        return
    fi
    look ./shared <<'COMMANDS'
core-file gdb.core
hyperion fibers
hyperion fiber deep
hyperion bt all
COMMANDS
    expect "hyperion fibers" '7 live fibers' ' parked    sleep .* sleeps'
    expect "hyperion fiber deep" 'its stack is not in the core file'
}

# A handler on a stack of its own; a thread between two fibers.
between() {
    look ./shared 0 signal <<'COMMANDS'
handle SIGUSR1 nostop noprint
break stop_here
run
hyperion fibers
hyperion fiber leads
bt
hyperion fiber locks
bt -9
tbreak *(char *)&hy_arch_hop
continue
hyperion bt all
tbreak *(char *)&hy_arch_hop_resumed
continue
hyperion bt all -limit 0
delete
continue
COMMANDS
    expect "hyperion fibers" ' running .* 0, thread 1  +leads'
    expect "hyperion fiber leads" 'runs on thread 1'
    frames bt "stop_here handle leads"
    frames "bt -9" "locks"
    for all in "hyperion bt all" "hyperion bt all -limit 0"; do
        expect "$all" ' deep ' ' locks ' ' sleeps ' ' spin '
        ! part "$all" | grep -iE 'error|exception|corrupt' || wrong "$all:"
    done
    expect continue '7 of 7 ran to their end'
}

many() {
    look ./shared 20000 <<'COMMANDS'
break stop_here
run
hyperion fibers
hyperion fibers -limit 0 -wait event
hyperion fiber "deep"
hyperion fiber one of many
hyperion bt all
COMMANDS
    expect "hyperion fibers" '20007 live fibers' \
        '20003 parked \(event 20001, ' 'and 19957 more'
    [ "$(part "hyperion fibers -limit 0 -wait event" |
        grep -c ' parked    event ')" -eq 20001 ] || wrong "not all listed:"
    expect 'hyperion fiber "deep"' 'parked on event'
    expect "hyperion fiber one of many" 'error: 10000 fibers have that name'
    expect "hyperion bt all" ' and 99[0-9] more, parked on event' \
        '19007 more were not looked at'
}

# What it says where it cannot do more.
refusals() {
    look ./shared <<'COMMANDS'
break stop_here
run
set var *(unsigned long *)((char *)&hyi_debugger_words + 32) = 9
hyperion fibers
COMMANDS
    expect "hyperion fibers" 'format 9, and this hyperion-gdb.py knows 1'
    echo 'int main(void) { return 0; }' |
        $CC -g -x c - -o nothing
    look ./nothing <<'COMMANDS'
break main
run
hyperion fibers
hyperion bt
hyperion fiber
hyperion fiber 0
COMMANDS
    expect "hyperion fibers" 'error: no libhyperion here'
    expect "hyperion bt" 'error: which fiber'
    expect "hyperion fiber" 'no fiber is selected'
    expect "hyperion fiber 0" 'main'
}

# On another machine.
emulated() {
    rm -f socket
    # shellcheck disable=SC2086 # a command and its options
    timeout 120 $EMULATOR -g socket ./static >printed.txt &
    i=0
    until [ -S socket ] || [ $i -eq 300 ]; do
        i=$((i + 1))
        sleep 0.2
    done
    look ./static <<'COMMANDS'
target remote socket
break stop_here
continue
hyperion fibers
hyperion fiber deep
bt
up
info locals
hyperion bt all
hyperion fiber 0
bt -9
continue
COMMANDS
    wait $! || wrong "the program was harmed:"
    expect "hyperion fibers" '7 live fibers' ' running .*, thread 1  +leads' \
        ' running .*, thread 2  +spins' ' parked    sleep .* sleeps'
    frames bt "$deep"
    whole bt
    expect up ' descend \(depth='
    expect "info locals" 'here = 11'
    expect "hyperion bt all" ' deep ' ' locks ' ' sleeps ' ' spin ' 'will call'
    frames "bt -9" "stop_here leads"
    grep -q '7 of 7 ran to their end' printed.txt
}

# Of HY_NO_ASM, whose contexts are libc's.
portable() {
    look ./shared <<'COMMANDS'
break stop_here
run
hyperion fibers
hyperion fiber deep
hyperion fiber spins
hyperion bt all
continue
COMMANDS
    expect "hyperion fibers" '7 live fibers' ' parked    sleep .* sleeps'
    expect "hyperion fiber deep" 'was built with HY_NO_ASM'
    expect "hyperion fiber spins" 'runs on thread'
    expect "hyperion bt all" '"deep", parked on event' 'no backtrace' ' spin '
    expect continue '7 of 7 ran to their end'
}

# gdb finds the installed copy by the library's name.
auto_load() {
    real=$(readlink -f "$shared")
    mkdir -p "scripts$(dirname "$real")"
    cp "$script" "scripts$real-gdb.py"
    gdb -nx -q -batch -iex "set auto-load safe-path /" \
        -iex "set auto-load scripts-directory $work/scripts" \
        -ex "break stop_here" -ex run -ex "hyperion fibers" ./shared \
        >gdb.txt 2>&1 </dev/null || true
    grep -q '7 live fibers' gdb.txt
}

# make OUT FLAGS...: the program. It is C11, and warns of nothing.
make() {
    out=$1
    shift
    # shellcheck disable=SC2086
    $CC -std=gnu11 -Wall -Wextra -Werror $define -O2 -g -I "$source/include" \
        "$here/parked_fibers.c" "$@" -lpthread -lm -o "$out"
}

# The library as its developers have it: optimised, with debug information.
make_debug() {
    # shellcheck disable=SC2086
    make "$1" -D_GNU_SOURCE $2 -I "$source/lib/base" -I "$source/arch" \
        "$source"/lib/base/[!o]*.c "$source"/lib/base/o[!s]*.c \
        "$source"/lib/base/os_posix.c "$source"/lib/base/os_linux.c \
        "$source"/lib/ring/*.c "$source"/lib/runtime/*.c \
        "$source/arch/$arch"/cpu.c "$source/arch/$arch"/fault.c \
        "$source/arch/$arch"/switch.S
}

shared=$build/libhyperion.so
version=$(sed -n 's/^project(hyperion VERSION \([0-9]*\.[0-9]*\).*/\1/p' \
    "$source/CMakeLists.txt")
arch=$(uname -m)
mkdir -p stripped
if [ -n "$EMULATOR" ]; then
    make static "$build/libhyperion.a"
    say "emulated" test_of emulated
    said_all
    exit
fi
make shared -L"$build" -lhyperion -Wl,-rpath,"$build"
make static "$build/libhyperion.a"
if [ -n "$define" ]; then
    say "HY_NO_ASM" test_of portable
    said_all
    exit
fi
make stripped_static -s "$build/libhyperion.a"
say "shared" test_of live ./shared
say "static" test_of live ./static
say "compiled with -O2 -g" make_debug debug -O2
say "with debug information" test_of live ./debug
say "dense stacks" test_of live ./shared 0 dense
say "stripped library" test_of stripped ./shared 0 abort
say "stripped program" test_of nameless ./stripped_static 0 abort
say "core file of the kernel" test_of core_of_kernel
say "core file of gdb, no guards" test_of core_unguarded
say "core file of gdb" test_of core_guarded
say "between fibers" test_of between
say "20,000 fibers" test_of many
say "refusals" test_of refusals
say "automatically loaded" test_of auto_load
said_all
