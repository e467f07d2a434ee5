# The hosts of scripts/cluster: image, network, booting, and loading a catalogue.
#
#   data/cluster/image/       the distribution with the packages of all roles
#   data/cluster/hosts/HOST/  what a host has changed; root/ is an overlay of that over the image
#   data/cluster/bundle/      the bundle of scripts/package, unpacked: /opt/atelier on the hosts
#   data/cluster/catalogue/   a and b, two catalogues of `products` products; `loaded` names the published one
#   data/cluster/settings     of the hosts; secrets/ and the number of standbys beside it
# shellcheck shell=bash

CLUSTER=$DATA/cluster
NETWORK=atelier-cluster

# address HOST. What is before the number is the host's role.
address() {
    case $1 in
    lb) printf 10.77.0.10 ;;
    app?) printf '10.77.0.1%s' "${1#app}" ;;
    db?) printf '10.77.0.2%s' "${1#db}" ;;
    esac
}
# set_hosts STANDBYS: sets HOSTS, in the order in which they depend on each other.
set_hosts() {
    STANDBYS=$(seq -f db%g -s ' ' 2 $(($1 + 1)))
    HOSTS="db1 $STANDBYS app1 app2 lb"
}
set_hosts "$(cat "$CLUSTER/standbys" 2>/dev/null || echo 1)"

# leader HOST: the process id of the host's first process, which is the only child of systemd-nspawn; fails if it is down.
leader() {
    local pid
    pid=$(cat "$CLUSTER/hosts/$1/pid" 2>/dev/null) && pid=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) && [ -n "$pid" ] &&
        printf '%s\n' "${pid%% *}"
}

# on HOST COMMAND…: runs a command on a host; on client, a command of this machine in the network of the hosts.
on() {
    local host=$1 pid
    shift
    if [ "$host" = client ]; then
        nsenter --net="/run/netns/$NETWORK" "$@"
        return
    fi
    pid=$(leader "$host") || die "$host is down" "scripts/cluster up"
    nsenter -t "$pid" -m -u -i -n -p -r -w -- env -i PATH=/usr/sbin:/usr/bin HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 "$@"
}

# The image has all packages because the hosts reach no mirror.
make_cluster_image() {
    local image=$CLUSTER/image role
    if [ ! -e "$image/complete" ]; then
        make_image "$image" systemd systemd-sysv dbus iproute2 ca-certificates
        systemctl --root="$image" --quiet enable systemd-networkd
        systemctl --root="$image" --quiet mask console-getty.service apt-daily.timer apt-daily-upgrade.timer
        touch "$image/complete"
    fi
    cp /etc/resolv.conf "$image/etc/resolv.conf"
    # shellcheck disable=SC2034 # for in_image
    BINDS=("$CLUSTER/bundle:/opt/atelier")
    for role in db app lb; do in_image "$image" /opt/atelier/scripts/provision --packages "$role"; done
    rm -f "$image/etc/resolv.conf"
    systemctl --root="$image" --quiet disable nginx # on the load balancer, scripts/provision enables it
}

# A bridge in a network namespace of its own, without a route to other networks. The client is in the namespace.
make_network() {
    ip netns add "$NETWORK"
    ip -n "$NETWORK" link set lo up
    ip -n "$NETWORK" link add hosts type bridge
    ip -n "$NETWORK" addr add 10.77.0.2/24 dev hosts
    ip -n "$NETWORK" link set hosts up
}

# boot HOST: starts it, and waits until it is up. Nobody reads its console: with much on it, its systemd would block.
boot() {
    local host=$1 home=$CLUSTER/hosts/$1 limit=$((SECONDS + 60)) cgroup=/sys/fs/cgroup
    if leader "$host" >/dev/null; then return; fi
    overlay "$home" "$CLUSTER/image"
    rm -f "$home/root/usr/sbin/policy-rc.d"
    mkdir -p "$home/root/etc/atelier"
    printf '%s\n' "$host" >"$home/root/etc/hostname"
    printf '127.0.0.1 localhost\n%s %s\n' "$(address "$host")" "$host" >"$home/root/etc/hosts"
    printf '[Match]\nName=host0\n[Network]\nAddress=%s/24\n' "$(address "$host")" >"$home/root/etc/systemd/network/10-host0.network"
    # A cgroup of its own: in one that hosts share, each would remove the services of the others.
    if [ -d "$cgroup/systemd" ]; then cgroup+=/systemd; fi
    mkdir -p "$cgroup/atelier-$host"
    sh -c 'echo $$ >"$0" && exec "$@"' "$cgroup/atelier-$host/cgroup.procs" \
        setsid nsenter --net="/run/netns/$NETWORK" systemd-nspawn --quiet --directory="$home/root" --machine="atelier-$host" --boot \
        --register=no --keep-unit --network-bridge=hosts --resolv-conf=off --timezone=off --link-journal=no \
        --capability=CAP_SYS_RESOURCE --console=passive --bind-ro="$CLUSTER/bundle:/opt/atelier" \
        --bind-ro="$CLUSTER/settings:/etc/atelier/settings" --bind-ro="$CLUSTER/secrets:/etc/atelier/secrets" \
        -- --show-status=no </dev/null >"$home/console" 2>&1 &
    printf '%s\n' $! >"$home/pid"
    until leader "$host" >/dev/null && [[ $(on "$host" systemctl is-system-running 2>/dev/null) =~ running|degraded ]]; do
        [ "$SECONDS" -lt "$limit" ] || die "$host is not up after a minute: $(tail -n 5 "$home/console")"
        sleep 0.1
    done
}

# cut_power HOST: ends all its processes at the same moment.
cut_power() {
    local pid
    pid=$(leader "$1") || return 0
    kill -KILL "$pid"
    while [ -d "/proc/$(cat "$CLUSTER/hosts/$1/pid")" ]; do sleep 0.05; done
}

# The id of the published load; nothing if there is none.
published() { on db1 runuser -u postgres -- psql -XAt -d atelier -c 'select load_id from atelier.load' 2>/dev/null || true; }

# load_catalogue a|b: as an operator does it, and waits until it is published.
load_catalogue() {
    local before
    before=$(published)
    cp "$CLUSTER/catalogue/$1"/*.csv "$CLUSTER/hosts/db1/root/var/lib/atelier/incoming"
    on db1 touch /var/lib/atelier/incoming/complete
    while [ "$(published)" = "$before" ]; do
        ! on db1 systemctl is-failed -q atelier-load || die "the load failed: $(on db1 journalctl -u atelier-load -n 20 --no-pager)"
        sleep 0.05
    done
    printf '%s\n' "$1" >"$CLUSTER/loaded"
}

write_settings() {
    mkdir -p "$CLUSTER/secrets"
    # Characters that have to be quoted in SQL and in password files.
    printf '%s\n' ":p's\\s :w" >"$CLUSTER/secrets/server.password"
    cat >"$CLUSTER/settings" <<SETTINGS
SUBNET=10.77.0.0/24
LB=$(address lb)
APPS="$(address app1) $(address app2)"
DB_PRIMARY=$(address db1)
DB_STANDBYS="$(for host in $STANDBYS; do printf '%s ' "$(address "$host")"; done)"
DB_MEMORY_MB=$(clamp $(($(memory_mb) / 4)) 512 8192)
CLIENT_RATE=100000
CLIENT_BURST=10000
CACHE_CONTROL="public, max-age=5, stale-while-revalidate=600, stale-if-error=86400"
SETTINGS
    { cat "$CLUSTER/settings" && printf 'SECRETS=%s\n' "$CLUSTER/secrets"; } >"$CLUSTER/settings.here"
    scripts/provision --settings "$CLUSTER/settings.here" secrets
}

# cluster_up PRODUCTS STANDBYS
cluster_up() {
    local products=$1 host name
    if leader db1 >/dev/null && [ "$2" -ne "$(wc -w <<<"$STANDBYS")" ]; then
        die "a cluster with another number of standbys is up: $STANDBYS" "scripts/cluster down, then run this again"
    fi
    set_hosts "$2"
    need ip iproute2
    need systemd-nspawn systemd-container
    mkdir -p "$CLUSTER/bundle/data"
    printf '%s\n' "$2" >"$CLUSTER/standbys"
    scripts/package >/dev/null
    rm -rf "$CLUSTER/bundle/packages"
    tar -xzf "${CARGO_TARGET_DIR:-target}"/debian/atelier-provision_*.tar.gz -C "$CLUSTER/bundle"
    leader db1 >/dev/null || make_cluster_image
    [ -e "/run/netns/$NETWORK" ] || make_network
    write_settings
    if [ "$(cat "$CLUSTER/products" 2>/dev/null)" != "$products" ]; then
        rm -rf "$CLUSTER/catalogue" "$CLUSTER/loaded"
        for name in a b; do
            "$ETL" generate --out "$CLUSTER/catalogue/$name" --products "$products" --seed $((0x$name)) --defects legacy >&2
        done
        printf '%s\n' "$products" >"$CLUSTER/products"
    fi
    for host in $HOSTS; do
        step "$host, $(address "$host")"
        boot "$host"
        if [ "$host" = app1 ] && { [ ! -e "$CLUSTER/loaded" ] || [ -z "$(published)" ]; }; then
            step "Loading $products products: six files to db1:/var/lib/atelier/incoming, then the marker"
            load_catalogue a
        fi
        on "$host" /opt/atelier/scripts/provision "${host%[0-9]}"
    done
    say "up after $SECONDS s: scripts/cluster on client curl -i http://$(address lb)/products/1"
}

cluster_status() {
    local host
    for host in $HOSTS; do
        printf '%-5s %-11s %s\n' "$host" "$(address "$host")" \
            "$(if leader "$host" >/dev/null; then on "$host" systemctl is-system-running || true; else echo down; fi)"
    done
}

cluster_down() {
    local host
    for host in $HOSTS; do
        cut_power "$host"
        if mountpoint -q "$CLUSTER/hosts/$host/root"; then umount "$CLUSTER/hosts/$host/root"; fi
        rm -rf "$CLUSTER/hosts/$host"
    done
    if [ -e "/run/netns/$NETWORK" ]; then ip netns del "$NETWORK"; fi
}
