# weak_orders.awk - the functions of C files that take part in protocols between
# threads, and each memory order in them that could be weaker.
#
#   awk -f weak_orders.awk FILE...               each order that can be weakened:
#                                                file function number order weaker
#   awk -v names=1 -f weak_orders.awk FILE...    file, function, and its tokens
#                                                without comments and blanks, of
#                                                each that has atomics or waits
#   awk -v names=1 -v whole=1 -f weak_orders.awk FILE...
#                                                file, "*", and all its tokens
#   awk -v target=FUNCTION -v number=N -v weaker=ORDER -f weak_orders.awk FILE
#                                                the file with that one weakened
#
# Relies on clang-format: a definition begins in the first column and ends with
# a "}" there. Orders that are not written down, as in atomic_load(x), count.
BEGIN {
    strong = "memory_order_(acquire|release|acq_rel|seq_cst)|" \
        "__ATOMIC_(ACQUIRE|RELEASE)|" \
        "atomic_(load|store|exchange|fetch_(and|or|add|sub)|" \
        "compare_exchange_(strong|weak))\\("
    shared = "atomic_|hyi_(un)?lock\\(|hyi_park|hyi_wake|hyi_os_barrier|" \
        "_futex_|hyi_store_then_look|hyi_ring_(publish|order|attend)"
}

function weaker_ones(token) {
    if (token ~ /\($/)
        return "default"
    if (token ~ /__ATOMIC/)
        return "__ATOMIC_RELAXED"
    if (token ~ /_acquire$|_release$/)
        return "memory_order_relaxed"
    if (token ~ /acq_rel/)
        return "memory_order_acquire memory_order_release"
    if (call ~ /load_explicit/)
        return "memory_order_acquire"
    if (call ~ /store_explicit/)
        return "memory_order_release"
    return "memory_order_acq_rel"
}

# The line with its comments blanked out, at the same length.
function plain(line,    at) {
    if (in_comment) {
        at = index(line, "*/")
        if (at == 0)
            return ""
        in_comment = 0
        line = sprintf("%" (at + 1) "s", "") substr(line, at + 2)
    }
    while ((at = index(line, "/*")) > 0) {
        rest = substr(line, at + 2)
        if (index(rest, "*/") == 0) {
            in_comment = 1
            return substr(line, 1, at - 1)
        }
        line = substr(line, 1, at - 1) \
            sprintf("%" (index(rest, "*/") + 3) "s", "") \
            substr(rest, index(rest, "*/") + 2)
    }
    return line
}

function finish() {
    if (whole)
        return
    if (name != "" && names && text ~ shared)
        print FILENAME, name, text
    name = text = call = ""
    count = macro = 0
}

function begin(line) {
    gsub(/__attribute__ *\(\([a-z_]*(\([^()]*\))?(, *[a-z_]*)*\)\)/, "", line)
    if (!match(line, /[a-zA-Z_][a-zA-Z_0-9]*\(/))
        return
    finish()
    name = substr(line, RSTART, RLENGTH - 1)
}

# Lists or changes the orders of one line.
function scan(line,    rest, at, token, ones, n, i) {
    at = 0
    rest = line
    while (match(rest, strong)) {
        token = substr(rest, RSTART, RLENGTH)
        call = call substr(rest, 1, RSTART - 1)
        while (match(call, /atomic_.*atomic_/))
            call = substr(call, RSTART + RLENGTH - 7)
        match(rest, strong)
        count++
        n = split(weaker_ones(token), ones, " ")
        if (!names && weaker == "")
            for (i = 1; i <= n; i++)
                print FILENAME, name, count, token, ones[i]
        if (name == target && count == number && !changed) {
            changed = 1
            $0 = substr($0, 1, at + RSTART - 1) \
                (token ~ /\($/ ? "weaker_" token : weaker) \
                substr($0, at + RSTART + RLENGTH)
        }
        at += RSTART + RLENGTH - 1
        rest = substr(rest, RSTART + RLENGTH)
    }
    call = call rest
}

FNR == 1 {
    finish()
    in_comment = 0
    if (whole && file != "")
        print file, "*", text
    if (whole)
        text = ""
    file = FILENAME
}

whole {
    line = plain($0)
    gsub(/[ \t\\]/, "", line)
    text = text line
    next
}

{
    line = plain($0)
    if (line ~ /^[a-zA-Z_].*\(/ && line !~ /;[ ]*$/ &&
        line !~ /^(typedef|_Static_assert|extern|HY_API|HY_RING_CHECK)/) {
        begin(line)
    } else if (line ~ /^#define [a-zA-Z_0-9]+\(/) {
        begin(substr(line, 9))
        macro = 1
    }
    if (name != "") {
        packed = line
        gsub(/[ \t\\]/, "", packed)
        text = text packed
        scan(line)
    }
    if (weaker != "")
        print
    if (line ~ /^}/ || (macro && line !~ /\\$/))
        finish()
}

END {
    finish()
    if (whole)
        print file, "*", text
    if (weaker != "" && !changed)
        exit 1
}
