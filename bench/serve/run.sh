# The part of scripts/bench that measures atelier-server. It is sourced by it, after scripts/lib/common.sh.
#
# Client, server and database share this machine and take turns in one run: figures of two runs, or of two
# machines, are not to be compared, ratios are.
# shellcheck shell=bash source=scripts/lib/common.sh
# shellcheck disable=SC2034 # read by the parts that it sources

# What is aimed at. A target missed is printed, a wrong answer ends the run.
TARGET_UNCACHED=1.7     # requests/s over pgbench's transactions/s
TARGET_CACHED=1.2       # requests/s over those of nginx from its cache
TARGET_NOT_MODIFIED=1.5 # the same, both answering If-None-Match with 304
TARGET_P99_MS=5         # at OPEN_LOOP_RATE
TARGET_MEMORY_MB=64  # with IDLE_CONNECTIONS, beside what the cache may hold

WRK_CONNECTIONS=64
OPEN_LOOP_RATE=1000
RAMP_SECONDS=3
KNEE_P99_MS=10 # the knee is the last rate of the ramp that is kept with a 99th percentile below this
IDLE_CONNECTIONS=10000
IDLE_CACHE_MB=16 # small enough for as many answers to fill it
CACHED=/products/2/styles # 2.9 kB of a catalogue of seed 1; 2.0 are the mean
SAMPLES=200 # answers compared before anything is measured

# The open loop wants a client that costs little: on two cores it takes its share from what it measures. At
# 1,000 requests a second to an nginx that answers from memory, oha took 0.07 of a core and saw a 99th percentile
# of 0.2 ms; k6 (1.1.0) took 0.2 to 0.3 of a core and saw 0.7 to 3.4 ms. oha also counts from the moment at which a
# request was due, not from that at which it was sent (--latency-correction).
OHA_VERSION=1.16.0
OHA=$TOOLS/oha-$OHA_VERSION/bin/oha

need_oha() {
    if [ -x "$OHA" ]; then return; fi
    say "building oha $OHA_VERSION, a load generator, into ${OHA%/bin/oha}: some minutes, once"
    cargo install --quiet --locked --version "$OHA_VERSION" --root "${OHA%/bin/oha}" oha
}

# Debian's package starts a web server on port 80, which nobody asked for; one that was there is left alone.
need_nginx() {
    if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; then return; fi
    apt_install nginx
    if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now nginx; fi
}

# --- what is measured ---------------------------------------------------------------------------------------

# psql on the database that is measured; what it selects, plain.
query() { "$PG_BIN/psql" -X -q -At -v ON_ERROR_STOP=1 -d "$DATABASE_URL" "$@"; }

# Sets DATABASE_URL, unless it is set, to a database of our own with a catalogue of $products products: loaded
# once and kept, beside whatever is published in the private server.
serve_database() {
    local loaded database=bench_serve
    own_database=''
    if [ -n "${DATABASE_URL:-}" ]; then
        step "Using the database of DATABASE_URL"
    else
        step "Starting the private PostgreSQL"
        pg_start
        if [ -z "$(PGDATABASE=postgres pg_psql -Atc "select 1 from pg_database where datname = '$database'")" ]; then
            PGDATABASE=postgres pg_psql -c "create database $database"
        fi
        DATABASE_URL=$(sed "s|/atelier\$|/$database|" "$PG_URL_FILE")
        export DATABASE_URL
        own_database=yes # in which we may make what we like
        loaded=$(query -c 'select max(position) from atelier.product' 2>/dev/null) || loaded=0
        if [ "$loaded" != "$products" ]; then
            bench_catalogue "$products"
            # shellcheck disable=SC2154 # csv is set by it
            step "Loading $csv into the database $database"
            "$ETL" load --data "$csv" --rejects "$work/rejects" --progress none >"$work/log" 2>&1 ||
                { cat "$work/log" >&2; die "atelier-etl load failed, its messages are above"; }
        fi
    fi
    export DATABASE_URL
    # Random ids must all exist: what is not found is answered faster.
    read -r products loaded < <(query -F ' ' -c 'select max(id), count(*) from atelier.product') ||
        die "no catalogue in the database of DATABASE_URL" "load one with atelier-etl, or unset DATABASE_URL"
    if [ -n "${own_database:-}" ]; then
        # Random products of a catalogue that is not in memory measure the disk.
        query -c 'create extension if not exists pg_prewarm' -c "select sum(pg_prewarm(oid, 'read')) from pg_class
            where relnamespace = 'atelier'::regnamespace and relkind in ('r', 'i')" >/dev/null
    fi
    [ "$products" = "$loaded" ] || die "the catalogue has $loaded products with ids up to $products: some are missing" \
        "measure one that atelier-etl generate --defects legacy made, or unset DATABASE_URL"
}

# serve NAME [OPTION…]: starts a server under $work. Sets address, admin and server_home.
serve() {
    server_home=$work/$1
    shift
    address=127.0.0.1:$(pick_port)
    admin=127.0.0.1:$(pick_port)
    server_start "$server_home" "$address" "$admin" --threads "$(nproc)" "$@"
}

# Whatever ended the run. wrk, oha and pgbench end with Ctrl-C or by themselves.
serve_clean() {
    local status=$? home
    stop_nginx
    stop_floors
    for home in "$work"/server-*; do server_stop "$home"; done
    if [ -n "${own_database:-}" ]; then drop_made || true; fi
    if [ "$status" = 1 ] && [ -s "${server_home:-}/log" ]; then
        say "the server's log ends so:"
        tail -n 5 "$server_home/log" >&2
    fi
    rm -rf "$work"
}

# --- right or wrong -----------------------------------------------------------------------------------------

# The same JSON from the usual statement and from the server: every key, null and order.
compare_answers() {
    local id
    local -a ids
    mapfile -t ids < <(awk -v seed="$RANDOM" -v products="$products" -v samples="$SAMPLES" 'BEGIN {
        srand(seed); print 1; print products
        for (i = 2; i < samples; i++) print 1 + int(rand() * products) }')
    for id in "${ids[@]}"; do
        printf '\\set id %s\n' "$id"
        grep -v '^\\set' bench/serve/styles.sql
    done | query | jq -c . >"$work/usual.json"
    printf "url = http://$address/products/%s/styles\n" "${ids[@]}" | curl -sSf --fail-early --config - |
        jq -c . >"$work/server.json" || die "the server did not answer 200 with JSON to all of $SAMPLES products"
    cmp "$work/usual.json" "$work/server.json" >&2 ||
        die "the server's styles are not those of bench/serve/styles.sql" \
            "$(diff "$work/usual.json" "$work/server.json" | cut -c 1-300 | head -n 4)"
    say "$SAMPLES answers compared: the same JSON"
}

# --- measuring ----------------------------------------------------------------------------------------------

title() { printf '\n%s\n' "$*" | commas; }

# figure KIND [--arg NAME VALUE | --argjson NAME VALUE]…: one more line of JSON for the document.
figure() { jq -cn --arg kind "$@" '$ARGS.named' >>"$work/figures"; }

# Every function prints its line and appends its requests/s to $work/NAME.
line() { printf '%-26s %9s %-10s %s\n' "$1" "$(commas <<<"$2")" "$3" "$4"; }

pgbench_styles() {
    rm -f "$work"/sampled.*
    PGDATABASE=$DATABASE_URL "$PG_BIN/pgbench" -n -M prepared -c 8 -j 2 -T "$seconds" -D "products=$products" \
        -f bench/serve/styles.sql -l --sampling-rate=0.05 --log-prefix="$work/sampled" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "pgbench failed, its messages are above"; }
    sed -nE 's/^tps = ([0-9]+).*/\1/p' "$work/log" >>"$work/$1"
    line "pgbench, json_agg" "$(tail -n 1 "$work/$1")" "tps" \
        "$(cat "$work"/sampled.* | awk '{ print $3 / 1000 }' | sort -n | awk '{ v[NR] = $1 } END {
            printf "p50 %.2f ms  p99 %.2f ms", v[int(NR * .5) + 1], v[int(NR * .99) + 1] }')"
}

# wrk_run NAME LABEL MOST-BYTES [OPTION…] URL [-- PRODUCTS]: MOST-BYTES, of an answer on average, tell a body
# from none.
wrk_run() {
    local name=$1 label=$2 most=$3 rate p50 p99 errors bytes before spent
    shift 3
    before=$(cpu_ticks)
    wrk -t 2 -c "$WRK_CONNECTIONS" -d "${seconds}s" -s bench/serve/styles.lua "$@" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "wrk failed, its messages are above"; }
    read -r rate p50 p99 errors bytes < <(tail -n 1 "$work/log")
    if [ "$errors" != 0 ] || [ "$bytes" -gt "$most" ] || [ "$rate" = 0 ]; then
        cat "$work/log" >&2
        die "$label: $errors answers failed, $bytes bytes an answer" "see what wrk says above"
    fi
    printf '%s\n' "$rate" >>"$work/$name"
    spent=$(awk -v ticks=$(($(cpu_ticks) - before)) -v hz="$(getconf CLK_TCK)" -v requests="$rate" -v seconds="$seconds" \
        'BEGIN { printf "%.2f", ticks / hz / (requests * seconds) * 1e6 }')
    printf '%s\n' "$spent" >>"$work/$name-cpu"
    line "$label" "$rate" requests/s "$(printf 'p50 %.2f ms  p99 %.2f ms' "$p50" "$p99")  $spent µs of its CPU a request"
}

# Ticks of CPU that the processes of the contestant have used: those named in $contestant.
cpu_ticks() {
    local pid
    for pid in "${contestant[@]}"; do cat "/proc/$pid/stat"; done | sed 's/.*) //' | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

# ratio NAME NAME TARGET WHAT: the median of the ratios of each round, whose runs are neighbours in time: what disturbs the
# machine for longer than a round disturbs both. TARGET may be empty.
ratio() {
    local ratio over under
    ratio=$(paste -d ' ' "$work/$1" "$work/$2" | awk '{ print $1 / $2 }' | median)
    over=$(median <"$work/$1") under=$(median <"$work/$2")
    figure ratio --arg target "$3" --arg what "$4" --argjson ratio "$ratio" --argjson over "$over" --argjson under "$under"
    awk -v ratio="$ratio" -v over="$over" -v under="$under" -v target="$3" -v what="$4" 'BEGIN {
        printf "%s: %.2f  (medians %s and %s)", what, ratio, over, under
        if (target != "") {
            if (ratio >= target) printf "   target %s: reached", target
            else printf "   target %s: MISSED", target
        }
        print "" }' | commas
}

uncached() {
    local run
    title "Uncached styles of random products, $rounds rounds of $seconds s each"
    serve server-uncached --cache-bytes 0
    contestant=("$(server_pid "$server_home")")
    compare_answers
    # Not counted: it brings the database into memory for both.
    pgbench_styles warm >/dev/null
    wrk_run warm warming 1000000 "http://$address" -- "$products" >/dev/null
    for ((run = 0; run < rounds; run++)); do
        pgbench_styles pgbench
        wrk_run uncached "atelier-server, no cache" 1000000 "http://$address" -- "$products"
    done
    ratio uncached pgbench "$TARGET_UNCACHED" "uncached over pgbench"
}

# Uncached styles again, with more connections to the database for each of the server's threads.
connections() {
    local run each
    local -A addresses pids
    title "Connections to the database for each of $(nproc) threads, $rounds rounds of $seconds s"
    for each in 1 2 4; do
        serve "server-connections-$each" --cache-bytes 0 --db-connections $((each * $(nproc)))
        addresses[$each]=$address pids[$each]=$(server_pid "$server_home")
        contestant=("${pids[$each]}")
        wrk_run warm warming 1000000 "http://$address" -- "$products" >/dev/null # not counted
    done
    for ((run = 0; run < rounds; run++)); do
        for each in 1 2 4; do
            contestant=("${pids[$each]}")
            wrk_run "connections-$each" "$each a thread" 1000000 "http://${addresses[$each]}" -- "$products"
        done
    done
    for each in 1 2 4; do
        figure connections --argjson each "$each" --argjson rate "$(median <"$work/connections-$each")"
        server_stop "$work/server-connections-$each"
    done
}

memory() {
    local before idle held
    title "Memory with $IDLE_CONNECTIONS idle connections and a cache of $IDLE_CACHE_MB MB"
    serve server-idle --cache-bytes "${IDLE_CACHE_MB}MiB" --max-connections $((IDLE_CONNECTIONS + 1000))
    read -r before idle held < <(python3 bench/serve/idle.py "$address" "$admin" "$(server_pid "$server_home")" \
        "$IDLE_CONNECTIONS" "$products") || die "the idle connections failed, see above"
    awk -v before="$before" -v idle="$idle" -v held="$held" -v target="$TARGET_MEMORY_MB" -v bound="$IDLE_CACHE_MB" 'BEGIN {
        mb = 1048576
        printf "resident %.1f MB, before the connections %.1f; the cache holds %.1f of %d MB, the rest is %.1f\n",
            idle / mb, before / mb, held / mb, bound, (idle - held) / mb
        printf "target %d MB and the cache, %d MB: %s\n", target, target + bound,
            (idle / mb < target + bound) ? "reached" : "MISSED" }'
    figure memory --argjson before "$before" --argjson idle "$idle" --argjson held "$held" \
        --argjson target "$TARGET_MEMORY_MB" --argjson bound "$IDLE_CACHE_MB" --argjson connections "$IDLE_CONNECTIONS"
    server_stop "$server_home"
}

machine() {
    printf '%s cores, %s MB, PostgreSQL %s, Linux %s\n' "$(nproc)" "$(memory_mb)" "$(query -c 'show server_version')" \
        "$(uname -r)"
}

# The figures into docs/benchmarks.md, between its markers, and the chart beside it.
document() {
    jq -cn --rawfile plan "$work/plan" '{kind: "plan", plan: $plan}' >>"$work/figures"
    python3 bench/serve/report.py "$work/figures" docs/benchmarks.md docs/benchmarks-serve.svg ||
        die "the figures could not be written into docs/benchmarks.md"
    say "written: docs/benchmarks.md, docs/benchmarks-serve.svg"
}

bench_serve() {
    products=1000011 seconds=4 rounds=5 floor_pids=() contestant=()
    local asked=$*
    while [ $# -gt 0 ]; do
        case $1 in
        --products | --seconds | --rounds)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$1 needs a number" "see scripts/bench --help"
            ;;&
        --products) products=$2 ;;
        --seconds) seconds=$2 ;;
        --rounds) rounds=$2 ;;
        *) die "unknown argument: $1" "see scripts/bench --help" ;;
        esac
        shift 2
    done

    step "Looking for what measuring takes"
    need_tools
    need_postgres # for pgbench, if the database is somebody else's
    need jq jq
    need curl curl
    need wrk wrk
    need python3 python3
    need_nginx
    NGINX=$(PATH=$PATH:/usr/sbin command -v nginx)
    need_oha
    need_profile_tools
    # A file a connection, on either side.
    ulimit -Sn $((IDLE_CONNECTIONS + 2000)) 2>/dev/null || ulimit -n $((IDLE_CONNECTIONS + 2000)) 2>/dev/null ||
        die "this session may open no more than $(ulimit -Hn) files, $IDLE_CONNECTIONS connections take more" \
            "raise the limit (ulimit -n, /etc/security/limits.conf), or run this as root"
    unset "${!ATELIER_@}" # the server's settings are stated here

    step "Building"
    cargo build --release --locked
    build_profiled

    work=$(mktemp -d)
    trap serve_clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    serve_database

    printf 'machine     %s\n' "$(machine)"
    printf 'date        %s, %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)" "$("$SERVER" --version)"
    printf 'contestants nginx %s; clients pgbench -c 8 -j 2, wrk %s -t2 -c%s, oha %s\n' \
        "$("$NGINX" -v 2>&1 | sed 's|.*/||')" "$(wrk -v 2>&1 | sed -nE '1s|^wrk [^0-9]*([^ ]*).*|\1|p')" \
        "$WRK_CONNECTIONS" "$OHA_VERSION"
    printf 'catalogue   %s products\n' "$products" | commas
    cc -O2 -pthread -o "$work/bench-floor" bench/serve/floor.c
    figure run --arg command "scripts/bench serve${asked:+ $asked}" --arg machine "$(machine)" \
        --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --arg versions "$("$SERVER" --version), $("$NGINX" -v 2>&1 | sed 's|.*: ||'), $(
            wrk -v 2>&1 | sed -nE '1s|^(wrk [^ ]*).*|\1|p'), oha $OHA_VERSION" \
        --argjson products "$products" --argjson rounds "$rounds" --argjson seconds "$seconds"
    uncached
    open_loop
    server_stop "$server_home"
    connections
    statements
    cached
    memory
    profile
    read_model
    document
}
