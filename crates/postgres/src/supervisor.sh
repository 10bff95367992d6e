# Ends a server that nobody uses any longer. It is started beside the server, outlives whoever
# started it, and needs no help of theirs: the kernel frees a dead process's locks.
#
# Its standard input is supervisor.lock, held: that is how others know that it is alive.
# boot.lock   held exclusively by whoever is about to start or stop the server
# users.lock  shared by everybody who uses it
room=$1 pg_ctl=$2 mode=$3 linger=$4 keep=$5
trap '' HUP INT

lock() { # lock BLOCK|NONBLOCK FILE-DESCRIPTOR
    if command -v flock >/dev/null; then
        case $1 in BLOCK) flock -x "$2" ;; *) flock -x -n "$2" ;; esac
    else
        perl -MFcntl=:flock -e 'open(my $f, "<&=", $ARGV[1]) or exit 2;
            exit !flock($f, $ARGV[0] eq "BLOCK" ? LOCK_EX : LOCK_EX | LOCK_NB)' "$1" "$2"
    fi
}

# After a crash the number in postmaster.pid may have become another program's.
lives() { # lives DATA-FOLDER
    pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) || return 1
    case $(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null) in
    *postgres*) return 0 ;; *) return 1 ;;
    esac
}

while [ -d "$room" ]; do
    (lock BLOCK 9) 9<"$room/users.lock" </dev/null
    sleep "$linger" </dev/null
    # Somebody asked for a failed test's database to be left; removing the file lets the server go.
    if [ -e "$room/keep" ]; then sleep 1 </dev/null; continue; fi
    (
        lock NONBLOCK 8 && lock NONBLOCK 9 || exit 1
        data=$(readlink "$room/data") || exit 0
        lives "$data" && "$pg_ctl" stop -D "$data" -m "$mode" -t 60 --silent 8<&- 9<&-
        if [ "$keep" = no ]; then rm -rf "$data" "$room/data"; fi
        exit 0
    ) 8<"$room/boot.lock" 9<"$room/users.lock" </dev/null && break
    sleep 0.2 </dev/null
done
if [ "$keep" = no ]; then case $room in */alone-*) rm -rf "$room" ;; esac; fi
