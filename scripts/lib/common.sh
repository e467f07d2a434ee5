# Shared by all scripts, which source it after `set -euo pipefail`: messages, installing
# missing tools, a private PostgreSQL under data/, and starting and stopping atelier-server.
#
# It never touches an existing PostgreSQL: the private one has its own directory, port and password, and the
# distribution's packages are configured not to create a cluster.
# shellcheck shell=bash

REPO=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$REPO/data"
DATA=$(cd -P -- "$REPO/data" && pwd) # it may be a link to a larger disk

# --- messages -------------------------------------------------------------------------------------------

# One line a step, on standard error: standard output is for what was asked for.
step() { printf '==> %s\n' "$*" >&2; }
say() { printf '    %s\n' "$*" >&2; }

# die WHAT-AND-WHERE [WHAT-TO-DO]
die() {
    printf 'error: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf '  hint: %s\n' "$2" >&2; fi
    exit 1
}

# --- installing what is missing -------------------------------------------------------------------------

is_root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command as root, through sudo if need be; fails when there is no way to.
as_root() {
    if is_root; then
        "$@"
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE…
apt_install() {
    local log todo="install $* as root (Debian, Ubuntu: apt-get install $*), then run this again"
    command -v apt-get >/dev/null || die "not installed: $*, and there is no apt-get here" "$todo"
    as_root true || die "not installed: $*, and installing needs root or sudo" "$todo"
    say "installing $*"
    log=$(mktemp)
    # A machine fresh from an image has no package lists. One broken source must not stop the others.
    as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update failed, going on with the lists that are here"
    if ! as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1; then
        cat "$log" >&2
        die "apt-get could not install $*, its messages are above" "$todo"
    fi
    rm -f "$log"
}

# need COMMAND PACKAGE…: installs the packages unless the command is there.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null || apt_install "$@"
}

# What building takes: cargo, which we leave to its user, and a C compiler and make, for linking and for C in crates.
need_tools() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    command -v cargo >/dev/null ||
        die "cargo not found, neither in PATH nor in ~/.cargo/bin" "install Rust (https://rustup.rs), then run this again"
    need cc gcc libc6-dev
    need make make
}

# Where cargo puts the programs, from the root of the checkout.
# shellcheck disable=SC2034 # for the scripts
ETL=${CARGO_TARGET_DIR:-target}/release/atelier-etl
SERVER=${CARGO_TARGET_DIR:-target}/release/atelier-server

# Tools that no distribution ships, or not in the version we want; each in a directory of its own.
TOOLS=$DATA/tools

# need_python ARGUMENT…: sets PYTHON to one that has what pip installs with these arguments (PACKAGE==VERSION… or -r FILE), in
# a directory under data/tools.
need_python() {
    local home log
    home=$TOOLS/python-$( (printf '%s\n' "$@" && if [ "$1" = -r ]; then cat "$2"; fi) | sha256sum | cut -c1-12)
    PYTHON=$home/bin/python
    if [ -e "$home/complete" ]; then return; fi
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    say "installing $* into $home"
    rm -rf "$home" # what an interrupted run left: the programs in it hold its path, so it cannot be moved there
    mkdir -p "$TOOLS"
    log=$(mktemp)
    if ! { python3 -m venv "$home" && "$PYTHON" -m pip install "$@"; } >"$log" 2>&1; then
        cat "$log" >&2
        die "pip could not install $*, its messages are above" "see whether this machine reaches PyPI, then run this again"
    fi
    rm -f "$log"
    touch "$home/complete"
}

# Prints the directory of the newest server binaries, or of those of the given major version; fails if none.
pg_find_bin() {
    local wanted=${1:-} dir version best='' best_version=-1
    for dir in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        "$(dirname -- "$(command -v postgres || true)")"; do
        if ! { [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ -x "$dir/psql" ]; }; then continue; fi
        version=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        if [ "$version" -gt "$best_version" ] && [ "${wanted:-$version}" = "$version" ]; then
            best=$dir best_version=$version
        fi
    done
    [ -n "$best" ] && printf '%s\n' "$best"
}

# Sets PG_BIN, and installs PostgreSQL first if there is none.
need_postgres() {
    if ! PG_BIN=$(pg_find_bin); then
        # Debian's package would make and start a cluster "main", at every boot: this switches that off. The
        # package takes over a file that is there, with its defaults for the rest.
        local conf=/etc/postgresql-common/createcluster.conf
        if command -v apt-get >/dev/null && [ ! -e "$conf" ] && as_root true; then
            say "asking the package for no cluster of its own (create_main_cluster = false in $conf)"
            as_root install -d "${conf%/*}"
            printf 'create_main_cluster = false\n' | as_root tee "$conf" >/dev/null
        fi
        apt_install postgresql postgresql-client
        PG_BIN=$(pg_find_bin) ||
            die "PostgreSQL is installed, but its programs are not in pg_config --bindir nor /usr/lib/postgresql" \
                "put the directory that holds postgres, initdb and psql in PATH"
    fi
}

# PgBouncer's program, which Debian has where only root looks. Its package starts a service: that is switched off.
need_pgbouncer() {
    if PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null; then return; fi
    apt_install pgbouncer
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now pgbouncer; fi
}

# Prometheus and promtool. Debian's package starts a service: that is switched off.
need_prometheus() {
    if command -v promtool >/dev/null; then return; fi
    apt_install prometheus
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now prometheus; fi
}

# psql alone, for a database that somebody else runs.
need_psql() { need psql postgresql-client; }

# --- the private PostgreSQL -----------------------------------------------------------------------------
#
#   data/postgres/url       where it is and its password, readable by its user alone; the only copy of both
#   data/postgres/server/   cluster, log, and the directory of the Unix socket; PG_HOME below
#
# PostgreSQL refuses to run as root. For root it runs as the account of the package, and where that account
# cannot enter the checkout, PG_HOME is a directory in /var/lib.

PG_URL_FILE=$DATA/postgres/url
PG_HOME='' PG_ACCOUNT=''

# Runs a command as the account that owns the server, in a directory it may enter.
as_pg() {
    if is_root; then
        (cd / && HOME=/ exec setpriv --reuid "$(id -u "$PG_ACCOUNT")" --regid "$(id -g "$PG_ACCOUNT")" \
            --clear-groups -- "$@")
    else
        (cd / && exec "$@")
    fi
}

# Makes a directory that only the server's account can use; fails where that account cannot get to it, or the
# file system does not let it be given away.
pg_make_home() {
    mkdir -p "$1" 2>/dev/null && chown "$PG_ACCOUNT" "$1" 2>/dev/null && chmod 700 "$1" &&
        as_pg test -w "$1" && as_pg test -x "$1"
}

PG_INSIDE=$DATA/postgres/server
PG_OUTSIDE=/var/lib/atelier-catalogue/$(printf '%s' "$REPO" | sha256sum | cut -c1-12)

# Sets PG_HOME and PG_ACCOUNT to those of the cluster that is there already; fails if there is none.
pg_find_home() {
    for PG_HOME in "$PG_INSIDE" "$PG_OUTSIDE"; do
        if [ -d "$PG_HOME/cluster" ]; then
            PG_ACCOUNT=$(stat -c %U "$PG_HOME/cluster")
            is_root || [ -O "$PG_HOME/cluster" ] ||
                die "the PostgreSQL in $PG_HOME belongs to $PG_ACCOUNT" \
                    "run this as the user who started it first, or set DATABASE_URL to use another database"
            return
        elif [ -d "$PG_HOME" ] && ! [ -x "$PG_HOME" ]; then
            die "$PG_HOME cannot be entered: it was made by $(stat -c %U "$PG_HOME"), or by root" \
                "run this as root, or set DATABASE_URL to use another database"
        fi
    done
    return 1
}

# Sets PG_HOME and PG_ACCOUNT for a new cluster: in the checkout if that can be, else in /var/lib.
pg_choose_home() {
    PG_ACCOUNT=$(id -un)
    if is_root; then
        PG_ACCOUNT=postgres
        id -u "$PG_ACCOUNT" >/dev/null 2>&1 ||
            die "PostgreSQL refuses to run as root, and there is no account 'postgres' to run it as" \
                "make one (useradd --system postgres), or run this as an ordinary user"
    fi
    mkdir -p "$DATA/postgres"
    PG_HOME=$PG_INSIDE
    if pg_make_home "$PG_HOME"; then return; fi
    is_root || die "cannot write to $PG_HOME" "make $DATA writable for $PG_ACCOUNT"
    rmdir "$PG_HOME" 2>/dev/null || true
    PG_HOME=$PG_OUTSIDE
    mkdir -p "${PG_HOME%/*}"
    pg_make_home "$PG_HOME" || die "the account $PG_ACCOUNT can use neither $PG_INSIDE nor $PG_HOME" \
        "move the checkout to a directory that every account may enter"
    say "the account $PG_ACCOUNT cannot use $DATA: the database is kept in $PG_HOME"
}

# The parts of postgresql://atelier:PASSWORD@127.0.0.1:PORT/atelier, which pg_write_url wrote.
pg_password() { sed -E 's|.*//[^:]*:([^@]*)@.*|\1|' "$PG_URL_FILE"; }
pg_port() { sed -E 's|.*:([0-9]+)/.*|\1|' "$PG_URL_FILE"; }

# pg_write_url PASSWORD PORT
pg_write_url() {
    rm -f "$PG_URL_FILE"
    (umask 077 && printf 'postgresql://atelier:%s@127.0.0.1:%s/atelier\n' "$1" "$2" >"$PG_URL_FILE")
    chown --reference="${PG_URL_FILE%/*}" "$PG_URL_FILE" # root may act for the user who made the cluster
}

# psql on the private server, as its owner. The password goes through the environment: arguments of a
# process are for everyone to see.
pg_psql() {
    PGHOST=127.0.0.1 PGPORT=$(pg_port) PGUSER=atelier PGPASSWORD=$(pg_password) PGDATABASE=${PGDATABASE:-atelier} \
        PGSSLMODE=disable PGOPTIONS='-c client_min_messages=warning' "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 "$@"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which Linux takes ports for outgoing connections (32768 and up).
pick_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        port_is_taken "$port" || break
    done
    printf '%s\n' "$port"
}

# Memory of the machine in MB, or of the container if that has less.
memory_mb() {
    local mb limit
    mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        if [ -r "$limit" ]; then
            # "max", or a number past what awk's integers hold, is no limit.
            mb=$(awk -v mb="$mb" '{ if ($1 + 0 > 0 && $1 / 1048576 < mb) mb = int($1 / 1048576) } END { print mb }' "$limit")
        fi
    done
    printf '%s\n' "$mb"
}

# clamp VALUE LOW HIGH
clamp() { printf '%s\n' $(($1 < $2 ? $2 : ($1 > $3 ? $3 : $1))); }

# The settings, from this machine's memory and disk as they are now. fsync stays on: the catalogue survives a
# power cut.
pg_conf() {
    local memory disk socket=$PG_HOME/socket
    memory=$(memory_mb)
    disk=$(df -Pm "$PG_HOME" | awk 'NR == 2 { print $4 }')
    # The address of a Unix socket holds 107 characters, the name in it being .s.PGSQL.65535 at most.
    [ ${#socket} -le 92 ] || socket=
    cat <<CONF
# Written at every start by scripts/lib/common.sh, which says why there is a private server. Changes here are lost.

listen_addresses = '127.0.0.1'          # nobody else's business
port = $(pg_port)
unix_socket_directories = '$socket'     # empty if the path is too long for one
password_encryption = scram-sha-256

wal_level = minimal                     # COPY into a table of the same transaction writes no WAL
max_wal_senders = 0                     # no standby, which minimal asks for
archive_mode = off                      # likewise
max_wal_size = $(clamp $((disk / 8)) 1024 8192)MB  # no checkpoint in the middle of a load; less on a small disk
checkpoint_timeout = 30min              # likewise
checkpoint_completion_target = 0.9      # spreads its writes

shared_buffers = $(clamp $((memory / 4)) 64 4096)MB      # a quarter of the memory; the page cache does as well past 4 GB
effective_cache_size = $(clamp $((memory / 2)) 64 65536)MB  # what planning may count on, page cache included
maintenance_work_mem = $(clamp $((memory / 16)) 32 1024)MB # sorts of index builds, several at a time
jit = off                               # queries here are short: compiling costs more than it saves

log_line_prefix = '%m [%p] '
CONF
}

pg_pid() { as_pg sed -n 1p "$PG_HOME/cluster/postmaster.pid" 2>/dev/null; }

# Succeeds when the server of PG_HOME runs. A process id left in postmaster.pid by a crash may be another
# process's by now: the server is the one whose working directory is the cluster.
pg_running() {
    local pid
    pid=$(pg_pid) && [ -n "$pid" ] && [ "$(as_pg readlink "/proc/$pid/cwd")" = "$PG_HOME/cluster" ]
}

pg_create() {
    local secret=$PG_HOME/secret output
    if [ ! -s "$PG_URL_FILE" ]; then
        pg_write_url "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" "$(pick_port)"
    fi
    (umask 077 && pg_password >"$secret" && chown "$PG_ACCOUNT" "$secret")
    # Made beside and moved when complete: an interrupted initdb leaves nothing that looks like a cluster.
    rm -rf "$PG_HOME/cluster.new"
    output=$(as_pg "$PG_BIN/initdb" -D "$PG_HOME/cluster.new" -U atelier --pwfile="$secret" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C 2>&1) ||
        die "initdb could not make a cluster in $PG_HOME: $output" "fix that, then run this again"
    rm -f "$secret"
    as_pg mkdir -p "$PG_HOME/socket"
    echo "include 'atelier.conf'" | as_pg tee -a "$PG_HOME/cluster.new/postgresql.conf" >/dev/null
    as_pg mv "$PG_HOME/cluster.new" "$PG_HOME/cluster"
}

# Starts the private server, made on first use, unless it runs. Sets PG_BIN, PG_HOME and PG_ACCOUNT.
pg_start() {
    local made pid try
    need_postgres
    if pg_find_home; then
        made=$(as_pg cat "$PG_HOME/cluster/PG_VERSION")
        PG_BIN=$(pg_find_bin "$made") ||
            die "the cluster in $PG_HOME was made by PostgreSQL $made, which is not installed" \
                "install PostgreSQL $made, or remove $PG_HOME: its catalogue can be loaded again"
        [ -s "$PG_URL_FILE" ] ||
            die "$PG_URL_FILE is gone, and with it the password of the server in $PG_HOME" \
                "stop that server if it runs, remove $PG_HOME, and load again"
        if pg_running; then
            say "PostgreSQL $made runs on port $(pg_port)"
            return
        fi
        # postgres itself sees through a file whose process is gone, but takes any living one for a server.
        if pid=$(pg_pid) && [ -e "/proc/$pid" ]; then
            say "process $pid, named in $PG_HOME/cluster/postmaster.pid, is no server of ours: left by a crash, removed"
            as_pg rm -f "$PG_HOME/cluster/postmaster.pid"
        fi
    else
        pg_choose_home
        pg_create
    fi

    for try in 1 2 3 4 5; do
        if port_is_taken "$(pg_port)"; then
            say "port $(pg_port) is taken by another program, choosing another"
            pg_write_url "$(pg_password)" "$(pick_port)"
        fi
        pg_conf | as_pg tee "$PG_HOME/cluster/atelier.conf" >/dev/null
        if as_pg "$PG_BIN/pg_ctl" start -s -w -t 120 -D "$PG_HOME/cluster" -l "$PG_HOME/log" </dev/null >/dev/null 2>&1; then
            break
        fi
        # A port can be taken between the look and the start, or be held without listening.
        if [ "$try" -lt 5 ] && tail -n 8 "$PG_HOME/log" | grep -q 'could not bind IPv4'; then
            say "port $(pg_port) is taken by another program, choosing another"
            pg_write_url "$(pg_password)" "$(pick_port)"
        else
            tail -n 8 "$PG_HOME/log" >&2
            die "PostgreSQL did not start, its log ends as above" "see $PG_HOME/log"
        fi
    done
    # Outside the loop of pg_create, so that a first run that was interrupted is made good by the next.
    if [ -z "$(PGDATABASE=postgres pg_psql -Atc "select 1 from pg_database where datname = 'atelier'")" ]; then
        PGDATABASE=postgres pg_psql -c 'create database atelier'
    fi
    say "PostgreSQL $(as_pg cat "$PG_HOME/cluster/PG_VERSION") started on port $(pg_port), its log is $PG_HOME/log"
}

# Stops the private server if there is one and it runs.
pg_stop() {
    if ! pg_find_home; then
        say "there is no private PostgreSQL here"
    elif ! pg_running; then
        say "PostgreSQL does not run; its data is in $PG_HOME"
    else
        PG_BIN=$(pg_find_bin "$(as_pg cat "$PG_HOME/cluster/PG_VERSION")") ||
            die "the programs of the PostgreSQL that runs in $PG_HOME are gone" "kill -INT $(pg_pid)"
        as_pg "$PG_BIN/pg_ctl" stop -s -w -m fast -D "$PG_HOME/cluster" ||
            die "PostgreSQL in $PG_HOME did not stop" "see $PG_HOME/log"
        say "PostgreSQL stopped; its data stays in $PG_HOME"
    fi
}

# --- atelier-server -------------------------------------------------------------------------------------
#
# The functions below name a server by a directory of its own, which holds
#
#   pid    its process id
#   log    what it says

# What listens on this machine is not asked for through a proxy.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"

# free_port FIRST: the first port from FIRST on that nobody listens at on this machine.
free_port() {
    local port=$1
    while port_is_taken "$port"; do port=$((port + 1)); done
    printf '%s\n' "$port"
}

# reachable ADDRESS: where a client on this machine finds a server that listens at ADDRESS.
reachable() {
    case $1 in
    0.0.0.0:* | '[::]:'*) printf '127.0.0.1:%s\n' "${1##*:}" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

# server_pid DIRECTORY: prints the process id of the server that runs; fails if it does not. An id left by a crash
# may be another process's by now, and a process that nobody has waited for has no command line any more.
server_pid() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] &&
        grep -qzE '(^|/)atelier-server$' "/proc/$pid/cmdline" 2>/dev/null && printf '%s\n' "$pid"
}

# server_start DIRECTORY LISTEN ADMIN-LISTEN [OPTION…]: starts a server on DATABASE_URL, which is in the environment,
# and waits until it serves. It runs on when the script and the terminal are gone: server_stop ends it.
server_start() {
    local home=$1 listen=$2 admin=$3 try pid
    shift 3
    need curl curl
    mkdir -p "$home"
    # Its own session: no hang-up of the terminal and no Ctrl-C at the script is meant for it.
    setsid "$SERVER" --listen "$listen" --admin-listen "$admin" "$@" </dev/null >"$home/log" 2>&1 &
    pid=$!
    printf '%s\n' "$pid" >"$home/pid"
    for ((try = 0; try < 300; try++)); do
        if curl -sf -o /dev/null --max-time 2 "http://$(reachable "$admin")/readyz"; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 8 "$home/log" >&2
    server_stop "$home"
    die "atelier-server was not ready within 30 s, or ended; its log ends as above" "see $home/log"
}

# server_stop DIRECTORY: stops the server if it runs, and waits until it has ended.
server_stop() {
    local pid try
    pid=$(server_pid "$1") || return 0
    kill "$pid" 2>/dev/null || die "atelier-server, process $pid, is not yours to stop" \
        "stop it as $(stat -c %U "/proc/$pid")"
    # Its own time of grace is 10 s.
    for ((try = 0; try < 150; try++)); do
        if ! server_pid "$1" >/dev/null; then
            rm -f "$1/pid"
            return 0 # a bare return would be the status before the trap, in one
        fi
        sleep 0.1
    done
    say "atelier-server, process $pid, did not stop within 15 s: killed"
    kill -KILL "$pid"
    rm -f "$1/pid"
}
