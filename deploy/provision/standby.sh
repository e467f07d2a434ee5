# Copying a primary to a standby, and checking that the standby follows it. `scratch` is a temporary directory of the caller.
# shellcheck shell=bash disable=SC2154

as_postgres() { (cd / && HOME=/var/lib/postgresql exec runuser -u postgres -- "$@"); }

# ask_primary COMMAND: runs a replication command with the privileges of a standby.
ask_primary() { as_postgres psql -X -q -At -d "$(primary_conninfo) replication=true" -c "$1"; }

# same_system MAJOR DATA: a copy of another primary would start as well and keep serving old data.
same_system() {
    local primary
    # A standby has to start without its primary too.
    primary=$(ask_primary IDENTIFY_SYSTEM 2>/dev/null | cut -d '|' -f 1) && [ "$primary" ] || return 0
    "$PG_BIN/pg_controldata" "$2" | grep -q "^Database system identifier: *$primary$" ||
        die "$2 is a copy of another primary than $DB_PRIMARY" \
            "systemctl stop postgresql@$1-main, move $2 away, then run this again to copy it anew"
}

# The process that receives WAL.
receiver() { as_postgres psql -XAtc "select pid from pg_stat_wal_receiver where status = 'streaming'" 2>/dev/null; }

# streams MAJOR: waits until the standby receives the primary's WAL.
streams() {
    local pid limit=$((SECONDS + 30))
    ask_primary IDENTIFY_SYSTEM >/dev/null 2>&1 || return 0 # it connects when the primary is back
    # One that the primary refuses is there for a moment, too.
    until pid=$(receiver) && [ "$pid" ] && sleep 1 && [ "$pid" = "$(receiver)" ]; do
        [ "$SECONDS" -lt "$limit" ] || die "this standby receives no WAL from its primary, $DB_PRIMARY, and serves old data" \
            "see /var/log/postgresql/postgresql-$1-main.log, and docs/operating.md, 'A standby that fell behind'"
        sleep 0.2
    done
}

# copy_primary MAJOR DATA SLOT: replaces the empty cluster in DATA. Hosts may be set up at the same time: it waits for the primary.
copy_primary() {
    local data=$2 slot=$3 copy=$2.new limit=$((SECONDS + 600))
    if [ -e "$data/PG_VERSION" ] && [ "$(find "$data/base" -mindepth 1 -maxdepth 1 -type d | wc -l)" -gt 3 ]; then
        die "$data has databases, and a standby begins with a copy of the primary" \
            "move $data away if nobody needs it, then run this again"
    fi
    systemctl stop "postgresql@$1-main"
    say "waiting for the primary, $DB_PRIMARY"
    until ask_primary IDENTIFY_SYSTEM >/dev/null 2>"$scratch/log"; do
        [ "$SECONDS" -lt "$limit" ] || die "no connection to the primary, $DB_PRIMARY, in ten minutes: $(cat "$scratch/log")"
        sleep 1
    done
    # An interrupted run has created the slot already.
    ask_primary "CREATE_REPLICATION_SLOT $slot PHYSICAL" >/dev/null 2>"$scratch/log" || grep -q 'already exists' "$scratch/log" ||
        die "the primary, $DB_PRIMARY, cannot create the slot $slot: $(cat "$scratch/log")"
    # Copied beside the data and renamed when it is a standby: without standby.signal it would start as a second primary.
    rm -rf "$copy"
    as_postgres mkdir -m 700 "$copy"
    quietly "the primary, $DB_PRIMARY, could not be copied" "run this again" \
        as_postgres "$PG_BIN/pg_basebackup" -d "$(primary_conninfo)" -D "$copy" -S "$slot" -X stream -c fast
    as_postgres touch "$copy/standby.signal"
    rm -rf "$data"
    mv "$copy" "$data"
    say "copied the primary, $DB_PRIMARY"
}
