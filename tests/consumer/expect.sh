# shellcheck shell=sh
# expect.sh - what the tests of installed programs share. Each check leaves
# out.txt and err.txt behind.

checks=0

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect PATTERN COMMAND...: the command succeeds and prints the pattern.
expect() {
    pattern=$1
    shift
    "$@" >out.txt 2>err.txt || fail "$* exited $?: $(cat err.txt)"
    grep -q -e "$pattern" out.txt || fail "$* printed: $(cat out.txt)"
    checks=$((checks + 1))
}

# absent PATTERN COMMAND...: it succeeds and does not print the pattern.
absent() {
    pattern=$1
    shift
    "$@" >out.txt 2>err.txt || fail "$* exited $?: $(cat err.txt)"
    ! grep -q -e "$pattern" out.txt || fail "$* printed: $(cat out.txt)"
    checks=$((checks + 1))
}

# ends STATUS PATTERN COMMAND...: it ends so, after one line that says so on
# standard error.
ends() {
    status=$1
    pattern=$2
    shift 2
    got=0
    "$@" >out.txt 2>err.txt || got=$?
    [ "$got" -eq "$status" ] || fail "$* exited $got: $(cat err.txt)"
    grep -q -e "$pattern" err.txt || fail "$* complained: $(cat err.txt)"
    [ "$(wc -l <err.txt)" -eq 1 ] || fail "$* said too much: $(cat err.txt)"
    checks=$((checks + 1))
}

# refuse PATTERN COMMAND...: it fails with one line that says so.
refuse() {
    ends 1 "$@"
}

# misuse PATTERN COMMAND...: the command line is wrong.
misuse() {
    ends 2 "$@"
}

# said COUNT PATTERN: so many lines of err.txt say so.
said() {
    [ "$(grep -c -e "$2" err.txt)" -eq "$1" ] || fail "$2: $(cat err.txt)"
    checks=$((checks + 1))
}

# passed: the end.
passed() {
    echo "$checks checks passed"
}
