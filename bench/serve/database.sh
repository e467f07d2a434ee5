# The part of scripts/bench serve that measures PostgreSQL alone: other statements for the same rows, and a read model
# of finished documents. It is sourced by scripts/bench, after run.sh.
# shellcheck shell=bash source=bench/serve/run.sh
# shellcheck disable=SC2154,SC2034 # what run.sh, which sources this, sets or reads

IDS_A_STATEMENT=16 # what a statement of the server's answers for under full load, see atelier_database_requests
STATEMENT_SECONDS=2

# pgbench_products SCRIPT IDS: products a second of a statement for IDS products, one connection a core.
pgbench_products() {
    PGOPTIONS='-c plan_cache_mode=force_generic_plan -c jit=off -c default_transaction_read_only=on' \
        PGDATABASE=$DATABASE_URL "$PG_BIN/pgbench" -n -M prepared -c "$(nproc)" -j "$(nproc)" -T "$STATEMENT_SECONDS" \
        -D "products=$products" -f "$1" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; die "pgbench failed with $1, its messages are above"; }
    awk -v ids="$2" '$1 == "tps" { printf "%d\n", $3 * ids }' "$work/log"
}

# The same rows by other statements, in turn.
statements() {
    local name ids what run covering
    title "The same rows by other statements, $IDS_A_STATEMENT products in each, $rounds rounds of $STATEMENT_SECONDS s"
    mkdir -p "$work/statements"
    python3 bench/serve/statements.py "$work/statements" "$products" "$IDS_A_STATEMENT" >"$work/statements/list"
    for ((run = 0; run < rounds; run++)); do
        while read -r name ids _; do
            if [ "$name" = covering ]; then continue; fi
            pgbench_products "$work/statements/$name.sql" "$ids" >>"$work/statements/$name"
        done <"$work/statements/list"
    done
    plan
    if [ -n "$own_database" ]; then
        covering=$(covering_index)
        for ((run = 0; run < rounds; run++)); do
            # The index that is left out is there all the same: what it costs in memory is small.
            pgbench_products "$work/statements/covering.sql" "$IDS_A_STATEMENT" >>"$work/statements/covering"
        done
        drop_made
        figure covering --argjson index "$covering"
    else
        rm -f "$work/statements/covering"
    fi
    while read -r name ids what; do
        if [ ! -s "$work/statements/$name" ]; then continue; fi
        figure statement --arg name "$name" --arg what "$what" --argjson rate "$(median <"$work/statements/$name")"
        line "$name" "$(median <"$work/statements/$name" | cut -d. -f1)" products/s "$what"
    done <"$work/statements/list"
}

# Makes an index of skus with all columns, and prints what it costs beside the one that is there.
covering_index() {
    local start seconds plain
    start=$(now)
    query -c 'create unique index bench_plain on atelier.skus (style_id, id) with (fillfactor = 100)'
    plain=$(since "$start")
    query -c 'drop index atelier.bench_plain'
    start=$(now)
    query -c 'create unique index bench_covering on atelier.skus (style_id, id) include (size, quantity) with (fillfactor = 100)'
    seconds=$(since "$start")
    query -c "select json_build_object('plain_seconds', $plain, 'seconds', $seconds,
        'bytes', pg_relation_size('atelier.bench_covering'), 'plain_bytes', pg_relation_size('atelier.skus_pkey'))"
}

# Whatever was made beside the catalogue.
drop_made() {
    query -c 'set client_min_messages = warning' -c 'drop index if exists atelier.bench_covering, atelier.bench_plain' \
        -c 'drop schema if exists bench_read cascade'
}

# The plan of the server's statement, with what it read.
plan() {
    {
        printf 'set plan_cache_mode = force_generic_plan; set jit = off;\nexplain (analyze, buffers, costs off, timing off, summary off) '
        awk -v seed="$RANDOM" -v products="$products" 'BEGIN { srand(seed) }
            /^\\set/ { id[$2] = 1 + int(rand() * products); next }
            { while (match($0, /:id[0-9]+/))
                  $0 = substr($0, 1, RSTART - 1) id[substr($0, RSTART + 1, RLENGTH - 1)] substr($0, RSTART + RLENGTH)
              print }' \
            "$work/statements/rows.sql"
    } >"$work/statements/explain.sql"
    query -f "$work/statements/explain.sql" >/dev/null # the pages are in memory as a rule
    query -f "$work/statements/explain.sql" >"$work/plan"
}

# A table of finished documents, made in the database with both cores, and what it would bring. Dropped again.
read_model() {
    local start made indexed run
    title "A read model: the styles document of every product, finished"
    if [ -z "$own_database" ]; then
        say "left out: it would be made in the database of DATABASE_URL"
        return
    fi
    query -c 'create schema bench_read'
    start=$(now)
    query -v ON_ERROR_STOP=1 -f bench/serve/readmodel.sql
    made=$(since "$start")
    start=$(now)
    query -c 'alter table bench_read.style_document add primary key (product_id) with (fillfactor = 100)' \
        -c 'analyze bench_read.style_document'
    indexed=$(since "$start")
    printf '\\set id random(1, :products)\nselect body from bench_read.style_document where product_id = :id;\n' >"$work/one.sql"
    {
        for ((run = 0; run < IDS_A_STATEMENT; run++)); do printf '\\set id%d random(1, :products)\n' "$run"; done
        printf 'select load_id::text, 0 from atelier.load union all\n'
        printf 'select body, product_id from bench_read.style_document where product_id = any(array[:id0'
        for ((run = 1; run < IDS_A_STATEMENT; run++)); do printf ', :id%d' "$run"; done
        printf ']::int[]);\n'
    } >"$work/many.sql"
    pgbench_products "$work/many.sql" "$IDS_A_STATEMENT" >/dev/null # not counted: it brings the table into memory
    for ((run = 0; run < rounds; run++)); do
        pgbench_products "$work/one.sql" 1 >>"$work/model-one"
        pgbench_products "$work/many.sql" "$IDS_A_STATEMENT" >>"$work/model-many"
        pgbench_products "$work/statements/rows.sql" "$IDS_A_STATEMENT" >>"$work/model-own"
    done
    figure model --argjson made "$made" --argjson indexed "$indexed" \
        --argjson one "$(median <"$work/model-one")" --argjson many "$(median <"$work/model-many")" \
        --argjson rows "$(median <"$work/model-own")" \
        --argjson disk "$(query -c "select json_build_object(
            'model', pg_total_relation_size('bench_read.style_document'),
            'catalogue', (select sum(pg_total_relation_size(oid)) from pg_class
                where relnamespace = 'atelier'::regnamespace and relkind = 'r'),
            'load_seconds', (select round(extract(epoch from finished_at - started_at)::numeric, 1) from atelier.load))")"
    drop_made
    jq -r 'select(.kind == "model") | "made in \(.made) s, indexed and analyzed in \(.indexed) s, \(.disk.model / 1e6 | round) MB beside \(.disk.catalogue / 1e6 | round) MB; the load took \(.disk.load_seconds) s
\(.one) products/s one a statement, \(.many) \(.many / .rows * 100 | round / 100) times the rows\u0027 \(.rows)"' "$work/figures" | commas
}
