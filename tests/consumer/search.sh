#!/bin/sh
# search.sh PROGRAM FOLDER - hyperion-search as its users meet it: real files,
# bad files, replacing, forgetting, restarts, kill -9.
set -eu

program=$1
work=$2
rm -rf "$work"
mkdir -p "$work/text/deep" "$work/bad"
cd "$work"
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
    grep -q -- "$pattern" out.txt || fail "$* printed: $(cat out.txt)"
    checks=$((checks + 1))
}

# refuse PATTERN COMMAND...: it fails with one line that says so.
refuse() {
    pattern=$1
    shift
    if "$@" >out.txt 2>err.txt; then
        fail "$* was not refused"
    fi
    grep -q -- "$pattern" err.txt || fail "$* complained: $(cat err.txt)"
    checks=$((checks + 1))
}

# absent PATTERN COMMAND...: it succeeds and does not print the pattern.
absent() {
    pattern=$1
    shift
    "$@" >out.txt 2>err.txt || fail "$* exited $?: $(cat err.txt)"
    ! grep -q -- "$pattern" out.txt || fail "$* printed: $(cat out.txt)"
    checks=$((checks + 1))
}

q() {
    "$program" query --store s "$@"
}

printf 'The otter swims\nin the cold river.\n\nBread needs yeast.\n' \
    >text/animals.txt
printf 'Comets return each century.\n' | gzip >text/deep/sky.txt.gz
printf 'good before \377\376 bad bytes zanzibar\n' >text/utf8.txt
head -c 300000 /dev/zero | tr '\0' 'y' >text/line.txt
printf 'lighthouse' >>text/line.txt

expect "documents indexed" "$program" index text --store s
expect 'animals.txt:1$' q otter
expect 'in the cold river' q otter
expect 'animals.txt:4$' q 'yeast bread'
expect 'sky.txt.gz:1$' q comets
expect 'utf8.txt:1$' q zanzibar
expect 'microseconds' q otter
expect '"line":4,' q --json yeast
absent 'otter' q -k 1 yeast
expect '"hits":\[\]' q --json qqqqwwww

# Again: replaced, not doubled; a shorter file loses its old end.
expect . "$program" index text --store s
expect '^1 hits' q century
printf 'Badgers dig at night.\n' >text/animals.txt
expect . "$program" index text/animals.txt --store s
expect 'animals.txt:1$' q badgers
absent 'animals' q yeast
expect 'sky.txt.gz' q comets
expect '^1 documents forgotten' "$program" forget text/deep/sky.txt.gz --store s
absent 'sky' q comets

# Several questions at once.
printf 'badgers\nzanzibar\n' >questions
"$program" repl --store s <questions >out.txt
[ "$(grep -c hits out.txt)" -eq 2 ] || fail "repl printed: $(cat out.txt)"

# What cannot be used is said, and the rest is kept.
head -c 5000 /dev/urandom >bad/binary
printf '\000' >>bad/binary
printf 'Walnuts fall in autumn.\n' >bad/fine.txt
printf 'Truncated walnut catalogue.\n' | gzip >whole.gz
head -c 30 whole.gz >bad/cut.gz
"$program" index bad --store s >out.txt 2>err.txt ||
    fail "a bad file stopped the others: $(cat err.txt)"
grep -q 'binary: looks binary' err.txt || fail "binary: $(cat err.txt)"
grep -q 'cut.gz: damaged' err.txt || fail "cut.gz: $(cat err.txt)"
expect 'fine.txt:1$' q walnuts
expect 'animals.txt:1$' q badgers

refuse 'no such file\|No such file' "$program" index nowhere --store s
refuse 'index first' "$program" query --store none otter
printf 'not a store\n' >letter
refuse 'damaged, or not' "$program" query --store letter otter
[ "$(cat letter)" = 'not a store' ] || fail 'a foreign file was changed'
refuse '1 to 10000' q -k 0 otter
refuse 'what for' "$program" query --store s
refuse usage "$program" sing
refuse 'damaged, or not' "$program" index text --store letter
if [ "$(id -u)" -ne 0 ]; then
    mkdir -p closed
    chmod 000 closed
    "$program" index closed --store s >out.txt 2>err.txt || true
    grep -q 'Permission denied' err.txt || fail "closed: $(cat err.txt)"
    chmod 755 closed
fi


# Names and contents that are legal and odd.
mkdir -p odd/empty odd/loop
ln -s .. odd/loop/up
ln -s self odd/loop/self
printf 'Gooseberries ripen.\n' >'odd/-dash'
printf 'Rhubarb ripens.\n' >"odd/new
line"
printf 'Quinces ripen.\n' >"$(printf 'odd/tab\tin\377name')"
printf 'Medlars\r\nripen.\r\n\r\nSloes do not.\r\n' >odd/crlf
printf '\n \n\t\n\n' >odd/blank
: >odd/nothing
printf '\000' >"$(printf 'odd/bad\033[2J\nname')"
{
    head -c 200000 /dev/zero | tr '\0' ' '
    printf '\nElderflower after blanks.\n'
} >odd/spaces
head -c 200000 /dev/zero | tr '\0' '\200' >odd/continuation
"$program" index odd --store s >out.txt 2>err.txt || fail "odd: $(cat err.txt)"
[ "$(wc -l <err.txt)" -eq 1 ] || fail "odd complained: $(cat err.txt)"
grep -q 'bad \[2J name: looks binary' err.txt || fail "odd: $(cat err.txt)"
grep -q '^1[0-9] documents indexed' out.txt || fail "odd: $(cat out.txt)"
expect 'odd/-dash:1$' q gooseberries
expect 'new line:1$' q rhubarb
expect 'name:1$' q quinces
expect '^    Medlars ripen.$' q medlars
expect 'crlf:4$' q sloes
expect 'spaces:2$' q elderflower
expect '^0 hits' q ''
expect '"line":1,' q --json rhubarb
refuse 'no files there' "$program" index odd/empty --store s
refuse 'no files there' "$program" index odd/loop --store s
refuse 'symbolic links' "$program" index odd/loop/self --store s
refuse 'directory' "$program" query --store odd otter
refuse 'name of a file' "$program" query --store '' otter
refuse '1 to 10000' q -k abc otter
refuse '1 to 10000' q -k '' otter
refuse 'requires an argument' "$program" query otter --store
(cd odd && expect 'documents indexed' "$program" index --store ../s -- -dash)

# A store among its own documents, and folders almost too deep for a path.
mkdir -p own
printf 'Hazel.\n' >own/a
deep=own
while [ ${#deep} -lt $((3900 - ${#work})) ]; do
    deep=$deep/d
done
mkdir -p "$deep"
printf 'Deepest hornbeam.\n' >"$deep/b"
expect '^2 documents' "$program" index own --store own/store
expect '^2 documents' "$program" index own --store own/store
[ ! -s err.txt ] || fail "its own store: $(cat err.txt)"

# What changed into something else, or went away.
printf '\000\001' >odd/crlf
"$program" index odd/crlf --store s >out.txt 2>err.txt || fail 'crlf'
absent crlf q medlars
rm odd/-dash
expect '^1 documents forgotten' "$program" forget odd/-dash --store s
absent dash q gooseberries
expect '^[1-9][0-9]* documents forgotten' "$program" forget odd --store s
absent 'odd/' q rhubarb
expect '^0 documents forgotten' "$program" forget odd --store s

# Standard files that are closed or full; the store is not read or written as
# one of them.
"$program" repl --store s <&- >out.txt 2>err.txt || fail "no input: $?"
"$program" query --store s otter badgers >&- 2>err.txt || fail "no output: $?"
"$program" query --store s otter 2>&- >out.txt <&- || fail "no errors: $?"
expect 'animals.txt:1$' q badgers
if [ -c /dev/full ]; then
    if q badgers >/dev/full 2>err.txt; then
        fail 'a full standard output was not told'
    fi
    grep -q 'standard output' err.txt || fail "full: $(cat err.txt)"
fi

# Two at once.
mkfifo questions.fifo
"$program" repl --store s <questions.fifo >out2.txt 2>err.txt &
pid=$!
exec 9>questions.fifo
echo badgers >&9
while [ ! -s out2.txt ]; do
    kill -0 $pid || fail 'repl ended early'
    sleep 0.05
done
refuse 'in use by another' "$program" query --store s badgers
refuse 'in use by another' "$program" index text --store s
exec 9>&-
wait $pid || fail "repl exited $?"

# Killed in the middle of indexing: what was there before is there still.
i=0
while [ $i -lt 3000 ]; do
    printf 'Paragraph %d tells of quarries and granite.\n\n' $i
    i=$((i + 1))
done >many.txt
for turn in 1 2 3; do
    "$program" index many.txt --store s >/dev/null 2>&1 &
    pid=$!
    sleep 0.0$turn
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    expect 'animals.txt:1$' q badgers
done
expect '3000 documents indexed' "$program" index many.txt --store s
expect 'many.txt:' q granite

echo "$checks checks passed"
