# Shared by scripts/provision and its tests: copying a primary to a standby, and checking that it follows.
# shellcheck shell=bash

# Whoever sources this sets it: a file for the words of a command that may fail.
log=''

# ask_primary COMMAND: one of the replication protocol's, with the rights of a standby.
ask_primary() { as_postgres psql -X -q -At -d "$(primary_conninfo) replication=true" -c "$1"; }

# of_this_primary VERSION DATA: a copy of another primary than that of now starts as well, and answers from what it holds for
# ever. So would one of a primary that was made anew at the same address.
of_this_primary() {
    local theirs own
    # Without an answer nothing can be said, and a standby whose primary is away is to run.
    theirs=$(ask_primary IDENTIFY_SYSTEM 2>"$log" | cut -d '|' -f 1) && [ "$theirs" ] || return 0
    own=$("$PG_BIN/pg_controldata" "$2" | sed -n 's/^Database system identifier: *//p')
    [ "$theirs" = "$own" ] || die "$2 is the copy of another primary than $DB_PRIMARY" \
        "systemctl stop postgresql@$1-main, move $2 away, then run this again: it is copied anew"
}

# How often a standby is asked whether it follows, ten times a second.
FOLLOW_TRIES=300

# follows VERSION: whether the standby gets the primary's log; waits for it a while.
follows() {
    local try
    ask_primary IDENTIFY_SYSTEM >/dev/null 2>&1 || return 0 # it will when its primary is back
    for ((try = 0; try < FOLLOW_TRIES; try++)); do
        if [ "$(as_postgres psql -X -At -c 'select status from pg_stat_wal_receiver' 2>/dev/null)" = streaming ]; then return; fi
        sleep 0.1
    done
    die "this standby gets no log from its primary, $DB_PRIMARY, and goes on answering from what it has" \
        "its log, /var/log/postgresql/postgresql-$1-main.log, says why; docs/operating.md, 'A standby that fell behind'"
}

# How often a standby that begins asks for its primary, once a second: hosts may be made at the same time.
PRIMARY_TRIES=600

# copy_primary VERSION DATA ADDRESS: the primary's data instead of the empty cluster that is there.
copy_primary() {
    local version=$1 data=$2 slot try copy=$2.new
    slot=$(slot_of "$3")
    systemctl stop "postgresql@$version-main" 2>/dev/null || true
    # A primary of before, say, which somebody may need.
    if [ -e "$data/PG_VERSION" ] && [ "$(find "$data/base" -mindepth 1 -maxdepth 1 -type d | wc -l)" -gt 3 ]; then
        die "$data holds databases, and this host is to be a standby, which begins with a copy of the primary" \
            "move $data away if nobody needs it, then run this again"
    fi
    say "waiting for the primary, $DB_PRIMARY"
    for ((try = 0; ; try++)); do
        if ask_primary IDENTIFY_SYSTEM >/dev/null 2>"$log"; then break; fi
        if [ "$try" -ge "$PRIMARY_TRIES" ]; then
            cat "$log" >&2
            die "no way to the primary, $DB_PRIMARY, in $PRIMARY_TRIES s" "provision it first; the answer to the last try is above"
        fi
        sleep 1
    done
    # The slot is there if this was tried before.
    if ! ask_primary "CREATE_REPLICATION_SLOT $slot PHYSICAL" >/dev/null 2>"$log" && ! grep -q 'already exists' "$log"; then
        cat "$log" >&2
        die "the primary, $DB_PRIMARY, makes no slot $slot: its words are above"
    fi
    # Beside the data, and in their place when it is a standby: a copy without the signal would start as a second primary.
    rm -rf "$copy"
    install -d -m 700 -o postgres -g postgres "$copy"
    as_postgres "$PG_BIN/pg_basebackup" -d "$(primary_conninfo)" -D "$copy" -S "$slot" -X stream -c fast 2>"$log" ||
        { cat "$log" >&2 && die "the primary, $DB_PRIMARY, could not be copied: its words are above"; }
    as_postgres touch "$copy/standby.signal"
    changed "copied the primary, $DB_PRIMARY"
    rm -rf "$data"
    mv "$copy" "$data"
}
