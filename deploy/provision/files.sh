# The settings of a cluster, and the files that scripts/provision writes from them. All functions print.
# shellcheck shell=bash disable=SC2034,SC2046,SC2086 # variables are used by render, addresses are split

DEPLOY=$REPO/deploy
SERVER_NAME=atelier-server # in the certificate of every server: nginx expects the same name from all of them

# read_settings FILE: sets the variables of deploy/settings.example.
read_settings() {
    local name twice octet='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'
    local address="$octet(\.$octet){3}"
    [ -r "$1" ] || die "no settings in $1" "cp deploy/settings.example $1 and change it, or name another file with --settings"
    if grep -q $'\r' "$1"; then die "$1 has lines that end as on Windows" "sed -i 's/\r\$//' $1"; fi
    # What the file does not set is as in the example. The packages are where scripts/package or the bundle has them.
    PACKAGES=$REPO/packages
    if [ -d "$REPO/target/debian" ]; then PACKAGES=$REPO/target/debian; fi
    # shellcheck source=deploy/settings.example
    source "$DEPLOY/settings.example"
    # shellcheck disable=SC1090
    source "$1"
    # SUBNET goes into pg_hba.conf, where a mistake could let everybody in.
    check_setting "$1" SUBNET "^$address/([89]|[12][0-9]|3[0-2])$" "one subnet, such as 10.0.1.0/24; it may contain several smaller ones"
    for name in LB DB_PRIMARY; do check_setting "$1" "$name" "^$address$" "an IPv4 address"; done
    check_setting "$1" APPS "^ *($address( +|$))+$" "IPv4 addresses, separated by spaces"
    check_setting "$1" DB_STANDBYS "^ *($address( +|$))*$" "IPv4 addresses, separated by spaces, or nothing"
    twice=$(printf '%s\n' "$DB_PRIMARY" $DB_STANDBYS | sort | uniq -d)
    [ -z "$twice" ] || die "${twice//$'\n'/ } is more than once in DB_PRIMARY and DB_STANDBYS of $1" "a host is one or the other"
    check_setting "$1" DATABASE '^[a-z_][a-z0-9_]*$' "a name of lower-case letters, digits and _"
    check_setting "$1" SECRETS . "a directory"
    check_setting "$1" DB_MEMORY_MB '^([1-9][0-9]*)?$' "a number of MB, or nothing for all of the host's memory"
    check_setting "$1" CACHE '^(on|off)$' "on or off"
    for name in CACHE_MB CLIENT_RATE CLIENT_BURST; do check_setting "$1" "$name" '^[1-9][0-9]*$' "a number"; done
    [ "${TLS_CERTIFICATE:+set}" = "${TLS_KEY:+set}" ] || die "only one of TLS_CERTIFICATE and TLS_KEY is set in $1" "set both, or none"
    check_setting "$1" CACHE_CONTROL '^[^"\\[:cntrl:]]*$' "the value of the header, without \", \\ or a line break"
}

# check_setting FILE NAME REGEX HINT
check_setting() { [[ ${!2} =~ $3 ]] || die "$2=${!2} in $1 is not valid" "$4"; }

# render FILE: the template in deploy/ with each @NAME@ replaced by the variable NAME, which may have several lines.
render() {
    local text name
    text=$(cat "$DEPLOY/$1")
    while [[ $text =~ @([A-Z_]+)@ ]]; do
        name=${BASH_REMATCH[1]}
        [ -n "${!name+set}" ] || die "$name in $DEPLOY/$1 has no value"
        text=${text//"@$name@"/"${!name}"}
    done
    printf '%s\n' "$text"
}

# pgpass ROLE: the password file of load, server or replication, for any database host.
pgpass() { printf '*:*:*:atelier_%s:%s\n' "$1" "$(sed 's/[\\:]/\\&/g' "$SECRETS/$1.password")"; }

# postgresql_conf MAJOR
postgresql_conf() {
    local memory disk SENDERS SLOT_WAL_MB MAX_WAL_MB SHARED_BUFFERS_MB CACHE_SIZE_MB MAINTENANCE_MB WAL_COMPRESSION=off
    # In steps: a little more or less memory with another kernel is no reason for a restart.
    memory=${DB_MEMORY_MB:-$(($(memory_mb) / 256 * 256))}
    # One for each standby, and one more while it is copied. Rarely another number: a standby with fewer than its primary
    # stops replicating.
    SENDERS=$(clamp $((2 * $(wc -w <<<"$DB_STANDBYS") + 2)) 10 1000)
    # Of the whole disk, not of what is free, which changes with every load.
    disk=$(df -Pm /var/lib/postgresql | awk 'NR == 2 { print $2 }')
    SLOT_WAL_MB=$((disk / 8)) MAX_WAL_MB=$(clamp $((disk / 8)) 1024 8192)
    SHARED_BUFFERS_MB=$(clamp $((memory / 4)) 64 16384) CACHE_SIZE_MB=$(clamp $((memory / 2)) 64 262144)
    MAINTENANCE_MB=$(clamp $((memory / 16)) 64 1024)
    if [ "$1" -ge 15 ]; then WAL_COMPRESSION=lz4; fi
    render postgresql/atelier.conf
}

pg_hba_conf() {
    local REPLICATION
    # The primary too: it may become a standby when another host is promoted.
    REPLICATION=$(printf 'hostssl  replication  atelier_replication  %-18s  scram-sha-256\n' $(printf '%s/32 ' $DB_STANDBYS $DB_PRIMARY))
    render postgresql/pg_hba.conf
}

# For psql on the primary. Passwords go through standard input: all users can read the arguments of a process.
roles_sql() {
    local role
    printf '\\set database %s\n' "$DATABASE"
    for role in load server replication; do
        printf "\\\\set %s '%s'\n" "$role" "$(sed "s/'/''/g; s/\\\\/&&/g" "$SECRETS/$role.password")"
    done
    cat "$DEPLOY/postgresql/roles.sql"
}

# The name in a database's certificate beside its address: libpq before 15 verifies names only.
host_name() { printf 'db-%s\n' "${1//./-}"; }

# slot_of ADDRESS: the standby's replication slot.
slot_of() { printf 'standby_%s\n' "${1//./_}"; }

primary_conninfo() {
    printf 'host=%s hostaddr=%s user=atelier_replication passfile=/etc/atelier/replication.pgpass %s' \
        "$(host_name "$DB_PRIMARY")" "$DB_PRIMARY" \
        'sslmode=verify-full sslrootcert=/etc/atelier/ca.crt connect_timeout=5 keepalives_idle=10 keepalives_interval=5'
}

# standby_conf ADDRESS
standby_conf() {
    printf '# Written by scripts/provision. Changes here are lost.\n'
    printf "primary_conninfo = '%s'\nprimary_slot_name = '%s'\n" "$(primary_conninfo)" "$(slot_of "$1")"
}

# database_url HOSTS USER [PARAMETER]
database_url() {
    printf '# Written by scripts/provision. Changes here are lost.\n'
    printf 'DATABASE_URL="host=%s dbname=%s user=%s sslmode=verify-full sslrootcert=/etc/atelier/ca.crt%s"\n' \
        "$1" "$DATABASE" "$2" "${3:+ $3}"
}

# server_env ADDRESS: each application host prefers another standby, and uses the primary last.
server_env() {
    local standbys turn
    read -ra standbys <<<"$DB_STANDBYS"
    turn=$(printf '%s\n' $APPS | grep -nxF "$1" | cut -d : -f 1)
    if [ ${#standbys[@]} -gt 0 ]; then
        turn=$(((turn - 1) % ${#standbys[@]}))
        standbys=("${standbys[@]:turn}" "${standbys[@]:0:turn}")
    fi
    database_url "$(printf '%s,' "${standbys[@]}")$DB_PRIMARY" atelier_server connect_timeout=2
    printf 'ATELIER_LISTEN=%s:3000\nATELIER_LOG_FORMAT=json\n' "$1"
    if [ "$CACHE_CONTROL" ]; then printf 'ATELIER_CACHE_CONTROL="%s"\n' "$CACHE_CONTROL"; fi
}

nginx_conf() {
    local UPSTREAMS UPSTREAMS_AGAIN PROXY_CACHE='' PROXY_CACHE_PATH='' TLS='' CERTIFICATE_DIGEST
    # A server that fails three times in a second gets no requests for a second.
    UPSTREAMS=$(printf '        server %s:3000 max_fails=3 fail_timeout=1s;\n' $APPS)
    UPSTREAMS_AGAIN=$(printf '        server %s:3000 max_fails=0;\n' $APPS)
    if [ "$CACHE" = on ]; then
        PROXY_CACHE_PATH=$(render nginx/cache-path.conf)
        PROXY_CACHE=$(cat "$DEPLOY/nginx/cache.conf")
    fi
    if [ "$TLS_CERTIFICATE" ]; then
        CERTIFICATE_DIGEST=$(sha256sum <"$TLS_CERTIFICATE" | cut -c 1-16)
        TLS=$(render nginx/tls.conf)
    fi
    render nginx/nginx.conf
}
