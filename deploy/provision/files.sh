# Shared by scripts/provision and its tests: the settings of a cluster and the files of its hosts. All functions print; only
# make_secrets changes a host: it fills SECRETS.
# shellcheck shell=bash

DEPLOY=$REPO/deploy

# read_settings FILE: sets the names of deploy/settings.example.
read_settings() {
    [ -r "$1" ] || die "no settings in $1" "cp deploy/settings.example $1 and change it, or name another with --settings"
    # What is not set there is as in the example; PACKAGES is where scripts/package leaves them, or beside scripts/.
    PACKAGES=''
    # shellcheck source=deploy/settings.example
    source "$DEPLOY/settings.example"
    # shellcheck disable=SC1090
    source "$1"
    local name
    for name in SUBNET LB APPS DB_PRIMARY DATABASE SECRETS; do
        [ -n "${!name}" ] || die "$name is empty in $1" "deploy/settings.example says what it is for"
    done
    [[ $DATABASE =~ ^[a-z_][a-z0-9_]*$ ]] || die "DATABASE=$DATABASE in $1" "small letters, digits and _ make a name"
    if grep -q $'\r' "$1"; then die "$1 has lines that end as on Windows" "sed -i 's/\r\$//' $1"; fi
    for name in "$LB" $APPS "$DB_PRIMARY" $DB_STANDBYS; do
        is_address "$name" || die "$name in $1 is no IPv4 address" "LB, APPS, DB_PRIMARY and DB_STANDBYS hold addresses"
    done
    name=$(printf '%s\n' "$DB_PRIMARY" $DB_STANDBYS | sort | uniq -d)
    [ -z "$name" ] || die "${name//$'\n'/ } is named twice in DB_PRIMARY and DB_STANDBYS in $1" "a host is one or the other"
    # It goes into pg_hba.conf: a slip would let in everybody, or end PostgreSQL.
    if ! [[ $SUBNET =~ ^[0-9.]+/([89]|[12][0-9]|3[0-2])$ ]] || ! is_address "${SUBNET%/*}"; then
        die "SUBNET=$SUBNET in $1 is no subnet" "one, as 10.0.1.0/24; it may hold several smaller ones"
    fi
    [[ $CACHE =~ ^(on|off)$ ]] || die "CACHE=$CACHE in $1" "on or off"
    [[ $DB_MEMORY_MB =~ ^([1-9][0-9]*)?$ ]] || die "DB_MEMORY_MB=$DB_MEMORY_MB in $1" "a number of MB, as 8192, or nothing for all there is"
    for name in CACHE_MB CLIENT_RATE CLIENT_BURST; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "$name=${!name} in $1" "a number, as in deploy/settings.example"
    done
    [ "${TLS_CERTIFICATE:+1}" = "${TLS_KEY:+1}" ] || die "one of TLS_CERTIFICATE and TLS_KEY is empty in $1" "set both, or none"
    [[ $CACHE_CONTROL != *[\"\\[:cntrl:]]* ]] || die "CACHE_CONTROL=$CACHE_CONTROL in $1" "the value of the header, without \", \\ or a line break"
    if [ -z "$PACKAGES" ]; then
        PACKAGES=$REPO/packages
        if [ -d "$REPO/target/debian" ]; then PACKAGES=$REPO/target/debian; fi
    fi
}

is_address() {
    local part parts
    [[ $1 =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]] || return 1
    IFS=. read -ra parts <<<"$1"
    for part in "${parts[@]}"; do [ "$part" -le 255 ] || return 1; done
}

# render FILE: the template with @NAME@ replaced by the variable NAME, which may have several lines. ShellCheck does not see
# that it reads them: hence SC2034 where they are set.
render() {
    local text name
    text=$(cat "$DEPLOY/$1")
    while [[ $text =~ @([A-Z_]+)@ ]]; do
        name=${BASH_REMATCH[1]}
        [ -n "${!name+set}" ] || die "nothing sets $name, which $DEPLOY/$1 wants"
        text=${text//"@$name@"/"${!name}"}
    done
    printf '%s\n' "$text"
}

# --- passwords and certificates -------------------------------------------------------------------------
#
#   SECRETS/load.password server.password replication.password     of the roles atelier_load, …
#   SECRETS/ca.crt ca.key                                          the authority of the cluster
#   SECRETS/ADDRESS.crt ADDRESS.key                                of each host with a database or a server

# need_secrets NAME…: before anything is changed. Behind a pipe or in a string, one that is missing would end as an empty file
# or an empty password.
need_secrets() {
    local name
    for name in "$@"; do
        [ -s "$SECRETS/$name" ] || die "$SECRETS/$name is not there" \
            "scripts/provision secrets makes it on one host; copy it from there to this one, readable by root alone"
        [[ $name != *.password || $(secret "$name") != *[[:cntrl:]]* ]] || die "$SECRETS/$name is more than one line" \
            "a password is one line, which ends as on Unix"
    done
}

# secret NAME: prints it.
secret() { cat "$SECRETS/$1"; }

# The name that a certificate holds beside the address: libpq before 15 finds no address in one.
host_name() { printf 'db-%s\n' "${1//./-}"; }

# The name that the certificates of all servers hold: nginx asks all hosts behind it for the same one.
SERVER_NAME=atelier-server

# quietly COMMAND…: its words are printed if it fails.
quietly() {
    local said
    said=$("$@" 2>&1) || die "$1 $2 failed: $said" "see whether what is in $SECRETS is as it was made, and whether there is room"
}

# make_certificate ADDRESS NAME…: of a host, signed by the authority of the cluster. Both files or none.
make_certificate() {
    local address=$1 names
    shift
    names=$(printf 'DNS:%s,' "$@")
    [ -s "$SECRETS/ca.key" ] || die "$SECRETS/ca.key is not there, to sign a certificate for $address" \
        "copy it from where the secrets were made, or make the certificate there"
    quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$SECRETS/.new.key" -out "$SECRETS/.new.csr"
    printf 'subjectAltName=%sIP:%s\nextendedKeyUsage=serverAuth\n' "$names" "$address" >"$SECRETS/.new.ext"
    quietly openssl x509 -req -in "$SECRETS/.new.csr" -CA "$SECRETS/ca.crt" -CAkey "$SECRETS/ca.key" -CAcreateserial -days 3650 \
        -extfile "$SECRETS/.new.ext" -out "$SECRETS/.new.crt"
    mv "$SECRETS/.new.key" "$SECRETS/$address.key"
    mv "$SECRETS/.new.crt" "$SECRETS/$address.crt"
    rm -f "$SECRETS"/.new.*
}

make_secrets() {
    local name names address made=()
    need openssl openssl
    umask 077
    mkdir -p "$SECRETS"
    for name in load server replication; do
        if [ ! -s "$SECRETS/$name.password" ]; then
            openssl rand -hex 24 >"$SECRETS/$name.password"
            made+=("$name.password")
        fi
    done
    if [ ! -s "$SECRETS/ca.crt" ]; then
        ! compgen -G "$SECRETS/*.*.*.*.crt" >/dev/null || die "$SECRETS holds certificates of hosts, and no ca.crt of who signed them" \
            "bring ca.crt and ca.key back; or remove all .crt and .key there, and give every host the new ones"
        quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=Atelier Catalogue' \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
            -keyout "$SECRETS/ca.key" -out "$SECRETS/.new.ca"
        mv "$SECRETS/.new.ca" "$SECRETS/ca.crt"
        made+=(ca.crt ca.key)
    fi
    for address in $DB_PRIMARY $DB_STANDBYS $APPS; do
        if [ -s "$SECRETS/$address.crt" ]; then continue; fi
        names=()
        case " $DB_PRIMARY $DB_STANDBYS " in *" $address "*) names+=("$(host_name "$address")") ;; esac
        case " $APPS " in *" $address "*) names+=("$SERVER_NAME") ;; esac
        make_certificate "$address" "${names[@]}"
        made+=("$address.crt" "$address.key")
    done
    if [ ${#made[@]} -gt 0 ]; then say "made in $SECRETS: ${made[*]}"; fi
}

# pgpass ROLE: the password file of load, server or replication, for whatever host they find the database at.
pgpass() { printf '*:*:*:atelier_%s:%s\n' "$1" "$(secret "$1.password" | sed 's/[\\:]/\\&/g')"; }

# --- PostgreSQL -----------------------------------------------------------------------------------------

as_postgres() { (cd / && HOME=/var/lib/postgresql exec setpriv --reuid postgres --regid postgres --init-groups -- "$@"); }

# shellcheck disable=SC2034 # read by render
postgresql_conf() {
    local memory disk SENDERS SLOT_WAL_MB MAX_WAL_MB SHARED_BUFFERS_MB CACHE_SIZE_MB MAINTENANCE_MB WAL_COMPRESSION
    # Not to the MB: another kernel leaves a little more or less, which is no reason to start PostgreSQL anew.
    memory=${DB_MEMORY_MB:-$(($(memory_mb) / 256 * 256))}
    # Each standby takes one, and one more while it is copied. Not another number for each: a standby that has fewer than its
    # primary stops following it.
    SENDERS=$(clamp $((2 * $(wc -w <<<"$DB_STANDBYS") + 2)) 10 1000)
    # All of the disk, not what is free: else the settings would change with every load.
    disk=$(df -Pm /var/lib/postgresql | awk 'NR == 2 { print $2 }')
    SLOT_WAL_MB=$((disk / 8)) MAX_WAL_MB=$(clamp $((disk / 8)) 1024 8192)
    SHARED_BUFFERS_MB=$(clamp $((memory / 4)) 64 16384) CACHE_SIZE_MB=$(clamp $((memory / 2)) 64 262144)
    MAINTENANCE_MB=$(clamp $((memory / 16)) 64 1024)
    # lz4 came with 15. A load took 33 and 37 s with it, 44 s with none, 54 s with the compression of before.
    WAL_COMPRESSION=off
    if [ "$("$PG_BIN/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')" -ge 15 ]; then WAL_COMPRESSION=lz4; fi
    render postgresql/atelier.conf
}

# shellcheck disable=SC2034 # read by render
pg_hba_conf() {
    local REPLICATION='' address
    # The primary too: it may be a standby one day, when another host has taken its place.
    for address in $DB_STANDBYS $DB_PRIMARY; do
        REPLICATION+=$(printf 'hostssl  %-11s  %-19s  %-18s  scram-sha-256' replication atelier_replication "$address/32")$'\n'
    done
    REPLICATION=${REPLICATION%$'\n'}
    render postgresql/pg_hba.conf
}

# What psql runs on the primary. Passwords come by standard input: arguments of a process are for everyone to see.
roles_sql() {
    local role
    printf '\\set database %s\n' "$DATABASE"
    for role in load server replication; do
        printf "\\\\set %s '%s'\n" "$role" "$(secret "$role.password" | sed "s/'/''/g; s/\\\\/&&/g")"
    done
    cat "$DEPLOY/postgresql/roles.sql"
}

# slot_of ADDRESS: where the primary keeps the log for this standby.
slot_of() { printf 'standby_%s\n' "${1//./_}"; }

primary_conninfo() {
    printf 'host=%s hostaddr=%s user=atelier_replication passfile=/etc/atelier/replication.pgpass %s' \
        "$(host_name "$DB_PRIMARY")" "$DB_PRIMARY" \
        'sslmode=verify-full sslrootcert=/etc/atelier/ca.crt connect_timeout=5 keepalives_idle=10 keepalives_interval=5'
}

# standby_conf ADDRESS
standby_conf() {
    printf "# Written by scripts/provision. Changes here are lost.\nprimary_conninfo = '%s'\nprimary_slot_name = '%s'\n" \
        "$(primary_conninfo)" "$(slot_of "$1")"
}

# --- the two programs -----------------------------------------------------------------------------------

load_env() {
    printf '# Written by scripts/provision. Changes here are lost.\n'
    printf 'DATABASE_URL="host=%s dbname=%s user=atelier_load sslmode=verify-full sslrootcert=/etc/atelier/ca.crt"\n' \
        "$DB_PRIMARY" "$DATABASE"
}

# server_env ADDRESS: each application host has another standby first, and the primary comes last.
server_env() {
    local hosts=() turn=0 app
    read -ra hosts <<<"$DB_STANDBYS"
    for app in $APPS; do
        if [ "$app" = "$1" ]; then break; fi
        turn=$((turn + 1))
    done
    if [ ${#hosts[@]} -gt 0 ]; then
        turn=$((turn % ${#hosts[@]}))
        hosts=("${hosts[@]:turn}" "${hosts[@]:0:turn}")
    fi
    hosts+=("$DB_PRIMARY")
    printf '# Written by scripts/provision. Changes here are lost.\n'
    printf 'DATABASE_URL="host=%s dbname=%s user=atelier_server sslmode=verify-full sslrootcert=/etc/atelier/ca.crt connect_timeout=2"\n' \
        "$(IFS=, && printf '%s' "${hosts[*]}")" "$DATABASE"
    printf 'ATELIER_LISTEN=%s:3000\nATELIER_LOG_FORMAT=json\n' "$1"
    if [ "$CACHE_CONTROL" ]; then printf 'ATELIER_CACHE_CONTROL="%s"\n' "$CACHE_CONTROL"; fi
}

# --- nginx ----------------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # read by render
nginx_conf() {
    local UPSTREAMS='' UPSTREAMS_AGAIN='' PROXY_CACHE='' PROXY_CACHE_PATH='' TLS='' CERTIFICATE_DIGEST LOG=/var/log/atelier/nginx.log address
    for address in $APPS; do
        # Left alone for a second after three failures in one, then tried again.
        UPSTREAMS+="        server $address:3000 max_fails=3 fail_timeout=1s;"$'\n'
        UPSTREAMS_AGAIN+="        server $address:3000 max_fails=0;"$'\n'
    done
    UPSTREAMS=${UPSTREAMS%$'\n'} UPSTREAMS_AGAIN=${UPSTREAMS_AGAIN%$'\n'}
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
