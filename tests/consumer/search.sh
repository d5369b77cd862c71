#!/bin/sh
# search.sh PROGRAM FOLDER - hyperion-search as its users meet it: real files,
# bad files, replacing, forgetting, restarts, kill -9.
set -eu

program=$1
work=$2
. "$(dirname "$0")/expect.sh"
rm -rf "$work"
mkdir -p "$work/text/deep" "$work/bad"
cd "$work"

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
expect '^1 hit in' q century
printf 'Badgers dig at night.\n' >text/animals.txt
expect . "$program" index text/animals.txt --store s
expect 'animals.txt:1$' q badgers
absent 'animals' q yeast
expect 'sky.txt.gz' q comets
expect '^1 document forgotten' "$program" forget text/deep/sky.txt.gz --store s
absent 'sky' q comets

# Several questions at once.
printf 'badgers\nzanzibar\n' >questions
"$program" repl --store s <questions >out.txt
[ "$(grep -c '^1 hit in' out.txt)" -eq 2 ] || fail "repl printed: $(cat out.txt)"

# What cannot be used is said, and the rest is kept.
head -c 5000 /dev/urandom >bad/binary
printf '\000' >>bad/binary
printf 'Walnuts fall in autumn.\n' >bad/fine.txt
printf 'Truncated walnut catalogue.\n' | gzip >whole.gz
head -c 30 whole.gz >bad/cut.gz
"$program" index bad --store s >out.txt 2>err.txt &&
    fail "a damaged file was not told by the status"
said 1 '1 file looks binary, left out: .*/bad/binary$'
said 1 'cut.gz: damaged'
expect 'fine.txt:1$' q walnuts
expect 'animals.txt:1$' q badgers

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
[ "$(wc -l <err.txt)" -eq 2 ] || fail "odd complained: $(cat err.txt)"
said 1 '1 file looks binary, left out: .*/odd/bad\\x1b\[2J\\nname$'
said 1 '2 files have no text in them, left out: .*/odd/blank and others'
grep -q '^1[0-9] documents indexed' out.txt || fail "odd: $(cat out.txt)"
expect 'odd/-dash:1$' q gooseberries
expect 'odd/new\\nline:1$' q rhubarb
expect 'odd/tab\\tin\\xffname:1$' q quinces
expect '^    Medlars ripen.$' q medlars
expect 'crlf:4$' q sloes
expect 'spaces:2$' q elderflower
expect '^0 hits' q ''
expect '"line":1,' q --json rhubarb
refuse 'no files there' "$program" index odd/empty --store s
refuse 'no files there' "$program" index odd/loop --store s
refuse 'symbolic links' "$program" index odd/loop/self --store s
(cd odd && expect '^1 document indexed' "$program" index --store ../s -- -dash)

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
expect '^2 documents' "$program" index own own own/a --store own/store

# What changed into something else, or went away.
printf '\000\001' >odd/crlf
"$program" index odd/crlf --store s >out.txt 2>err.txt || fail 'crlf'
absent crlf q medlars
rm odd/-dash
expect '^1 document forgotten' "$program" forget odd/-dash --store s
absent dash q gooseberries
expect '^[1-9][0-9]* documents forgotten' "$program" forget odd --store s
absent 'odd/' q rhubarb
expect '^0 documents forgotten' "$program" forget odd --store s

# Standard files that are closed or full; the store is not read or written as
# one of them.
"$program" repl --store s <&- >out.txt 2>err.txt || fail "no input: $?"
"$program" query --store s otter badgers >&- 2>err.txt && fail 'no output'
said 1 'standard output'
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
refuse 'another process uses it' "$program" query --store s badgers
refuse 'another process uses it' "$program" index text --store s
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

passed
