# The part of scripts/bench that measures loading. It is sourced by it, after scripts/lib/common.sh.
#
# Contestants take turns in one run on one machine. What a run finds is kept in data/bench/results-N, N being the
# number of products, a file a question, with its date and machine: bench/load/page.py makes the page of all
# files that are there.
# shellcheck shell=bash source=scripts/lib/common.sh

FULL_SIZE=1000011 # products

# Products of the runs that show what a product costs.
SCALE=(10000 100000 1000000 4000000)
# What a catalogue takes on the disk, in bytes a product: 2,300 for its files and 3,500 for its tables and indexes, and
# something for sorting.
BYTES_A_PRODUCT=7500

# Settings of a session that were tried: name|words|setting.
SETTINGS=(
    "workers|two parallel workers for an index, PostgreSQL's default|max_parallel_maintenance_workers=2"
    "memory|indexes sorted in 256 MB|maintenance_work_mem=256MB"
    "statistics|a tenth of the sample for ANALYZE|default_statistics_target=10"
)

# --- measuring ----------------------------------------------------------------------------------------------

# Seconds of CPU that the private server has used, with all its processes, also those that have ended.
cluster_cpu() {
    local pid postmaster
    postmaster=$(pg_pid)
    # A session's process that ends between two of these readings would be in none of them.
    while sessions_end "$postmaster"; do sleep 0.01; done
    for pid in "$postmaster" $(pgrep -P "$postmaster"); do
        # The name, in parentheses, may hold spaces. Behind it utime is the 12th field.
        sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null |
            awk -v all="$([ "$pid" = "$postmaster" ] && printf 1 || printf 0)" '{ print $12 + $13 + all * ($14 + $15) }'
    done | awk -v ticks="$(getconf CLK_TCK)" '{ sum += $1 } END { print sum / ticks }'
}

# sessions_end POSTMASTER: whether sessions in bench_load, or processes that are about to end, are still there.
sessions_end() {
    local pid title
    for pid in $(pgrep -P "$1"); do
        title=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || continue
        if [[ -z $title || $title == *' bench_load '* ]]; then return 0; fi
    done
    return 1
}

# A database that nothing was done to, on a server that has nothing left to write.
fresh_database() {
    PGDATABASE=postgres pg_psql -c "drop database if exists $1 with (force)" -c "create database $1" -c checkpoint
}

# The address of a database of the private server.
database_url() { sed "s|/atelier\$|/$1|" "$PG_URL_FILE"; }

# measure NAME COMMAND…: runs it on a fresh database, bench_load, which stays. Its output is in $work/log, an object with
# its seconds and those of the CPU in $work/measured; $extra may hold more keys for it.
extra='{}'
measure() {
    local name=$1 before start seconds client TIMEFORMAT='%U %S'
    shift
    fresh_database bench_load
    before=$(cluster_cpu)
    start=$(now)
    { time "$@" >"$work/log" 2>"$work/errors"; } 2>"$work/cpu" ||
        { cat "$work/log" "$work/errors" >&2; die "$name failed, its messages are above"; }
    seconds=$(since "$start")
    client=$(awk '{ print $1 + $2 }' "$work/cpu")
    jq -nc --argjson seconds "$seconds" --argjson client "$client" --argjson extra "$extra" \
        --argjson database "$(awk -v before="$before" -v after="$(cluster_cpu)" 'BEGIN { print after - before }')" \
        '{$seconds, cpu: {$client, $database}} + $extra' >"$work/measured"
}

# keep NAME JQ-FILTER [JQ-OPTION…]: adds to what was measured, appends it to $work/NAME.jsonl, and shows it.
keep() {
    local name=$1 filter=$2
    shift 2
    jq -c "$@" ". + $filter" "$work/measured" >>"$work/$name.jsonl"
    printf '%-26s %s\n' "$name" "$(jq -r '"\(.seconds) s   CPU: client \(.cpu.client * 10 | round / 10), PostgreSQL \(.cpu.database * 10 | round / 10)"' "$work/measured")"
}

# by_psql NAME csv|repaired|binary DIRECTORY [OPTIONS]: loads with psql alone, in sessions with these options.
by_psql() {
    local name=$1 kind=$2 directory=$3
    PGHOST=127.0.0.1 PGPORT=$(pg_port) PGUSER=atelier PGPASSWORD=$(pg_password) PGDATABASE=bench_load PGSSLMODE=disable \
        PGOPTIONS="-c client_min_messages=warning ${4:-}" PATH=$PG_BIN:$PATH \
        measure "$name" bench/load/psql.sh "$kind" "$directory"
    # shellcheck disable=SC2016 # jq's
    keep "$name" '{steps: $log | split("\n") | map(select(. != "") | split(" ") |
        {what: .[0], table: .[1], start: .[2] | tonumber, end: .[3] | tonumber})}' --rawfile log "$work/log"
}

run_usual() {
    PGDATABASE=bench_load measure usual in_directory "$csv" pg_psql -f "$REPO/bench/load/usual.sql"
    # shellcheck disable=SC2016 # jq's
    keep usual '($log | split("\n") | map(select(. != "") | split(" ")) | {
        stages: (.[] | select(.[0] == "seconds") | {copy: .[1] | tonumber, index: .[2] | tonumber, vacuum: .[3] | tonumber}),
        rows: (map(select(.[0] != "seconds") | {key: .[0], value: .[1] | tonumber}) | from_entries)})' --rawfile log "$work/log"
}
in_directory() { (cd -- "$1" && shift && "$@"); }

# Fails unless bench_load has the rows of the manifest.
expect_rows() {
    local table found
    for table in $(jq -r '.tables | keys[]' "$csv/manifest.json"); do
        found=$(PGDATABASE=bench_load pg_psql -Atc "select count(*) from $table")
        [ "$found" = "$(jq ".tables.$table.loaded" "$csv/manifest.json")" ] ||
            die "the best script that repairs has $found rows in $table, not those of the manifest" "see bench/load/psql.sh"
    done
}

# run_load NAME JOBS: loads $csv. Fails when the rows are not exactly those of the manifest.
run_load() {
    local name=$1 jobs=$2
    DATABASE_URL=$(database_url bench_load) measure "$name" "$ETL" load --data "$csv" --jobs "$jobs" \
        --report "$work/report.json" --rejects "$work/rejects" --progress none
    jq -e -n --slurpfile manifest "$csv/manifest.json" --slurpfile report "$work/report.json" \
        '($manifest[0].tables | map_values(.loaded)) == ($report[0].tables | map_values(.loaded))' >/dev/null ||
        die "atelier-etl did not load what the manifest says" "compare $csv/manifest.json with a report of atelier-etl load"
    # shellcheck disable=SC2016 # jq's
    keep "$name" '{report: ($report[0] | del(.tables[].examples, .warnings))}' --slurpfile report "$work/report.json"
}

# --- what is needed -------------------------------------------------------------------------------------------

# The tables of a load in files of the server's own format, in $binary: made anew when the loader makes other rows.
floor_files() {
    local table content
    binary=$DATA/bench/$products-binary
    run_load files "$(nproc)"
    content=$(jq -c '.tables | map_values(.content_digest)' "$work/report.json")
    if [ "$(cat "$binary/content" 2>/dev/null)" != "$content" ]; then
        step "Writing the tables as binary files to $binary"
        rm -rf "$binary"
        mkdir -p "$binary"
        for table in $(jq -r '.tables | keys[]' "$work/report.json"); do
            PGDATABASE=bench_load pg_psql -c "\\copy atelier.$table to '$binary/$table' (format binary)"
        done
        printf '%s\n' "$content" >"$binary/content" # last: it says that they are whole
    fi
}

# result NAME: writes $RESULTS/NAME.json of what was kept, by contestant.
result() {
    local file name=$1
    for file in "$work"/*.jsonl; do
        jq -s --arg name "$(basename -- "$file" .jsonl)" '{($name): .}' "$file"
    done | jq -s --slurpfile manifest "$csv/manifest.json" --argjson cores "$(nproc)" --argjson memory_mb "$(memory_mb)" \
        --arg postgresql "$(pg_psql -Atc 'show server_version' | sed 's/ .*//')" --arg linux "$(uname -r)" \
        --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --arg version "$("$ETL" --version)" \
        --arg cpu "$(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" \
        '{$date, $version, machine: {$cores, $cpu, $memory_mb, $postgresql, $linux},
          products: $manifest[0].products, bytes: ($manifest[0].tables | map(.bytes) | add),
          rows: ($manifest[0].tables | map(.read) | add),
          loaded: ($manifest[0].tables | map_values(.loaded)), runs: (add // {})}' >"$RESULTS/$name.new"
    mv "$RESULTS/$name.new" "$RESULTS/$name.json"
    rm -f "$work"/*.jsonl
}

# bench_catalogue PRODUCTS [none]: sets csv to the directory of such a catalogue, with the defects of the real one or with
# none, and makes it if it is not there.
bench_catalogue() {
    csv=$DATA/bench/$1${2:+-clean}
    if [ ! -e "$csv/manifest.json" ]; then # written last
        step "Making a catalogue of $1 products in $csv"
        "$ETL" generate --out "$csv" --products "$1" --seed 1 --defects "${2:-legacy}" >&2
    fi
}

# --- the questions --------------------------------------------------------------------------------------------

compare_contestants() {
    local round
    step "Measuring: $rounds rounds of the floor, the loader, the best scripts and the usual way"
    floor_files
    rm -f "$work"/*.jsonl
    cat -- "$csv"/*.csv "$binary"/* >/dev/null # all read from memory
    for ((round = 0; round < rounds; round++)); do
        by_psql floor binary "$binary"
        run_load load "$(nproc)"
        by_psql best csv "$csv"
        by_psql repaired repaired "$csv"
        expect_rows
        run_usual
    done
    result contestants
}

compare_jobs() {
    local jobs
    step "Measuring: --jobs 1, 2, 4"
    cat -- "$csv"/*.csv >/dev/null
    for jobs in 1 2 4; do run_load "$jobs" "$jobs"; done
    result jobs
}

convert_speed() {
    step "Measuring: one core from text to rows (cargo bench)"
    # The table of divan: a line a function, below it one an argument, below that its throughput: fastest, slowest,
    # median, mean.
    cargo bench --locked -q -p atelier-etl --bench convert >"$work/log" 2>"$work/errors" ||
        { cat "$work/log" "$work/errors" >&2; die "cargo bench failed, its messages are above"; }
    sed -E 's/[│├╰─]/ /g' "$work/log" | awk '
        $1 ~ /^(convert|csv_core|records|split)$/ { what = $1; next }
        $1 ~ /^(Product|Photos|Skus)$/ { table = tolower($1); next }
        $2 ~ /^[KMG]B\/s$/ && table != "" {
            scale = $6 == "GB/s" ? 1000 : $6 == "MB/s" ? 1 : 0.001
            printf "{\"what\":\"%s\",\"table\":\"%s\",\"mb_s\":%.0f}\n", what, table, $5 * scale
            table = ""
        }' >"$work/convert.jsonl"
    [ -s "$work/convert.jsonl" ] || die "no figures in what cargo bench printed" "see $work/log"
    result convert
}

# With the floor: what is saved there, is saved in a load.
compare_settings() {
    local round setting name words value
    step "Measuring: $rounds rounds of settings that were tried"
    floor_files
    rm -f "$work"/*.jsonl
    cat -- "$binary"/* >/dev/null
    for ((round = 0; round < rounds; round++)); do
        by_psql plain binary "$binary"
        for setting in "${SETTINGS[@]}"; do
            IFS='|' read -r name words value <<<"$setting"
            extra=$(jq -n --arg words "$words" '{$words}')
            by_psql "$name" binary "$binary" "-c $value"
        done
        extra='{}'
    done
    result settings
}

# What a product costs, one load a size. Catalogues and databases go as soon as they are measured.
show_scaling() {
    local size there
    for size in "${SCALE[@]}"; do
        there=$([ -e "$DATA/bench/$size/manifest.json" ] && printf yes || printf no)
        if [ "$(df -PB1 "$DATA" | awk 'NR == 2 { print $4 }')" -lt $((size * BYTES_A_PRODUCT)) ]; then
            say "$size products: left out, the disk has less than $((size * BYTES_A_PRODUCT / 1000000000)) GB free"
            continue
        fi
        bench_catalogue "$size"
        step "Measuring: $size products"
        extra=$(jq '{products, rows: (.tables | map(.read) | add), bytes: (.tables | map(.bytes) | add)}' "$csv/manifest.json")
        run_load "$size" "$(nproc)"
        extra='{}'
        PGDATABASE=postgres pg_psql -c 'drop database bench_load with (force)' -c checkpoint
        if [ "$there" = no ]; then rm -r "${csv:?}"; fi
    done
    csv=$DATA/bench/$products
    result scaling
}

# pgloader reads the files one after the other; the tables are those of the usual way, its keys and indexes as well. It
# gets files without defects: one quote left open, and it loses all rows behind it.
run_pgloader() {
    local size=$1 table columns
    need pgloader pgloader
    bench_catalogue "$size" none
    step "Measuring: pgloader on $size products"
    for table in product features styles photos skus related; do
        columns=$(sed -nE "s/^create table $table \((.*)\);/\1/p" bench/load/usual.sql |
            sed -E 's/\([0-9,]*\)//g; s/(^|, )([a-z_]+) [a-z]+/\1\2/g')
        cat <<COMMANDS
load csv from '$csv/$table.csv' ($(sed -E "s/value|sale_price/& [null if 'null']/" <<<"$columns"))
    into postgresql://atelier:$(pg_password)@127.0.0.1:$(pg_port)/bench_load?sslmode=disable
    target table public.$table ($columns)
    with skip header = 1, fields optionally enclosed by '"', fields escaped by double-quote, fields terminated by ',',
         workers = 8, concurrency = 2
    set client_min_messages to 'warning';
COMMANDS
    done >"$work/load.pgloader"
    sed -nE '/^(create table|alter table|create index|vacuum)/p' bench/load/usual.sql >"$work/usual.sql"
    cat -- "$csv"/*.csv >/dev/null
    PGDATABASE=bench_load measure pgloader by_pgloader
    PGDATABASE=bench_load pg_psql -At -F ' ' -c "$(sed -n '/^select .product., count/,$p' bench/load/usual.sql)" >"$work/rows"
    # shellcheck disable=SC2016 # jq's
    keep pgloader '{rows: ($rows | split("\n") | map(select(. != "") | split(" ") | {key: .[0], value: .[1] | tonumber}) | from_entries)}' \
        --rawfile rows "$work/rows"
    run_load load "$(nproc)"
    result pgloader
    csv=$DATA/bench/$products
}
by_pgloader() {
    grep '^create table' "$work/usual.sql" | pg_psql -f -
    (cd "$work" && pgloader --quiet --root-dir "$work/pgloader" load.pgloader)
    grep -v '^create table' "$work/usual.sql" | pg_psql -f -
}

# Several COPYs of one table side by side, with the files of the floor, and so without the loader's share: what
# copying a table in parts would bring.
sketch_parts() {
    local round pages part kind
    step "Measuring: photos in one COPY, and in $(nproc) at a time"
    floor_files
    rm -f "$work"/*.jsonl
    pages=$(PGDATABASE=bench_load pg_psql -Atc "select relpages from pg_class where oid = 'atelier.photos'::regclass")
    for ((part = 0; part < $(nproc); part++)); do
        PGDATABASE=bench_load pg_psql -c "\\copy (select * from atelier.photos where ctid >= '($((pages * part / $(nproc))),0)' and ctid < '($((pages * (part + 1) / $(nproc))),0)') to '$work/photos.$part' (format binary)"
    done
    cat "$binary/photos" "$work"/photos.* >/dev/null
    for ((round = 0; round < rounds; round++)); do
        for kind in whole leaves together; do
            PGDATABASE=bench_load measure "$kind" copy_parts "$kind"
            keep "$kind" '{}'
        done
    done
    rm -f "$work"/photos.*
    result parts
}

# whole: one COPY. leaves: into a table each, frozen. together: into one table that is there already, with its log.
copy_parts() {
    local part pid create
    local -a pids=()
    create=$(awk '/^CREATE TABLE photos / { on = 1 } on { print } /;$/ { on = 0 }' schema.sql)
    case $1 in
    whole) copy_part "$create" photos "$binary/photos" ;;
    leaves)
        for ((part = 0; part < $(nproc); part++)); do
            copy_part "${create/photos/photos_$part}" "photos_$part" "$work/photos.$part" &
            pids+=($!)
        done
        ;;
    together)
        pg_psql -c "$create"
        for ((part = 0; part < $(nproc); part++)); do
            copy_part '' photos "$work/photos.$part" &
            pids+=($!)
        done
        ;;
    esac
    for pid in "${pids[@]}"; do wait "$pid"; done
}

# copy_part CREATE-TABLE TABLE FILE: frozen if the table is made here.
copy_part() { printf 'begin;\n%s\n\\copy %s from %s with (format binary%s)\ncommit;\n' "$1" "$2" "'$3'" "${1:+, freeze}" | pg_psql -f -; }

# --- all of it ------------------------------------------------------------------------------------------------

# The page, of whatever was measured at full size; what was measured of other catalogues is printed alone.
write_page() {
    local page=$RESULTS/page.md chart=$RESULTS/benchmarks-load.svg
    if [ "$products" = "$FULL_SIZE" ]; then chart=docs/benchmarks-load.svg; fi
    python3 bench/load/page.py "$RESULTS" "$chart" >"$page"
    if [ "$products" = "$FULL_SIZE" ]; then python3 bench/section.py docs/benchmarks.md load <"$page"; fi
    cat "$page"
}

bench_etl() {
    local question pgloader_products=''
    local -a questions=(contestants jobs convert parts)
    products=$FULL_SIZE rounds=3
    while [ $# -gt 0 ]; do
        case $1 in
        --products | --rounds | --pgloader-products)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$1 needs a number" "see scripts/bench --help"
            ;;&
        --products) products=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --pgloader-products) pgloader_products=$2; shift ;;
        --only)
            IFS=, read -ra questions <<<"${2:-}"
            shift
            ;;
        --with-pgloader) questions+=(pgloader) ;;
        --scaling) questions+=(scaling) ;;
        --settings) questions+=(settings) ;;
        *) die "unknown argument: $1" "see scripts/bench --help" ;;
        esac
        shift
    done
    for question in "${questions[@]}"; do
        [[ $question =~ ^(contestants|jobs|convert|parts|pgloader|scaling|settings|page)$ ]] ||
            die "unknown question: $question" "see scripts/bench --help"
    done

    step "Building"
    need_tools
    need jq jq
    need python3 python3
    need pgrep procps
    cargo build --release --locked -p atelier-etl

    RESULTS=$DATA/bench/results-$products
    mkdir -p "$RESULTS"
    bench_catalogue "$products"
    step "Starting the private PostgreSQL"
    pg_start
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$work'" EXIT

    for question in "${questions[@]}"; do
        case $question in
        contestants) compare_contestants ;;
        jobs) compare_jobs ;;
        convert) convert_speed ;;
        parts) sketch_parts ;;
        pgloader) run_pgloader "${pgloader_products:-$((products / 10))}" ;;
        scaling) show_scaling ;;
        settings) compare_settings ;;
        esac
    done
    PGDATABASE=postgres pg_psql -c 'drop database if exists bench_load with (force)' -c checkpoint
    write_page
}
