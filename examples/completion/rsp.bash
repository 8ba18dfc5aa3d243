# Bash completion of rsp: commands, and for `rsp ctl SOCKET …` the commands of the control socket with the pools and
# servers of the rsp that runs there. Install as /usr/share/bash-completion/completions/rsp, or source it.

_rsp_servers() { # _rsp_servers SOCKET: POOL/SERVER, one a line
    rsp ctl "$1" show servers state 2>/dev/null | awk '$1 ~ /^[0-9]+$/ && NF > 4 { print $2 "/" $4 }'
}

_rsp_ctl() { # the words behind the socket are in $before, one blank behind each
    case $before in
        "") printf '%s\n' add clear del disable enable explain get help log prompt quit reload set show shutdown ;;
        "show ") printf '%s\n' backend changes errors info pools servers sess stat ;;
        "show servers ") echo state ;;
        "show servers state ") rsp ctl "$socket" show backend 2>/dev/null | grep -v '^#' ;;
        "show info ") printf '%s\n' json typed ;;
        "show stat ") rsp ctl "$socket" show backend 2>/dev/null | grep -v '^#' ;;
        "set ") printf '%s\n' server severity-output weight ;;
        "get ") echo weight ;;
        "enable " | "disable " | "add " | "del ") echo server ;;
        "clear ") echo counters ;;
        "clear counters ") echo all ;;
        "shutdown ") echo session ;;
        "shutdown session " | "show sess ") rsp ctl "$socket" show sess 2>/dev/null | sed -n 's/^\(0x[0-9a-f]*\):.*/\1/p' ;;
        "log ") echo level ;;
        "log level ") printf '%s\n' error warn info debug ;;
        "set severity-output ") printf '%s\n' none number string ;;
        "set server " | "set weight " | "get weight " | "enable server " | "disable server " | "del server ")
            _rsp_servers "$socket" ;;
        "set server "*" state ") printf '%s\n' ready drain maint ;;
        "set server "*" weight ") ;;
        "set server "*/*" ") printf '%s\n' state weight ;;
    esac
}

_rsp() {
    # Names of servers contain colons, which split words by default.
    local line=${COMP_LINE:0:COMP_POINT} words socket before=
    read -ra words <<<"$line"
    local current=
    case $line in *[[:space:]]) ;; *) current=${words[-1]} && unset 'words[-1]' ;; esac
    COMPREPLY=()
    if [ "${words[1]-}" = ctl ] && [ ${#words[@]} -ge 3 ]; then
        socket=${words[2]}
        if [ ${#words[@]} -gt 3 ]; then before=$(printf '%s ' "${words[@]:3}"); fi
        mapfile -t COMPREPLY < <(_rsp_ctl | while read -r word; do
            case $word in "$current"*) printf '%s\n' "$word" ;; esac
        done)
        # readline replaces only what follows the last colon.
        case $current in
            *:*) local cut=${current%"${current##*:}"} && COMPREPLY=("${COMPREPLY[@]#"$cut"}") ;;
        esac
        return
    fi
    if [ "${words[1]-}" = explain ]; then
        mapfile -t COMPREPLY < <(compgen -W "-H --from --body --fetch --json --socket" -- "$current")
    fi
    if [ "${words[1]-}" = check ]; then mapfile -t COMPREPLY < <(compgen -W "--strict" -- "$current"); fi
    if [ ${#words[@]} -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "run check explain test replay demo ctl types help --listen --backend --help -v -V -t" -- "$current")
    fi
    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$current")
}

complete -o filenames -F _rsp rsp
