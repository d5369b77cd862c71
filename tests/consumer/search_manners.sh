#!/bin/sh
# search_manners.sh PROGRAM JSON_LINES FOLDER - how hyperion-search behaves:
# its command line, terminals, pipes, signals, full disks, stores that are none.
set -eu

program=$1
json_lines=$2
work=$3
. "$(dirname "$0")/expect.sh"
rm -rf "$work"
mkdir -p "$work/text"
cd "$work"

q() {
    "$program" query --store s "$@"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# --- the command line
version=$("$program" --version)
[ "${version% *}" = hyperion-search ] || fail "version: $version"
expect '^hyperion-search [0-9]' "$program" -V
expect 'forget PATH' "$program" --help
expect 'forget PATH' "$program" help
for command in index query repl forget stats; do
    expect "^usage: hyperion-search $command" "$program" help $command
    expect "^usage: hyperion-search $command" "$program" $command --help
done
misuse 'sing: no such command' "$program" sing
misuse 'sing: no such command' "$program" help sing
misuse '--bogus: no such option' "$program" index --bogus text
misuse '-z: no such option' "$program" -z index text
misuse '--json=2: takes no value' "$program" stats --json=2
misuse '--store: needs a value' "$program" query otter --store
misuse '\\x1b\[2J' "$program" "$(printf '\033[2J')"
misuse 'name of a file' "$program" query --store '' otter
misuse 'what for' "$program" query --store s
misuse 'name a file' "$program" forget
misuse 'takes no words' "$program" stats --store s x
misuse 'takes no words' "$program" repl --store s x
for count in 0 100000 -1 abc 5x '' ' 5' 99999999999999999999; do
    misuse '1 to 10000' "$program" query --store s -k "$count" otter
done
got=0
"$program" >out.txt 2>err.txt || got=$?
[ $got -eq 2 ] || fail "without arguments: $got"
said 1 '^usage: '

# --- stores that are none
printf 'Otters swim.\n' >text/otters.txt
refuse 'there is no such store' "$program" query --store none otter
[ ! -e none ] || fail 'a query made a store'
refuse 'does not exist: make it' "$program" index text --store no/such/s
refuse 'is a folder' "$program" index text --store text
refuse 'is a folder' "$program" query --store text otter
printf 'not a store\n' >letter
refuse 'no store, or a damaged' "$program" query --store letter otter
refuse 'no store, or a damaged' "$program" index text --store letter
[ "$(cat letter)" = 'not a store' ] || fail 'a foreign file was changed'
: >nothing
refuse 'no store, or a damaged' "$program" query --store nothing otter

expect '^1 document indexed, 1 in the store' "$program" index text --store s
head -c 100000 s >short
refuse 'again (truncated' "$program" query --store short otter
cp short e
refuse 'again (truncated' "$program" query --store e otter
head -c 4096 s >header
refuse 'no store, or a damaged' "$program" query --store header otter
# The format: 8 bytes of a word, 8 of a version, 8 of the size of a page.
for turned in 0 8 16 32; do
    cp short other
    dd if=/dev/zero of=other bs=1 count=2 seek=$turned conv=notrunc 2>dd.txt
    printf '\377\377' |
        dd of=other bs=1 seek=$turned conv=notrunc 2>dd.txt
    refuse 'no store, or a damaged\|another machine' \
        "$program" query --store other otter
done
if (ulimit -f 1000) 2>/dev/null; then
    (ulimit -f 1000 &&
        refuse 'may grow so large' "$program" index text --store limited)
    [ ! -e limited ] || fail 'half a store was left'
fi

# --- names that are taken or no names
for name in 'bad name!' '' a/b 12345678901234567890123456789012; do
    misuse 'letters, digits' "$program" index text --store new --watch "$name"
done
[ ! -e new ] || fail 'work was begun before --watch was looked at'

# --- what is left out
mkdir -p many/sub
for i in 1 2 3 4 5; do
    printf '\000\001' >many/binary$i
    : >many/empty$i
    printf 'Packed %d.\n' $i | gzip | head -c 24 >many/cut$i.gz
done
printf 'Walnuts fall.\n' >many/sub/fine
got=0
"$program" index many nowhere --store s >out.txt 2>err.txt || got=$?
[ $got -eq 1 ] || fail "unreadable files: status $got"
said 1 'nowhere: there is no such file'
said 1 '5 files look binary, left out: .*/binary1 and others'
said 1 '5 files have no text in them, left out: .*/empty1 and others'
said 3 'cut[123].gz: damaged'
said 1 '2 more could not be read'
[ "$(wc -l <err.txt)" -eq 7 ] || fail "left out: $(cat err.txt)"
expect 'fine:1$' q walnuts
"$program" index many --store s --verbose >out.txt 2>err.txt || true
said 5 'binary[0-9]: looks binary'
said 5 'empty[0-9]: has no text'
said 5 'cut[0-9].gz: damaged'
[ "$(wc -l <err.txt)" -eq 15 ] || fail "verbose: $(cat err.txt)"
rm -r many

# What the user may not read: as somebody else, for root may.
mkdir -p closed/folder
printf 'Walnuts rot.\n' >closed/file
printf 'Walnuts grow.\n' >closed/open
chmod 000 closed/folder closed/file
if [ "$(id -u)" -ne 0 ]; then
    as=
elif has setpriv && chmod 777 . && setpriv --reuid=65534 --clear-groups \
    test -w . && setpriv --reuid=65534 --clear-groups test -x "$program"; then
    as='setpriv --reuid=65534 --clear-groups'
else
    as=none
fi
if [ "$as" != none ]; then
    got=0
    $as "$program" index closed --store mine >out.txt 2>err.txt || got=$?
    [ $got -eq 1 ] || fail "closed: status $got, $(cat err.txt)"
    said 1 'closed/folder: Permission denied'
    said 1 'closed/file: Permission denied'
    expect 'open:1$' $as "$program" query --store mine walnuts
    printf x >locked
    chmod 000 locked
    refuse 'permission denied' $as "$program" query --store locked walnuts
    rm -f locked
fi
chmod 700 closed/folder closed/file

# --- forgetting what is gone
printf 'Weasels.\n' >weasel
expect '^1 document' "$program" index weasel --store s
rm weasel
expect '^1 document forgotten' "$program" forget weasel --store s
refuse 'neither here nor in the store' "$program" forget weasel --store s
expect '^{"forgotten":0}' "$program" forget closed --json --store s

# --- many questions
head -c 1000000 /dev/zero | tr '\0' 'a' >line
{
    printf '\nwalnuts\n\n:help\n:quit\n\r\n'
    cat line
    printf '\n\377\376\300\200 walnuts \355\240\200\nzero\000walnuts\n'
    printf 'walnuts and no newline'
} >questions
"$program" repl --store s --json <questions >out.txt 2>err.txt ||
    fail "repl exited $?: $(cat err.txt)"
[ ! -s err.txt ] || fail "repl complained: $(cat err.txt)"
[ "$(wc -l <out.txt)" -eq 7 ] || fail "repl: $(cut -c 1-200 out.txt)"
[ "$(grep -c 'sub/fine' out.txt)" -eq 4 ] || fail "repl: $(cat out.txt)"
"$json_lines" <out.txt || fail 'repl --json'
"$program" repl --store s <questions >out.txt 2>err.txt || fail 'repl'
! grep -q '? \|document\|Ctrl' out.txt || fail "repl in a pipe: $(cat out.txt)"

# --- JSON of every byte there is, in texts, names and questions
mkdir json
i=1
while [ $i -lt 256 ]; do
    octal=$(printf '%03o' $i)
    printf "marmot \\$octal tea\\$octal\n\n"
    i=$((i + 1))
done >json/bytes
printf 'marmot \355\240\200 \364\220\200\200 \300\257 \360\237\230\200 \342\202' \
    >"$(printf 'json/\001\033\177\200\377"\\\303\251\n')"
"$program" index json --store s --json >all.txt 2>err.txt || fail 'json'
q --json -k 10000 marmot >>all.txt
q --json "$(printf 'marmot \001\033\177\200\377"\\\303\251')" >>all.txt
q --json qqqqwwww >>all.txt
"$program" stats --store s --json >>all.txt
"$program" forget json --store s --json >>all.txt
"$json_lines" <all.txt || fail 'not all of it is JSON'
[ "$(grep -o '"rank"' all.txt | wc -l)" -gt 260 ] || fail 'not all of it is there'
if has python3; then
    python3 -c 'import json, sys
for line in open("all.txt", "rb"): json.loads(line.decode())' ||
        fail 'python reads it otherwise'
fi

# --- pipes and standard files
for i in $(seq 1 2000); do
    printf 'Paragraph %d tells of granite.\n\n' "$i"
done >granite
expect '^2000 documents indexed' "$program" index granite --store s
q -k 2000 granite 2>err.txt | head -n 1 >out.txt
[ "$(wc -l <out.txt)" -eq 1 ] && [ ! -s err.txt ] || fail "head: $(cat err.txt)"
! LC_ALL=C grep -q "$(printf '\033')" out.txt || fail 'escapes in a pipe'
expect '2000 hits' q -k 2000 granite

# --- terminals
pty() { # pty COMMAND: with a terminal of 20 columns for all but its input
    script -qec "stty cols 20 -echo; $1" /dev/null </dev/null |
        tr -d '\r' >out.txt
}
if has script && script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    i=0
    while [ $i -lt 20 ]; do
        cat granite
        i=$((i + 1))
    done >much
    script -qec "stty cols 20; '$program' index much --store s" /dev/null \
        </dev/null >out.txt
    grep -q '#' out.txt || fail "no progress: $(cat out.txt)"
    ! LC_ALL=C grep -q "$(printf '\033')" out.txt || fail 'escapes in progress'
    tr '\r' '\n' <out.txt | grep -a '^\[' | LC_ALL=C awk '
        length($0) > 19 { exit 1 }' || fail "too wide: $(cat out.txt)"
    pty "'$program' query --store s granite"
    grep '^    ' out.txt | awk 'length($0) > 40 { exit 1 }' ||
        fail "too wide: $(cat out.txt)"
    grep -q '^    Paragraph' out.txt || fail "terminal: $(cat out.txt)"
    { sleep 1; printf 'walnuts\n\n:help\n:sing\n:quit\nwalnuts\n'; } |
        script -qec "stty -echo; '$program' repl --store s" /dev/null |
        tr -d '\r' >out.txt
    grep -q 'documents in s' out.txt || fail "banner: $(cat out.txt)"
    grep -q ':quit or Ctrl-D' out.txt || fail "banner: $(cat out.txt)"
    grep -q 'no such command' out.txt || fail ":sing: $(cat out.txt)"
    [ "$(grep -c 'sub/fine' out.txt)" -eq 1 ] || fail ":quit: $(cat out.txt)"
    { sleep 1; printf '\004'; } |
        script -qec "stty -echo; '$program' repl --store s" /dev/null |
        tr -d '\r' >out.txt
    [ "$(tail -n 1 out.txt)" = '? ' ] || fail "Ctrl-D: $(cat out.txt)"
    rm much
fi
"$program" index granite --store s >out.txt 2>err.txt
[ ! -s err.txt ] || fail "progress without a terminal: $(cat err.txt)"

# --- signals while indexing
mkdir long
for i in $(seq 1 400); do
    cp granite long/file$i
done
# It is killed without a word before it has begun, so later if it was too early.
stop_by() { # stop_by SIGNAL
    for delay in 0.3 0.6 1.2 2.4 4.8; do
        got=0
        rm -f stopped
        timeout --preserve-status -s "$1" $delay "$program" index long \
            long/../long --store stopped >out.txt 2>err.txt || got=$?
        [ ! -s err.txt ] || return 0
    done
}
if has timeout; then
    for signal in INT:130 TERM:143 HUP:129; do
        stop_by "${signal%:*}"
        [ $got -eq "${signal#*:}" ] || fail "$signal: status $got"
        said 1 'stopped by signal .* indexed so far'
        [ ! -s out.txt ] || fail "a summary after a signal: $(cat out.txt)"
        told=$(sed 's/.*: \([0-9]* documents*\) indexed.*/\1/' err.txt)
        expect "^$told," "$program" stats --store stopped
    done
fi
rm -rf long stopped

# --- a full disk, as a small file system of our own
cat >full.sh <<'END'
mount -t tmpfs -o size=4m tmpfs full || exit 77
printf 'Otters dive.\n' >otters
"$1" index otters --store full/s >out.txt 2>err.txt || exit 1
i=0
while [ $i -lt 10 ]; do
    cat granite granite granite
    i=$((i + 1))
done >much
got=0
"$1" index much --store full/s >out.txt 2>err.txt || got=$?
[ $got -eq 1 ] && [ "$(wc -l <err.txt)" -eq 1 ] || exit 2
grep -q 'the disk is full' err.txt || exit 3
"$1" query --store full/s otters >out.txt 2>err.txt || exit 4
grep -q otters:1 out.txt || exit 5
printf 'Otters sleep.\n' >otters
"$1" index otters --store full/s >out.txt 2>err.txt || exit 6
"$1" query --store full/s sleep >out.txt 2>err.txt || exit 7
grep -q otters:1 out.txt || exit 8
cat /dev/zero >full/rest 2>/dev/null
got=0
"$1" forget otters --store full/s >out.txt 2>err.txt || got=$?
case $got in # what is not durable is not said to be forgotten
0) grep -q '^1 document forgotten' out.txt || exit 9 ;;
1) grep -q '^0 documents forgotten' out.txt && [ "$(wc -l <err.txt)" -eq 1 ] ||
    exit 10 ;;
*) exit 11 ;;
esac
END
mkdir full
map=-r
[ "$(id -u)" -ne 0 ] || map=
if has unshare && unshare $map -m true 2>/dev/null; then
    got=0
    unshare $map -m sh full.sh "$program" || got=$?
    [ $got -eq 0 ] || [ $got -eq 77 ] ||
        fail "full disk, step $got: $(cat out.txt err.txt)"
fi

passed
