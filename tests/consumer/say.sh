# shellcheck shell=sh
# say.sh - one line for each of many programs that are built and run; what one
# printed is shown when it fails. Read by scripts that stand in a folder of
# their own, where log.txt is written; said_all is their last command.

failed=0 ran=0

# say NAME COMMAND...: runs it, shows what it printed when it fails.
say() {
    name=$1
    shift
    if "$@" >log.txt 2>&1; then
        printf '%-52s %s\n' "$name" "$(tail -1 log.txt)"
        ran=$((ran + 1))
    else
        printf '%-52s failed\n' "$name"
        cat log.txt
        failed=$((failed + 1))
    fi
}

# How many passed; fails when one failed, or none ran.
said_all() {
    echo "$ran passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$ran" -gt 0 ]
}
