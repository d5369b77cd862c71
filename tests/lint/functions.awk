# functions.awk: the length and nesting of every C function in the files given.
# Prints what breaks the limits of docs/STYLE.md, then one line of totals.
#
# The code is formatted by clang-format in the Linux style, so a function's body
# opens with "{" and closes with "}" in the first column. Its length runs from
# the first line of its signature to the closing brace.
BEGIN {
    longest = 70    # lines, never more
    usual = 40      # lines, enough for 95 % of the functions
    deepest = 4     # blocks inside one another, never more
    nested = 3      # more than these are rare: 2 % of the functions
}

FNR == 1 { inside = 0; start = 0 }

!inside && /^[A-Za-z_]/ && !/;[ \t]*$/ {
    if (!start)
        start = FNR
    if (match($0, /[A-Za-z_0-9]+\(/))
        name = name ? name : substr($0, RSTART, RLENGTH - 1)
}
!inside && (/^$/ || /^[}#\/]/ || /^ \*\// || /;[ \t]*$/) { start = 0; name = "" }

/^{[ \t]*$/ && start { inside = 1; depth = 0; worst = 0; next }

inside && /^}/ {
    lines = FNR - start + 1
    functions++
    if (lines > usual) {
        above_usual++
        if (lines > longest) {
            printf "%s:%d: %s has %d lines\n", FILENAME, start, name, lines
            bad = 1
        }
    }
    if (worst > nested) {
        above_nested++
        if (worst > deepest) {
            printf "%s:%d: %s nests %d deep\n", FILENAME, start, name, worst
            bad = 1
        }
    }
    inside = 0
    start = 0
    name = ""
    next
}

inside {
    code = $0
    gsub(/"([^"\\]|\\.)*"/, "", code)
    gsub(/'([^'\\]|\\.)*'/, "", code)
    gsub(/\/\*.*\*\//, "", code)
    sub(/\/\/.*/, "", code)
    sub(/^[ \t]*\*.*/, "", code)
    for (i = 1; i <= length(code); i++) {
        c = substr(code, i, 1)
        if (c == "{" && ++depth > worst)
            worst = depth
        else if (c == "}")
            depth--
    }
}

END {
    printf "%d functions, %d above %d lines, %d nested more than %d deep\n",
        functions, above_usual, usual, above_nested, nested
    if (functions && above_usual / functions > 0.05) {
        print "more than 5 % of the functions are above the usual length"
        bad = 1
    }
    if (functions && above_nested / functions > 0.02) {
        print "more than 2 % of the functions nest deeply"
        bad = 1
    }
    exit bad
}
