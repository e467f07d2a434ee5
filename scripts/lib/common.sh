# Shared by all scripts, which source it after `set -euo pipefail`: messages, installing missing tools, and a private
# PostgreSQL under data/.
#
# It never touches an existing PostgreSQL: the private one has its own directory, port and password, and the
# distribution's packages are configured not to create a cluster.
# shellcheck shell=bash

REPO=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$REPO/data"
DATA=$(cd -P -- "$REPO/data" && pwd) # it may be a link to a larger disk

# --- messages -------------------------------------------------------------------------------------------

# One line for each step, on standard error.
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

# Runs a command as root, through sudo if necessary. Without a terminal, sudo must not ask for a password.
SUDO=(sudo)
if [ ! -t 0 ]; then SUDO=(sudo -n); fi
as_root() {
    if is_root; then "$@"; else "${SUDO[@]}" "$@"; fi
}

# quietly ERROR HINT COMMAND…: runs a command, and shows its output only if it fails.
quietly() {
    local log error=$1 hint=$2
    shift 2
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || { cat "$log" >&2 && die "$error; the output is above" "$hint"; }
    rm -f "$log"
}

# apt_install PACKAGE…
apt_install() {
    local hint="install $* as root (Debian, Ubuntu: apt-get install $*), then run this again"
    command -v apt-get >/dev/null || die "not installed: $*, and there is no apt-get here" "$hint"
    as_root true 2>/dev/null || die "not installed: $*, and installing needs root or sudo" "$hint"
    say "installing $*"
    # A machine fresh from an image has no package lists. One broken source must not stop the others.
    as_root apt-get update -qq >/dev/null 2>&1 || say "apt-get update failed; the existing lists are used"
    quietly "apt-get could not install $*" "$hint" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
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

# Where cargo puts the program, from the root of the checkout.
# shellcheck disable=SC2034 # for the scripts
ETL=${CARGO_TARGET_DIR:-target}/release/atelier-etl

# Tools that no distribution ships, or not in the version we want; each in a directory of its own.
TOOLS=$DATA/tools

# need_python ARGUMENT…: sets PYTHON to one with the packages that pip installs with these arguments (PACKAGE==VERSION… or
# -r FILE).
need_python() {
    local home
    home=$TOOLS/python-$( (printf '%s\n' "$@" && if [ "$1" = -r ]; then cat "$2"; fi) | sha256sum | cut -c1-12)
    PYTHON=$home/bin/python
    if [ -e "$home/complete" ]; then return; fi
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    say "installing $* into $home"
    rm -rf "$home" # left by an interrupted run; it cannot be built elsewhere and renamed, since its programs hold its path
    mkdir -p "$TOOLS"
    python3 -m venv "$home"
    quietly "pip could not install $*" "see whether this machine reaches PyPI, then run this again" "$PYTHON" -m pip install "$@"
    touch "$home/complete"
}

# need_cargo CRATE VERSION: puts the programs of a crate into PATH. A debug build, which takes half the time: speed is not
# needed, unless there is a third argument, --release.
need_cargo() {
    local home=$TOOLS/$1-$2 profile=--debug
    PATH=$home/bin:$PATH
    if [ -e "$home/.crates.toml" ]; then return; fi
    if [ "${3:-}" ]; then profile=''; fi
    say "building $1 $2 into $home"
    # shellcheck disable=SC2086 # nothing or one word
    quietly "cargo could not install $1 $2" "see whether this machine reaches crates.io, then run this again" \
        env CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked $profile --root "$home" --version "$2" "$1"
}

# Prints the directory of the newest server programs, or of those of the given major version; fails if there are none.
pg_find_bin() {
    local dir
    for dir in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        "$(dirname -- "$(command -v postgres || true)")"; do
        if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ -x "$dir/psql" ]; then
            "$dir/postgres" --version | sed -E "s|^[^0-9]*([0-9]+).*|\1 $dir|"
        fi
    done | sort -n | awk -v wanted="${1:-}" 'wanted == "" || $1 == wanted { dir = $2 } END { print dir; exit dir == "" }'
}

# Sets PG_BIN, and installs PostgreSQL first if there is none.
need_postgres() {
    if PG_BIN=$(pg_find_bin); then return; fi
    # Debian's package creates a cluster "main" and starts it at every boot, unless this file says no.
    local conf=/etc/postgresql-common/createcluster.conf
    if command -v apt-get >/dev/null && [ ! -e "$conf" ] && as_root install -d "${conf%/*}"; then
        printf 'create_main_cluster = false\n' | as_root tee "$conf" >/dev/null
    fi
    apt_install postgresql postgresql-client
    PG_BIN=$(pg_find_bin) ||
        die "PostgreSQL is installed, but its programs are neither in pg_config --bindir nor in /usr/lib/postgresql" \
            "put the directory that holds postgres, initdb and psql in PATH"
}

# need_service PROGRAM PACKAGE: as need, for a package that starts a service, which is disabled.
need_service() {
    if PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; then return; fi
    apt_install "$2"
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now "$2"; fi
}

# --- the private PostgreSQL -----------------------------------------------------------------------------
#
#   data/postgres/url       its address and password, readable by its user alone
#   data/postgres/server/   cluster and log; PG_HOME below
#
# PostgreSQL refuses to run as root. For root it runs as the account of the package; where that account cannot enter the
# checkout, data/postgres/server is a link to a directory in /var/lib.

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

# Sets PG_HOME and PG_ACCOUNT to those of the cluster; fails if there is none.
pg_find() {
    PG_HOME=$(realpath -m "$DATA/postgres/server")
    PG_ACCOUNT=$(stat -c %U "$PG_HOME" 2>/dev/null) && [ -d "$PG_HOME" ] || return 1
    is_root || [ -O "$PG_HOME" ] || die "the PostgreSQL in $PG_HOME belongs to $PG_ACCOUNT" \
        "run this as that user or as root, or set DATABASE_URL to use another database"
    as_pg test -d "$PG_HOME/cluster"
}

# The parts of postgresql://atelier:PASSWORD@127.0.0.1:PORT/atelier, which pg_write_url wrote.
pg_password() { sed -E 's|.*//[^:]*:([^@]*)@.*|\1|' "$PG_URL_FILE"; }
pg_port() { sed -E 's|.*:([0-9]+)/.*|\1|' "$PG_URL_FILE"; }

# pg_write_url PASSWORD PORT
pg_write_url() {
    (umask 077 && printf 'postgresql://atelier:%s@127.0.0.1:%s/atelier\n' "$1" "$2" >"$PG_URL_FILE.new")
    chown --reference="${PG_URL_FILE%/*}" "$PG_URL_FILE.new" # root may act for the user who created the cluster
    mv "$PG_URL_FILE.new" "$PG_URL_FILE"
}

# psql on the private server, as its owner. The password is passed in the environment: every user can see the arguments of
# a process.
pg_psql() {
    PGHOST=127.0.0.1 PGPORT=$(pg_port) PGUSER=atelier PGPASSWORD=$(pg_password) PGDATABASE=${PGDATABASE:-atelier} \
        PGSSLMODE=disable PGOPTIONS='-c client_min_messages=warning' "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 "$@"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST: the first port from FIRST on that nothing on this machine listens at.
free_port() {
    local port=$1
    while port_is_taken "$port"; do port=$((port + 1)); done
    printf '%s\n' "$port"
}

# Below the range from which Linux takes ports for outgoing connections (32768 and up).
pick_port() { free_port $((20000 + RANDOM % 12000)); }

# Memory of the machine in MB, or of the container if that has less.
memory_mb() {
    {
        awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo
        grep -hv max /sys/fs/cgroup/memory.max 2>/dev/null || true
    } | sort -n | awk 'NR == 1 { print int($1 / 1048576) }'
}

# clamp VALUE LOW HIGH
clamp() { printf '%s\n' $(($1 < $2 ? $2 : ($1 > $3 ? $3 : $1))); }

# The settings, from this machine's memory and disk. fsync stays on: the catalogue survives a power failure.
pg_conf() {
    local memory disk
    memory=$(memory_mb)
    disk=$(df -Pm "$PG_HOME" | awk 'NR == 2 { print $4 }')
    cat <<CONF
# Written at every start by scripts/lib/common.sh. Changes here are lost.
listen_addresses = '127.0.0.1'
port = $(pg_port)
unix_socket_directories = ''
password_encryption = scram-sha-256

wal_level = minimal                     # COPY into a table of the same transaction writes no WAL
max_wal_senders = 0                     # no standby, as minimal requires
archive_mode = off                      # likewise
max_wal_size = $(clamp $((disk / 8)) 1024 8192)MB  # no checkpoint during a load; less on a small disk
checkpoint_timeout = 30min              # likewise
checkpoint_completion_target = 0.9      # spreads its writes

shared_buffers = $(clamp $((memory / 4)) 64 4096)MB      # a quarter of the memory; beyond 4 GB the page cache is as good
effective_cache_size = $(clamp $((memory / 2)) 64 65536)MB  # for planning, page cache included
maintenance_work_mem = $(clamp $((memory / 16)) 32 1024)MB # sorts of index builds, several at a time
jit = off                               # queries are short: compiling costs more than it saves

log_line_prefix = '%m [%p] '
CONF
}

# Creates a cluster: in the checkout if its account can use that, else in /var/lib.
pg_create() {
    local output
    PG_ACCOUNT=$(id -un)
    if is_root; then
        PG_ACCOUNT=postgres
        id -u "$PG_ACCOUNT" >/dev/null 2>&1 ||
            die "PostgreSQL refuses to run as root, and there is no account 'postgres' to run it as" \
                "create one (useradd --system postgres), or run this as an ordinary user"
    fi
    mkdir -p "$DATA/postgres"
    for PG_HOME in "$DATA/postgres/server" "/var/lib/atelier-catalogue/$(printf '%s' "$REPO" | sha256sum | cut -c1-12)"; do
        if { mkdir -p "$PG_HOME" && chown "$PG_ACCOUNT" "$PG_HOME" && chmod 700 "$PG_HOME" && as_pg test -w "$PG_HOME"; } 2>/dev/null; then break; fi
        rmdir "$PG_HOME" 2>/dev/null || true
        is_root || break
    done
    as_pg test -w "$PG_HOME" || die "the account $PG_ACCOUNT cannot use $PG_HOME" "move the checkout to a directory that it may enter"
    if [ "$PG_HOME" != "$DATA/postgres/server" ]; then
        ln -sfT "$PG_HOME" "$DATA/postgres/server"
        say "the account $PG_ACCOUNT cannot use $DATA: the database is in $PG_HOME"
    fi
    pg_write_url "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" "$(pick_port)"
    # Created beside and renamed when complete: an interrupted initdb leaves nothing that looks like a cluster.
    as_pg rm -rf "$PG_HOME/cluster.new"
    # shellcheck disable=SC2016 # the account opens the file, so it must be its own: it cannot open /dev/stdin
    output=$(pg_password | as_pg bash -c 'exec "$@" --pwfile=<(cat)' bash "$PG_BIN/initdb" -D "$PG_HOME/cluster.new" -U atelier \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C 2>&1) ||
        die "initdb could not create a cluster in $PG_HOME: $output" "fix that, then run this again"
    echo "include 'atelier.conf'" | as_pg tee -a "$PG_HOME/cluster.new/postgresql.conf" >/dev/null
    as_pg mv -T "$PG_HOME/cluster.new" "$PG_HOME/cluster"
}

# Starts the private server, created on first use, unless it runs. Sets PG_BIN, PG_HOME and PG_ACCOUNT.
pg_start() {
    local version
    need_postgres
    pg_find || pg_create
    version=$(as_pg cat "$PG_HOME/cluster/PG_VERSION")
    PG_BIN=$(pg_find_bin "$version") ||
        die "the cluster in $PG_HOME was created by PostgreSQL $version, which is not installed" \
            "install PostgreSQL $version, or remove $PG_HOME: its catalogue can be loaded again"
    [ -s "$PG_URL_FILE" ] ||
        die "$PG_URL_FILE is missing, and with it the password of the server in $PG_HOME" \
            "stop that server if it runs, remove $PG_HOME, and load again"
    if PGDATABASE=postgres pg_psql -c 'select 1' >/dev/null 2>&1; then
        say "PostgreSQL $version runs on port $(pg_port)"
    else
        if port_is_taken "$(pg_port)"; then pg_write_url "$(pg_password)" "$(pick_port)"; fi
        pg_conf | as_pg tee "$PG_HOME/cluster/atelier.conf" >/dev/null
        as_pg "$PG_BIN/pg_ctl" start -s -w -t 120 -D "$PG_HOME/cluster" -l "$PG_HOME/log" </dev/null >/dev/null 2>&1 || {
            as_pg tail -n 8 "$PG_HOME/log" >&2
            die "PostgreSQL did not start; the end of its log is above" "see $PG_HOME/log"
        }
        say "PostgreSQL $version started on port $(pg_port); its log is $PG_HOME/log"
    fi
    # Here and not in pg_create, so that the next run completes an interrupted one.
    if [ -z "$(PGDATABASE=postgres pg_psql -Atc "select 1 from pg_database where datname = 'atelier'")" ]; then
        PGDATABASE=postgres pg_psql -c 'create database atelier'
    fi
}

# Stops the private server if there is one and it runs.
pg_stop() {
    if ! pg_find; then
        say "there is no private PostgreSQL here"
        return
    fi
    PG_BIN=$(pg_find_bin "$(as_pg cat "$PG_HOME/cluster/PG_VERSION")") ||
        die "the programs of the PostgreSQL in $PG_HOME are gone" "kill -INT $(as_pg head -n 1 "$PG_HOME/cluster/postmaster.pid")"
    if as_pg "$PG_BIN/pg_ctl" status -D "$PG_HOME/cluster" >/dev/null 2>&1; then
        as_pg "$PG_BIN/pg_ctl" stop -s -w -m fast -D "$PG_HOME/cluster" || die "PostgreSQL in $PG_HOME did not stop" "see $PG_HOME/log"
    fi
    say "PostgreSQL stopped; its data stays in $PG_HOME"
}
