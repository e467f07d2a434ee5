# The hosts of scripts/cluster: images, network, booting, and what is on each.
#
#   data/cluster/base/            the distribution, by debootstrap
#   data/cluster/layers/ROLE/     what `scripts/provision --packages ROLE` adds to it
#   data/cluster/hosts/HOST/      what a host has written on top of both; root/ is the overlay of all three
#   data/cluster/settings         of the cluster, secrets/ and the number of standbys beside it
# shellcheck shell=bash

CLUSTER=$DATA/cluster
MAX_STANDBYS=8

# cluster_hosts STANDBYS: who there is, and where. Sets HOSTS, in the order in which they need one another, STANDBYS, their
# names, and ADDRESS and ROLE of each.
declare -A ADDRESS ROLE
cluster_hosts() {
    local number
    ADDRESS=([lb]=10.77.0.10 [app1]=10.77.0.11 [app2]=10.77.0.12 [db1]=10.77.0.21 [client]=10.77.0.2)
    ROLE=([lb]=lb [app1]=app [app2]=app [db1]=db)
    STANDBYS=''
    for ((number = 2; number <= $1 + 1; number++)); do
        ADDRESS[db$number]=10.77.0.$((20 + number)) ROLE[db$number]=db
        STANDBYS+=" db$number"
    done
    HOSTS="db1$STANDBYS app1 app2 lb"
}
# As many as `scripts/cluster up` was told last.
cluster_hosts "$(cat "$CLUSTER/standbys" 2>/dev/null || echo 1)"

namespace() { printf 'atelier-%s\n' "$1"; }

# --- images ---------------------------------------------------------------------------------------------

make_base() {
    local timer
    if [ -e "$CLUSTER/base/complete" ]; then return; fi
    make_image "$CLUSTER/base" systemd systemd-sysv dbus iproute2 ca-certificates
    # Network, clock and console are the machine's.
    rm -f "$CLUSTER"/base/etc/systemd/system/*.wants/systemd-{networkd,resolved,timesyncd}.service "$CLUSTER/base/etc/resolv.conf"
    ln -sf /dev/null "$CLUSTER/base/etc/systemd/system/console-getty.service"
    for timer in apt-daily apt-daily-upgrade e2scrub_all fstrim dpkg-db-backup; do
        ln -sf /dev/null "$CLUSTER/base/etc/systemd/system/$timer.timer"
    done
    touch "$CLUSTER/base/complete"
}

# make_layer ROLE: what the role takes from the network. Made anew when a script that says what that is has changed.
make_layer() {
    local layer=$CLUSTER/layers/$1 host made_by
    made_by=$(cat scripts/provision deploy/provision/*.sh scripts/lib/common.sh | sha256sum)
    if [ "$(cat "$layer/made_by" 2>/dev/null)" = "$made_by" ]; then return; fi
    for host in $HOSTS; do
        [ "${ROLE[$host]}" != "$1" ] || ! mountpoint -q "$CLUSTER/hosts/$host/root" ||
            die "scripts/provision has changed, and $host is made of the image of before" "scripts/cluster down, then run this again"
    done
    step "Making the image of role $1 (scripts/provision --packages $1)"
    rm -rf "$layer"
    overlay "$layer" "$CLUSTER/base"
    cp /etc/resolv.conf "$layer/root/etc/resolv.conf"
    # shellcheck disable=SC2034 # for in_image
    BINDS=("$REPO:/opt/atelier")
    in_image "$layer/root" /opt/atelier/scripts/provision --packages "$1"
    rm -f "$layer/root/etc/resolv.conf" "$layer/root/usr/sbin/policy-rc.d"
    umount "$layer/root"
    printf '%s\n' "$made_by" >"$layer/made_by"
}

make_images() {
    local role
    make_base
    for role in db app lb; do make_layer "$role"; done
}

# --- network --------------------------------------------------------------------------------------------

# A switch and a cable to each host, all in namespaces: no route leads out of them.
make_network() {
    local host space
    if ip netns list | grep -qw "$(namespace switch)"; then return; fi
    ip netns add "$(namespace switch)"
    ip -n "$(namespace switch)" link add switch type bridge
    ip -n "$(namespace switch)" link set switch up
    for host in $HOSTS client; do
        space=$(namespace "$host")
        ip netns add "$space"
        ip -n "$(namespace switch)" link add "$host" type veth peer name eth0 netns "$space"
        ip -n "$(namespace switch)" link set "$host" master switch up
        ip -n "$space" link set lo up
        ip -n "$space" addr add "${ADDRESS[$host]}/24" dev eth0
        ip -n "$space" link set eth0 up
        # Every request may be a connection of its own.
        ip netns exec "$space" sysctl -qw net.ipv4.ip_local_port_range='1024 65000' net.ipv4.tcp_tw_reuse=1 net.core.somaxconn=4096
    done
}

# --- hosts ----------------------------------------------------------------------------------------------

# leader HOST: process id of the first process on the host; fails if it does not run.
leader() {
    local pid
    pid=$(cat "$CLUSTER/hosts/$1/pid" 2>/dev/null) && [ -n "$pid" ] && [ -d "/proc/$pid" ] || return 1
    # Of systemd-nspawn's only child, which is the host's first process.
    pid=$(awk '{ print $1 }' "/proc/$pid/task/$pid/children" 2>/dev/null) && [ -n "$pid" ] && printf '%s\n' "$pid"
}

# on HOST COMMAND…: runs a command on a host that is up.
on() {
    local host=$1 pid
    shift
    if [ "$host" = client ]; then
        ip netns exec "$(namespace client)" "$@"
        return
    fi
    pid=$(leader "$host") || die "$host does not run" "scripts/cluster up"
    nsenter -t "$pid" -m -u -i -n -p -r -w -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 "$@"
}

# boot HOST: switches it on, and waits until it is up.
boot() {
    local host=$1 home=$CLUSTER/hosts/$1 try
    if leader "$host" >/dev/null; then return; fi
    overlay "$home" "$CLUSTER/layers/${ROLE[$host]}/files" "$CLUSTER/base"
    printf '%s\n' "$host" >"$home/root/etc/hostname"
    printf '127.0.0.1 localhost\n%s %s\n' "${ADDRESS[$host]}" "$host" >"$home/root/etc/hosts"
    mkdir -p "$home/root/etc/atelier"
    setsid systemd-nspawn --quiet --directory="$home/root" --machine="$(namespace "$host")" --boot --register=no --keep-unit \
        --network-namespace-path="/run/netns/$(namespace "$host")" --resolv-conf=off --timezone=off --link-journal=no \
        --capability=CAP_SYS_RESOURCE \
        --bind-ro="$REPO:/opt/atelier" --bind-ro="$CLUSTER/settings:/etc/atelier/settings" \
        --bind-ro="$CLUSTER/secrets:/etc/atelier/secrets" --console=passive </dev/null >"$home/console" 2>&1 &
    printf '%s\n' $! >"$home/pid"
    for ((try = 0; try < 600; try++)); do
        if leader "$host" >/dev/null && [[ $(on "$host" systemctl is-system-running 2>/dev/null) =~ running|degraded ]]; then return; fi
        sleep 0.1
    done
    tail -n 5 "$home/console" >&2
    die "$host did not come up within a minute" "see $home/console"
}

# cut HOST: power off, without a word to what runs there.
cut_power() {
    local pid
    if pid=$(leader "$1"); then
        kill -KILL "$pid"
        while [ -d "/proc/$(cat "$CLUSTER/hosts/$1/pid")" ]; do sleep 0.05; done
    fi
}

# app_url HOST: where its server is. The certificate names the address.
app_url() { printf 'https://%s:3000\n' "${ADDRESS[$1]}"; }
# CA: who has signed it. It is read on the client, whose files are the machine's.
CA=$CLUSTER/secrets/ca.crt
# answers HOST: whether its server does.
answers() { on client curl -sf --cacert "$CA" -o /dev/null "$(app_url "$1")/products/1"; }

# provision HOST: makes it what it is to be.
provision() { on "$1" /opt/atelier/scripts/provision "${ROLE[$1]}"; }

cluster_settings() {
    local host addresses=()
    for host in $STANDBYS; do addresses+=("${ADDRESS[$host]}"); done
    mkdir -p "$CLUSTER/secrets"
    cat >"$CLUSTER/settings" <<SETTINGS
SUBNET=10.77.0.0/24
LB=${ADDRESS[lb]}
APPS="${ADDRESS[app1]} ${ADDRESS[app2]}"
DB_PRIMARY=${ADDRESS[db1]}
DB_STANDBYS="${addresses[*]}"
DB_MEMORY_MB=$(clamp $(($(memory_mb) / 4)) 512 8192)
CLIENT_RATE=100000
CLIENT_BURST=10000
CACHE_CONTROL="${CACHE_CONTROL:-public, max-age=5, stale-while-revalidate=600, stale-if-error=86400}"
SETTINGS
    # The loader's and the servers' addresses are those of the host that reads this, the paths too.
    # shellcheck disable=SC2034 # for make_secrets
    (SECRETS=$CLUSTER/secrets DB_PRIMARY=${ADDRESS[db1]} DB_STANDBYS="${addresses[*]}" APPS="${ADDRESS[app1]} ${ADDRESS[app2]}" && make_secrets)
}

# cluster_up PRODUCTS STANDBYS
cluster_up() {
    local products=$1 host images began=$SECONDS
    [ "$2" -le "$MAX_STANDBYS" ] || die "--standbys $2 is more than $MAX_STANDBYS" "pass fewer"
    if [ "$2" -ne "$(wc -w <<<"$STANDBYS")" ] && leader db1 >/dev/null; then
        die "a cluster with another number of standbys is up:$STANDBYS" "scripts/cluster down, then run this again"
    fi
    cluster_hosts "$2"
    step "Looking for what the cluster takes"
    need ip iproute2
    need systemd-nspawn systemd-container
    need openssl openssl
    need_tools
    need debootstrap debootstrap
    mkdir -p "$CLUSTER"
    printf '%s\n' "$2" >"$CLUSTER/standbys"
    # Images wait for the network, and packages for the cores: at the same time, a minute less from nothing.
    make_images &
    images=$!
    if ! scripts/package >/dev/null; then
        wait "$images" || true # what it has begun is whole for the next time
        die "the packages that the hosts install could not be made" "scripts/package says why"
    fi
    wait "$images"
    cluster_settings
    make_network
    if [ "$(cat "$CLUSTER/products" 2>/dev/null)" != "$products" ] || [ ! -e "$CLUSTER/catalogue/b/manifest.json" ]; then
        rm -rf "$CLUSTER/catalogue" "$CLUSTER/loaded"
        "$ETL" generate --out "$CLUSTER/catalogue/a" --products "$products" --seed 1 --defects legacy >&2
        "$ETL" generate --out "$CLUSTER/catalogue/b" --products "$products" --seed 2 --defects legacy >&2
        printf '%s\n' "$products" >"$CLUSTER/products"
    fi
    for host in $HOSTS; do
        step "$host, ${ADDRESS[$host]}"
        boot "$host"
        provision "$host"
        # The last of the databases.
        if [ "$host" = "${STANDBYS##* }" ] && { [ ! -e "$CLUSTER/loaded" ] || [ -z "$(published)" ]; }; then
            step "Loading $products products: six files to db1:/var/lib/atelier/incoming, then the marker"
            load_catalogue a
        fi
    done
    for host in app1 app2; do
        until answers "$host"; do sleep 0.2; done
    done
    say "up after $((SECONDS - began)) s: $LB_URL within, scripts/cluster on client curl -i $LB_URL/products/1"
}

cluster_status() {
    local host
    for host in $HOSTS; do
        if leader "$host" >/dev/null; then
            printf '%-5s %-11s up  %s\n' "$host" "${ADDRESS[$host]}" \
                "$(on "$host" systemctl list-units --plain --no-legend --state=active --type=service,path 'atelier*' 'nginx*' 'postgresql@*' | awk '{ printf "%s ", $1 }')"
        else
            printf '%-5s %-11s down\n' "$host" "${ADDRESS[$host]}"
        fi
    done
}

cluster_down() {
    local host
    for host in lb app1 app2 $STANDBYS db1; do
        cut_power "$host"
        if mountpoint -q "$CLUSTER/hosts/$host/root"; then umount "$CLUSTER/hosts/$host/root"; fi
        rm -rf "$CLUSTER/hosts/$host"
    done
    for host in $HOSTS client switch; do ip netns del "$(namespace "$host")" 2>/dev/null || true; done
}
