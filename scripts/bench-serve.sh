# The part of scripts/bench that measures atelier-server. It is sourced by it, behind lib.sh.
#
# Client, server and database share this machine and take turns in one run: figures of two runs, or of two
# machines, are not to be compared, ratios are.
# shellcheck shell=bash source-path=SCRIPTDIR source=lib.sh

# What is aimed at. A target missed is printed, a wrong answer ends the run.
TARGET_UNCACHED=1.3  # requests/s over pgbench's transactions/s
TARGET_CACHED=1.0    # requests/s over those of nginx; those of 304 over those of 200
TARGET_P99_MS=5      # in the open loop
TARGET_MEMORY_MB=64  # with IDLE_CONNECTIONS, beside what the cache may hold

WRK_CONNECTIONS=64
OPEN_LOOP_RATE=1000
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

# Starts an nginx that caches the answers of the server at $address, at $nginx_address.
serve_nginx() {
    local root=$work/proxy store
    # Files in memory, where there is such a place.
    store=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
    nginx_store=$store
    nginx_address=127.0.0.1:$(pick_port)
    mkdir -p "$root"
    cat >"$root/nginx.conf" <<CONF
$(if is_root; then echo "user $(id -un) $(id -gn);"; fi)
daemon off;
pid $root/pid;
error_log $root/log warn;
worker_processes $(nproc);
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path $root/body; proxy_temp_path $root/proxy; fastcgi_temp_path $root/fastcgi;
    uwsgi_temp_path $root/uwsgi; scgi_temp_path $root/scgi;

    # For bodies of a few kB one read and one write beat sendfile, with tcp_nopush or without: by 25 % here.
    sendfile off;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    server_tokens off;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;

    proxy_cache_path $store/cache levels=1:2 keys_zone=answers:16m max_size=256m inactive=1h use_temp_path=off;
    upstream server { server $address; keepalive 16; }
    # Says where an answer comes from to those who ask: the header costs nothing where it is not sent.
    map \$http_x_show_cache \$shown { "" ""; default \$upstream_cache_status; }

    server {
        listen $nginx_address reuseport backlog=4096;
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache answers;
            # The encoding belongs to the key: with Vary left to nginx, every hit is looked up twice.
            proxy_cache_key \$request_uri\$http_accept_encoding;
            proxy_ignore_headers Vary Cache-Control Expires;
            proxy_cache_valid 200 1h;
            add_header X-Cache-Status \$shown;
        }
    }
}
CONF
    "$NGINX" -p "$root" -e "$root/log" -c "$root/nginx.conf" </dev/null >/dev/null 2>&1 &
    nginx_pid=$!
    for _ in {1..50}; do
        if port_is_taken "${nginx_address##*:}"; then return; fi
        sleep 0.1
    done
    tail -n 8 "$root/log" >&2
    die "nginx did not start, its log ends as above"
}

stop_nginx() {
    if [ -n "${nginx_pid:-}" ]; then
        kill -TERM "$nginx_pid" 2>/dev/null || true
        wait "$nginx_pid" || true
        rm -rf "$nginx_store"
        nginx_pid=''
    fi
}

# Whatever ended the run. wrk, oha and pgbench end with Ctrl-C or by themselves.
serve_clean() {
    local status=$? home
    stop_nginx
    for home in "$work"/server-*; do server_stop "$home"; done
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
        grep -v '^\\set' scripts/bench-styles.sql
    done | query | jq -c . >"$work/usual.json"
    printf "url = http://$address/products/%s/styles\n" "${ids[@]}" | curl -sSf --fail-early --config - |
        jq -c . >"$work/server.json" || die "the server did not answer 200 with JSON to all of $SAMPLES products"
    cmp "$work/usual.json" "$work/server.json" >&2 ||
        die "the server's styles are not those of scripts/bench-styles.sql" \
            "$(diff "$work/usual.json" "$work/server.json" | cut -c 1-300 | head -n 4)"
    say "$SAMPLES answers compared: the same JSON"
}

# answers ADDRESS STATUS HEADER: fails unless CACHED is answered so.
answers() {
    local status
    status=$(curl -sS -o "$work/body" -w '%{http_code}' -H "$3" "http://$1$CACHED")
    [ "$status" = "$2" ] || die "http://$1$CACHED was answered $status, not $2"
}

# --- measuring ----------------------------------------------------------------------------------------------

title() { printf '\n%s\n' "$*" | commas; }

# Every function prints its line and appends its requests/s to $work/NAME.
line() { printf '%-26s %9s %-10s %s\n' "$1" "$(commas <<<"$2")" "$3" "$4"; }

pgbench_styles() {
    rm -f "$work"/sampled.*
    PGDATABASE=$DATABASE_URL "$PG_BIN/pgbench" -n -M prepared -c 8 -j 2 -T "$seconds" -D "products=$products" \
        -f scripts/bench-styles.sql -l --sampling-rate=0.05 --log-prefix="$work/sampled" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "pgbench failed, its messages are above"; }
    sed -nE 's/^tps = ([0-9]+).*/\1/p' "$work/log" >>"$work/$1"
    line "pgbench, json_agg" "$(tail -n 1 "$work/$1")" "tps" \
        "$(cat "$work"/sampled.* | awk '{ print $3 / 1000 }' | sort -n | awk '{ v[NR] = $1 } END {
            printf "p50 %.2f ms  p99 %.2f ms", v[int(NR * .5) + 1], v[int(NR * .99) + 1] }')"
}

# wrk_run NAME LABEL MOST-BYTES [OPTION…] URL [-- PRODUCTS]: MOST-BYTES, of an answer on average, tell a body
# from none.
wrk_run() {
    local name=$1 label=$2 most=$3 rate p50 p99 errors bytes
    shift 3
    wrk -t 2 -c "$WRK_CONNECTIONS" -d "${seconds}s" -s scripts/bench-styles.lua "$@" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "wrk failed, its messages are above"; }
    read -r rate p50 p99 errors bytes < <(tail -n 1 "$work/log")
    if [ "$errors" != 0 ] || [ "$bytes" -gt "$most" ] || [ "$rate" = 0 ]; then
        cat "$work/log" >&2
        die "$label: $errors answers failed, $bytes bytes an answer" "see what wrk says above"
    fi
    printf '%s\n' "$rate" >>"$work/$name"
    line "$label" "$rate" requests/s "$(printf 'p50 %.2f ms  p99 %.2f ms' "$p50" "$p99")"
}

# ratio NAME NAME TARGET [OVER-WHAT]: of the medians; TARGET may be empty.
ratio() {
    awk -v over="$(median <"$work/$1")" -v under="$(median <"$work/$2")" -v target="$3" -v what="${4:+ over $4}" 'BEGIN {
        printf "ratio of medians%s %.2f  (%d / %d)", what, over / under, over, under
        if (target != "") {
            if (over / under >= target) printf "   target %s: reached", target
            else printf "   target %s: MISSED", target
        }
        print "" }' | commas
}

uncached() {
    local run
    title "Uncached styles of random products, $rounds rounds of $seconds s each"
    serve server-uncached --cache-bytes 0
    compare_answers
    # Not counted: it brings the database into memory for both.
    pgbench_styles warm >/dev/null
    wrk_run warm warming 1000000 "http://$address" -- "$products" >/dev/null
    for ((run = 0; run < rounds; run++)); do
        pgbench_styles pgbench
        wrk_run uncached "atelier-server, no cache" 1000000 "http://$address" -- "$products"
    done
    ratio uncached pgbench "$TARGET_UNCACHED" pgbench
}

open_loop() {
    local run
    title "Open loop: $OPEN_LOOP_RATE requests/s, uncached styles of random products"
    awk -v seed="$RANDOM" -v products="$products" -v address="$address" 'BEGIN {
        srand(seed)
        for (i = 0; i < 200000; i++) printf "http://%s/products/%d/styles\n", address, 1 + int(rand() * products) }' >"$work/urls"
    for ((run = 0; run < rounds; run++)); do
        "$OHA" -z "${seconds}s" -q "$OPEN_LOOP_RATE" --latency-correction -c "$WRK_CONNECTIONS" --disable-compression \
            --no-tui --output-format json --urls-from-file "$work/urls" >"$work/oha.json" 2>"$work/log" ||
            { cat "$work/log" >&2; die "oha failed, its messages are above"; }
        # What is under way when the time is up is no error.
        jq -e '(.statusCodeDistribution | keys == ["200"]) and
            (.errorDistribution | del(.["aborted due to deadline"]) | length == 0)' "$work/oha.json" >/dev/null ||
            die "not all answers were 200: $(jq -c '[.statusCodeDistribution, .errorDistribution]' "$work/oha.json")"
        jq '.latencyPercentiles.p99 * 1000' "$work/oha.json" >>"$work/p99"
        line "atelier-server, no cache" "$(jq '.summary.requestsPerSec | round' "$work/oha.json")" requests/s \
            "$(jq -r '.latencyPercentiles | [.p50, .p99, .["p99.9"]] | map(. * 1000) | @tsv' "$work/oha.json" |
                awk '{ printf "p50 %.2f ms  p99 %.2f ms  p99.9 %.2f ms", $1, $2, $3 }')"
    done
    awk -v p99="$(median <"$work/p99")" -v target="$TARGET_P99_MS" 'BEGIN {
        printf "median of p99 %.2f ms   target %d ms: %s\n", p99, target, (p99 < target) ? "reached" : "MISSED" }'
    server_stop "$server_home"
}

cached() {
    local run size tag
    title "Cached styles of one product, and 304 with If-None-Match, $rounds rounds of $seconds s each"
    serve server-cached
    serve_nginx
    answers "$address" 200 'X-Show-Cache: 1'
    cp "$work/body" "$work/expected"
    size=$(wc -c <"$work/body")
    answers "$nginx_address" 200 'X-Show-Cache: 1' # fills
    curl -sSf -D "$work/headers" -o "$work/body" -H 'X-Show-Cache: 1' "http://$nginx_address$CACHED"
    grep -qi '^x-cache-status: HIT' "$work/headers" || die "nginx does not answer from its cache: $(cat "$work/headers")"
    cmp "$work/body" "$work/expected" >&2 || die "nginx does not answer with the bytes that it was given"
    say "$size bytes, the same from both, from nginx's cache: $(grep -i '^x-cache-status' "$work/headers" | tr -d '\r')"
    tag=$(curl -sSf -o /dev/null -D - "http://$address$CACHED" | tr -d '\r' | sed -nE 's/^etag: *//Ip')
    answers "$address" 304 "If-None-Match: $tag"
    answers "$nginx_address" 304 "If-None-Match: $tag"
    for ((run = 0; run < rounds; run++)); do
        wrk_run nginx "nginx, proxy_cache" $((size + 2000)) "http://$nginx_address$CACHED"
        wrk_run cached "atelier-server, cached" $((size + 2000)) "http://$address$CACHED"
        wrk_run nginx-304 "nginx, 304" "$size" -H "If-None-Match: $tag" "http://$nginx_address$CACHED"
        wrk_run cached-304 "atelier-server, 304" "$size" -H "If-None-Match: $tag" "http://$address$CACHED"
    done
    ratio cached nginx "$TARGET_CACHED" 'nginx, 200'
    ratio cached-304 nginx-304 '' 'nginx, 304'
    ratio cached-304 cached "$TARGET_CACHED" 'its own 200'
    stop_nginx
    server_stop "$server_home"
}

memory() {
    local before idle held
    title "Memory with $IDLE_CONNECTIONS idle connections and a cache of $IDLE_CACHE_MB MB"
    serve server-idle --cache-bytes "${IDLE_CACHE_MB}MiB" --max-connections $((IDLE_CONNECTIONS + 1000))
    read -r before idle held < <(python3 scripts/bench-idle.py "$address" "$admin" "$(server_pid "$server_home")" \
        "$IDLE_CONNECTIONS" "$products") || die "the idle connections failed, see above"
    awk -v before="$before" -v idle="$idle" -v held="$held" -v target="$TARGET_MEMORY_MB" -v bound="$IDLE_CACHE_MB" 'BEGIN {
        mb = 1048576
        printf "resident %.1f MB, before the connections %.1f; the cache holds %.1f of %d MB, the rest is %.1f\n",
            idle / mb, before / mb, held / mb, bound, (idle - held) / mb
        printf "target %d MB and the cache, %d MB: %s\n", target, target + bound,
            (idle / mb < target + bound) ? "reached" : "MISSED" }'
    server_stop "$server_home"
}

bench_serve() {
    products=1000011 seconds=10 rounds=3
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
    # A file a connection, on either side.
    ulimit -Sn $((IDLE_CONNECTIONS + 2000)) 2>/dev/null || ulimit -n $((IDLE_CONNECTIONS + 2000)) 2>/dev/null ||
        die "this session may open no more than $(ulimit -Hn) files, $IDLE_CONNECTIONS connections take more" \
            "raise the limit (ulimit -n, /etc/security/limits.conf), or run this as root"
    unset "${!ATELIER_@}" # the server's settings are stated here

    step "Building"
    cargo build --release --locked

    work=$(mktemp -d)
    trap serve_clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    serve_database

    printf 'machine     %s cores, %s MB, PostgreSQL %s, Linux %s\n' "$(nproc)" "$(memory_mb)" \
        "$(query -c 'show server_version')" "$(uname -r)"
    printf 'date        %s, %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)" "$("$SERVER" --version)"
    printf 'contestants nginx %s; clients pgbench -c 8 -j 2, wrk %s -t2 -c%s, oha %s\n' \
        "$("$NGINX" -v 2>&1 | sed 's|.*/||')" "$(wrk -v 2>&1 | sed -nE '1s|^wrk [^0-9]*([^ ]*).*|\1|p')" \
        "$WRK_CONNECTIONS" "$OHA_VERSION"
    printf 'catalogue   %s products\n' "$products" | commas
    uncached
    open_loop
    cached
    memory
}
