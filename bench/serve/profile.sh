# The part of scripts/bench that says what the CPU is spent on for a request. It is sourced by it, after
# run.sh.
#
# perf looks a thousand times a second what each core runs, with its stack. For that the server is built once more, with
# frame pointers, which cost it a per cent or so: rates are measured without.
# shellcheck shell=bash source=bench/serve/run.sh
# shellcheck disable=SC2154,SC2034 # what run.sh, which sources this, sets or reads

PROFILE_TARGET=${CARGO_TARGET_DIR:-target}/profile
PROFILE_SECONDS=4

need_profile_tools() { need perf linux-perf; }

build_profiled() {
    RUSTFLAGS='-C force-frame-pointers=yes' cargo build --release --locked -p atelier-server --target-dir "$PROFILE_TARGET"
}

# profiled NAME LABEL WRK-ARGUMENT…: CPU by what it is for, of the server and of PostgreSQL, while wrk asks.
profiled() {
    local name=$1 label=$2 requests seconds=$((PROFILE_SECONDS + 2)) pid
    shift 2
    wrk -t 2 -c "$WRK_CONNECTIONS" -d 2s -s bench/serve/styles.lua "$@" >/dev/null # not counted: warms
    wrk -t 2 -c "$WRK_CONNECTIONS" -d "${seconds}s" -s bench/serve/styles.lua "$@" >"$work/log" 2>&1 &
    pid=$!
    sleep 1
    as_root perf record -q -a -g -e cpu-clock -F 999 -o "$work/perf" -- sleep "$PROFILE_SECONDS" >"$work/perf-log" 2>&1 ||
        { cat "$work/perf-log" >&2; wait "$pid"; say "left out: perf cannot record here, its messages are above"; return; }
    wait "$pid" || { cat "$work/log" >&2; die "wrk failed, its messages are above"; }
    requests=$(tail -n 1 "$work/log" | awk -v seconds="$PROFILE_SECONDS" '{ printf "%d", $1 * seconds }')
    as_root perf script -i "$work/perf" -F comm,ip,sym 2>/dev/null |
        python3 bench/serve/profile.py "$requests" 999 >"$work/split" || die "the profile cannot be read"
    figure profile --arg name "$name" --arg what "$label" --argjson split "$(cat "$work/split")"
    jq -r --arg what "$label" '$what + ", µs of CPU a request: " +
        ([.stages | to_entries[] | "\(.key) \(.value * 100 | round / 100)"] | join("  "))' "$work/split"
}

profile() {
    local tag server=$SERVER
    title "CPU a request, by what it is for: perf, $PROFILE_SECONDS s"
    SERVER=$PROFILE_TARGET/release/atelier-server
    serve server-profile-uncached --cache-bytes 0
    profiled uncached "uncached styles" "http://$address" -- "$products"
    server_stop "$server_home"
    serve server-profile
    profiled cached "cached styles" "http://$address$CACHED"
    tag=$(tag_of "$address")
    profiled not-modified "304" -H "If-None-Match: $tag" "http://$address$CACHED"
    server_stop "$server_home"
    SERVER=$server
}
