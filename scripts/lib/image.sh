# Minimal Debian or Ubuntu systems in directories: for tests/test_fresh.py, tests/test_package.py and scripts/cluster.
# shellcheck shell=bash

# make_image [--release CODENAME] ROOT [PACKAGE…]: makes a system of that release, or of this machine's, with these packages.
# Services are not started when they are installed there later. The output of mmdebstrap is in ROOT.log.
make_image() {
    local release mirror root
    release=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # expanded by apt
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $release" 'Component: main' | sed -n 1p)
    if [ "$1" = --release ]; then
        release=$2
        shift 2
    fi
    root=$1
    shift
    need mmdebstrap mmdebstrap
    step "Making a system of $release in ${root#"$REPO/"} (mmdebstrap)"
    rm -rf "$root" && mkdir -p "${root%/*}"
    mmdebstrap --variant=minbase ${1:+--include="$*"} "$release" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2 && die "mmdebstrap failed" "see $root.log"; }
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
}

# in_image ROOT COMMAND…: runs a command in a system that is not booted, on this machine's network. When it ends, processes
# it has started are killed. BINDS are directories of this machine to show there read-only, as FROM:TO.
BINDS=()
in_image() {
    local root=$1
    shift
    need systemd-nspawn systemd-container
    systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --pipe --timezone=off --resolv-conf=copy-host --directory="$root" \
        "${BINDS[@]/#/--bind-ro=}" --setenv=LC_ALL=C.UTF-8 ${http_proxy:+--setenv=http_proxy="$http_proxy"} "$@"
}

# overlay UPPER LOWER: mounts what is written to UPPER over LOWER, at UPPER/root.
overlay() {
    mkdir -p "$1/files" "$1/work" "$1/root"
    mountpoint -q "$1/root" || mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/files,workdir=$1/work" "$1/root" ||
        die "cannot mount an overlay at $1/root" "$1 must be on a file system that supports it, such as ext4 or xfs"
}
