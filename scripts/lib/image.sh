# Creates systems of the machine's own distribution with debootstrap, for scripts that need a fresh machine: scripts/cluster,
# tests/fresh.
# shellcheck shell=bash

# The distribution and its mirror, as apt has them on this machine.
distribution() {
    local codename
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # the variables are apt's
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk -v codename="$codename" \
        '$2 == codename { print $2, $1; found = 1; exit } END { exit !found }' ||
        die "apt knows no mirror of $codename here" "apt-get update, with a source for $codename in /etc/apt"
}

# make_image [--release CODENAME] ROOT [PACKAGE…]: a minimal system with these packages, in which nothing is started when it is
# installed, of this machine's release if not told. ROOT.log has what debootstrap said.
make_image() {
    local release='' root codename mirror
    if [ "$1" = --release ]; then
        release=$2
        shift 2
    fi
    root=$1
    shift
    need debootstrap debootstrap
    read -r codename mirror < <(distribution)
    codename=${release:-$codename}
    step "Making a system of $codename in ${root#"$REPO/"} (debootstrap)"
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include="$(IFS=, && printf '%s' "$*")" "$codename" "$root" "$mirror" >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2 && die "debootstrap failed" "see $root.log"; }
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
}

# in_image ROOT COMMAND…: runs a command in the image of a system that does not run. BINDS are FROM:TO, directories of
# this machine and where they are seen in there, not to be written to.
BINDS=()
in_image() {
    local root=$1
    shift
    # shellcheck disable=SC2016 # for the inner shell
    # /proc for those that look at it, /dev/shm for PostgreSQL, /dev/pts for apt. What the command leaves running is ended with it.
    unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 binds=$2; shift 2
        mount -t proc proc "$root/proc"
        mkdir -p "$root/dev/shm" "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
        for bind in $binds; do
            mkdir -p "$root/${bind#*:}"
            mount --bind "${bind%%:*}" "$root/${bind#*:}"
            mount -o remount,bind,ro "$root/${bind#*:}"
        done
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 ${http_proxy:+http_proxy="$http_proxy"} "$@"
    ' in_image "$root" "${BINDS[*]}" "$@"
}

# overlay UPPER LOWER…: mounts them one over the other at UPPER/root, the topmost first.
overlay() {
    local upper=$1 lower
    shift
    lower=$(IFS=: && printf '%s' "$*")
    mkdir -p "$upper/files" "$upper/work" "$upper/root"
    mountpoint -q "$upper/root" || mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper/files,workdir=$upper/work" "$upper/root" ||
        die "cannot mount an overlay at $upper/root" "$upper must be on a file system that overlays can be written to, ext4 or xfs"
}
