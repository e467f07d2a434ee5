# The part of scripts/bench serve that measures answers from the cache, against nginx and against the floor. It is sourced by
# scripts/bench, after run.sh.
# shellcheck shell=bash source=bench/serve/run.sh
# shellcheck disable=SC2154,SC2034 # what run.sh, which sources this, sets or reads

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

# serve_floor FILE: starts a server that answers whatever comes with the bytes of the file. Sets floor_address, floor_pid.
serve_floor() {
    local port
    port=$(pick_port)
    floor_address=127.0.0.1:$port
    "$work/bench-floor" "$port" "$(nproc)" "$1" </dev/null >/dev/null 2>&1 &
    floor_pid=$!
    floor_pids+=("$floor_pid")
    for _ in {1..50}; do
        if port_is_taken "$port"; then return; fi
        sleep 0.1
    done
    die "the floor, bench/serve/floor.c, did not start"
}

stop_floors() {
    if [ ${#floor_pids[@]} -gt 0 ]; then
        kill "${floor_pids[@]}" 2>/dev/null || true
        wait "${floor_pids[@]}" || true
        floor_pids=()
    fi
}

# answers ADDRESS STATUS HEADER: fails unless CACHED is answered so.
answers() {
    local status
    status=$(curl -sS -o "$work/body" -w '%{http_code}' -H "$3" "http://$1$CACHED")
    [ "$status" = "$2" ] || die "http://$1$CACHED was answered $status, not $2"
}

# tag_of ADDRESS: the entity tag of CACHED.
tag_of() { curl -sSf -o /dev/null -D - "http://$1$CACHED" | tr -d '\r' | sed -nE 's/^etag: *//Ip'; }

cached() {
    local run size tag name workers ok_floor ok_floor_pid not_modified_floor not_modified_floor_pid
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
    tag=$(tag_of "$address")
    answers "$address" 304 "If-None-Match: $tag"
    answers "$nginx_address" 304 "If-None-Match: $tag"
    # What the floor answers with is what the server does, headers and all.
    curl -sSf -i -o "$work/ok.http" "http://$address$CACHED"
    curl -sSf -i -o "$work/not-modified.http" -H "If-None-Match: $tag" "http://$address$CACHED"
    serve_floor "$work/ok.http" && ok_floor=$floor_address ok_floor_pid=$floor_pid
    serve_floor "$work/not-modified.http" && not_modified_floor=$floor_address not_modified_floor_pid=$floor_pid
    # Its other children do nothing here, and one of them ends after a minute.
    mapfile -t workers < <(pgrep -P "$nginx_pid" -f 'worker process')
    for ((run = 0; run < rounds; run++)); do
        contestant=("${workers[@]}")
        wrk_run nginx "nginx, proxy_cache" $((size + 2000)) "http://$nginx_address$CACHED"
        wrk_run nginx-304 "nginx, 304" "$size" -H "If-None-Match: $tag" "http://$nginx_address$CACHED"
        contestant=("$(server_pid "$server_home")")
        wrk_run cached "atelier-server, cached" $((size + 2000)) "http://$address$CACHED"
        wrk_run cached-304 "atelier-server, 304" "$size" -H "If-None-Match: $tag" "http://$address$CACHED"
        contestant=("$ok_floor_pid")
        wrk_run floor "floor, the same 200" $((size + 2000)) "http://$ok_floor$CACHED"
        contestant=("$not_modified_floor_pid")
        wrk_run floor-304 "floor, the same 304" "$size" "http://$not_modified_floor$CACHED"
    done
    ratio cached nginx "$TARGET_CACHED" "cached over nginx"
    ratio cached-304 nginx-304 "$TARGET_NOT_MODIFIED" "304 over nginx"
    ratio floor nginx '' "the floor over nginx, 200"
    ratio floor-304 nginx-304 '' "the floor over nginx, 304"
    # The client takes as much CPU as the servers do. Without it, by what each needs for a request:
    ratio nginx-cpu cached-cpu "$TARGET_CACHED" "CPU a request, nginx over the server, 200"
    ratio nginx-304-cpu cached-304-cpu "$TARGET_NOT_MODIFIED" "CPU a request, nginx over the server, 304"
    for name in nginx cached floor nginx-304 cached-304 floor-304; do
        figure cached --arg name "$name" --argjson rate "$(median <"$work/$name")" --argjson cpu "$(median <"$work/$name-cpu")"
    done
    stop_floors
    stop_nginx
    server_stop "$server_home"
}
