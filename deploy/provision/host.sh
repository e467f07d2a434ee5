# Changing a host: files, packages, units. `scratch` is a temporary directory of the caller.
# shellcheck shell=bash disable=SC2154

# put MODE OWNER:GROUP FILE COMMAND…: writes the command's output to FILE if that differs, and adds FILE to WRITTEN. A secret
# is readable by nobody else at any time, and a command that fails changes nothing.
WRITTEN=()
put() {
    local mode=$1 owner=$2 file=$3
    shift 3
    "$@" >"$scratch/file"
    WRITTEN+=("$file")
    [ -z "$(install -CDv -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$scratch/file" "$file")" ] || say "wrote $file"
}

# installed PACKAGE…: installs them unless all are there.
installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status} ' "$@" 2>/dev/null)" = "$(printf 'installed %.0s' "$@")" ] || apt_install "$@"
}

# our_package NAME: installs it from PACKAGES, unless that very file is installed. It restarts its service itself.
our_package() {
    local file installed_file=/var/lib/atelier-provision/$1.sha256
    file=$(compgen -G "$PACKAGES/$1_*_$(dpkg --print-architecture).deb" | sort -V | tail -n 1) ||
        die "no package $1 in $PACKAGES" "scripts/package builds it"
    if [ "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null)" = "installed $(dpkg-deb -f "$file" Version)" ] &&
        cmp -s <(sha256sum <"$file") "$installed_file"; then return; fi
    # The conffiles in /etc/atelier are written by scripts/provision.
    quietly "apt-get could not install $file" "dpkg --configure -a, then run this again" apt-get install -y \
        --no-install-recommends --allow-downgrades --reinstall -o Dpkg::Options::=--force-confold \
        -o DPkg::Lock::Timeout=300 "$(realpath "$file")"
    install -D /dev/null "$installed_file"
    sha256sum <"$file" >"$installed_file"
    say "installed ${file##*/}"
}

# running UNIT restart|reload FILE…: enables and starts the unit. Restarts or reloads it if a file is newer than its last
# start or reload, also in a run before this one that was interrupted.
running() {
    local unit=$1 how=$2 since=InactiveExitTimestamp
    shift 2
    if [ "$how" = reload ]; then since=StateChangeTimestamp; fi
    since=$(TZ=UTC systemctl show --timestamp=us -P "$since" "$unit")
    systemctl is-enabled -q "$unit" 2>/dev/null || systemctl enable -q "$unit"
    if ! systemctl is-active -q "$unit"; then
        how=restart # with new settings, should it be starting already
    elif [ -z "$(find "$@" -newermt "$since")" ]; then
        return
    fi
    systemctl daemon-reload # a file may be a drop-in; NeedDaemonReload does not notice a new directory
    if systemctl "$how" "$unit" 2>"$scratch/log"; then
        say "${how}ed $unit"
    elif [ "$(systemctl show -P ActiveState "$unit")" = activating ]; then
        # Such as a server without a catalogue: hosts may be set up in any order.
        say "$unit is not ready and keeps trying; journalctl -u $unit shows why"
    else
        cat "$scratch/log" >&2
        die "systemctl $how $unit failed" "journalctl -u $unit shows why"
    fi
}
