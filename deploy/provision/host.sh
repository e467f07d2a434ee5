# Shared by scripts/provision and its tests: changing files of a host, and restarting the affected units.
# shellcheck shell=bash

# Whoever sources this sets them: the file of settings, and one for the words of a command that may fail.
settings='' log=''

# alone: a second one, of whoever logs in while the first start of the host goes on, would remove what this one copies.
alone() {
    exec 9>/run/lock/atelier-provision
    flock -n 9 || die "scripts/provision runs on this host already" "wait until it has ended"
}

# Is there while something was changed that no running program knows of: over an interruption too, until a run for the same role
# comes to its end, or the host is started anew.
CHANGED=/run/atelier-provision.changed # with .unit behind it: a file of systemd's was

# changed WHAT: says so, and remembers it. Called before it is done, lest an interruption come between.
changed() {
    touch "$CHANGED"
    say "$1"
}

# put MODE OWNER:GROUP PATH COMMAND…: what the command prints becomes the file, if it is not so already. Never half a file,
# never one that others can read for a moment, and none if the command fails.
new='' # at the side of the file, until it is whole
put() {
    local mode=$1 owner=$2 path=$3
    shift 3
    install -d "${path%/*}"
    new=$(mktemp "${path%/*}/.new.XXXXXX")
    "$@" >"$new"
    chown "$owner" "$new"
    chmod "$mode" "$new"
    if cmp -s "$new" "$path" && [ "$(stat -c '%a %U:%G' "$path")" = "$(stat -c '%a %U:%G' "$new")" ]; then
        rm -f "$new"
    else
        changed "wrote $path"
        case $path in /etc/systemd/*) touch "$CHANGED.unit" ;; esac
        mv "$new" "$path"
    fi
}

# installed PACKAGE…: installs those that are missing.
installed() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt_install "${missing[@]}"
        touch "$CHANGED"
    fi
}

# our_package NAME: installs our own package from PACKAGES, unless just this one is installed. It starts its service anew by
# itself, with the settings that are there.
our_package() {
    local file digest kept=/var/lib/atelier-provision/$1.sha256
    file=$(find "$PACKAGES" -maxdepth 1 -name "$1_*_$(dpkg --print-architecture).deb" 2>/dev/null | sort -V | tail -n 1)
    [ -n "$file" ] || die "no package $1 in $PACKAGES" "scripts/package makes it; PACKAGES in $settings says where it is"
    digest=$(sha256sum <"$file")
    if [ "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null)" = "installed $(dpkg-deb -f "$file" Version)" ] &&
        [ "$(cat "$kept" 2>/dev/null)" = "$digest" ]; then
        return
    fi
    # The settings of /etc/atelier are ours to write.
    apt-get install -y -qq --no-install-recommends --allow-downgrades --reinstall -o Dpkg::Options::=--force-confold \
        -o DPkg::Lock::Timeout=300 \
        "$(realpath "$file")" >/dev/null 2>"$log" || { cat "$log" >&2 && die "$file could not be installed"; }
    install -d "${kept%/*}"
    printf '%s\n' "$digest" >"$kept"
    say "installed ${file##*/}"
}

# running UNIT [reload]: enabled and running, with the settings of now.
running() {
    local unit=$1 how=${2:-restart} did=''
    if [ -e "$CHANGED.unit" ]; then
        systemctl daemon-reload
        how=restart # limits, say, are those of its start
    fi
    systemctl is-enabled -q "$unit" 2>/dev/null || systemctl enable -q "$unit"
    if ! systemctl is-active -q "$unit"; then
        did=started
        # It may be about to start, with the settings of before.
        if [ -e "$CHANGED" ]; then how=restart; else how=start; fi
    elif [ ! -e "$CHANGED" ]; then
        return
    fi
    if systemctl "$how" "$unit" 2>"$log"; then
        say "${did:-${how}ed} $unit"
    elif [ "$(systemctl show -P ActiveState "$unit")" = activating ]; then
        # A server without a catalogue, say: whoever makes the hosts need not do so in order.
        say "$unit is not ready; it goes on trying, journalctl -u $unit says why"
    else
        cat "$log" >&2
        die "the $how of $unit failed" "journalctl -u $unit says why"
    fi
}
