#!/usr/bin/env bash
# Loads the catalogue with psql alone, as fast as possible. scripts/bench compares the loader with it: with CSV files it is
# the best script, with PostgreSQL's binary files the floor.
#
#   psql.sh csv|repaired|binary DIRECTORY    into an empty database named by PGHOST, PGDATABASE and so on
#
# There is one lane for each core. It takes the next table, the longest first, and creates and copies it in one
# transaction, so that rows are frozen and, with wal_level=minimal, need no WAL. (Unlogged tables would write as little, but
# be empty after a crash.) Then lanes create the keys of schema.sql and run ANALYZE, a table at a time.
#
# csv checks and repairs nothing: PostgreSQL's CSV reader pairs unclosed quotes with later ones and loses rows. repaired does
# the minimum to load the same rows as the loader: it adds a quote to lines with an odd number of them, which would break
# line ends in quotes, and deletes orphans. The position of a product, which is not in the CSV files, is numbered during
# the load.
#
# Prints a line for each step: copy or index, the table, and its start and end in seconds.
set -euo pipefail
export LC_ALL=C

kind=$1 directory=$2
# As the loader: more than a process for an index costs more than it brings while all cores have work. What the caller
# sets comes behind it, and counts.
export PGOPTIONS="-c max_parallel_maintenance_workers=0 ${PGOPTIONS:-}"
schema=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)/schema.sql
copied=$(mktemp -d)
trap 'rm -rf "$copied"' EXIT
export kind directory schema copied

# The statements that copy a table. Mended rows come from standard input.
copy() {
    local columns='' options='format binary, freeze' from="'$directory/$1'"
    if [ "$kind" != binary ]; then
        options="format csv, header, null 'null', freeze" from="'$directory/$1.csv'"
        if [ "$1" = product ]; then columns='(id, name, slogan, description, category, default_price)'; fi
    fi
    if [ "$kind" = repaired ]; then from=pstdin; fi
    printf 'begin;\n'
    awk -v table="$1" '$0 ~ "^CREATE TABLE " table " " { on = 1 } on { print } /;$/ { on = 0 }' "$schema"
    if [ -n "$columns" ]; then printf 'alter table product alter position add generated always as identity;\n'; fi
    printf '\\copy %s %s from %s with (%s)\n' "$1" "$columns" "$from" "$options"
    printf 'commit;\n'
}

# Their input.
input() {
    if [ "$1 $kind" = 'copy repaired' ]; then
        awk -F '"' 'NF > 0 && NF % 2 == 0 { $0 = $0 "\"" } { print }' "$directory/$2.csv"
    fi
}

# The statement that deletes the rows of a table without a parent.
orphans() {
    case $1 in
    product) return ;;
    photos | skus) printf 'delete from %s c where not exists (select from styles p where p.id = c.style_id);\n' "$1" ;;
    *) printf 'delete from %s c where not exists (select from product p where p.id = c.product_id);\n' "$1" ;;
    esac
    if [ "$1" = related ]; then
        printf 'delete from related c where not exists (select from product p where p.id = c.related_product_id);\n'
    fi
}

# The statements that make its keys.
index() {
    printf 'begin;\n'
    # As much memory as the loader takes.
    printf "select set_config('maintenance_work_mem', '256MB', false) as memory
        where pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB') \\\\g /dev/null\n"
    if [ "$kind" = repaired ]; then orphans "$1"; fi
    grep "^ALTER TABLE $1 " "$schema"
    printf 'analyze %s;\ncommit;\n' "$1"
}

# Whether a table can be indexed: it is there, and where orphans are to be deleted, its parents.
ready() {
    local table
    local -a tables=("$1")
    if [ "$kind" = repaired ]; then tables+=(product styles); fi
    for table in "${tables[@]}"; do [ -e "$copied/$table" ] || return 1; done
}

# step copy|index TABLE
step() {
    local start
    # Only the last tables to be copied are waited for: the others' lanes are free because they are done.
    until [ "$1" = copy ] || ready "$2"; do
        [ ! -e "$copied/failed" ] || exit 255
        sleep 0.01
    done
    start=$EPOCHREALTIME
    "$1" "$2" >"$copied/$1-$2.sql"
    # 255: no further step is begun.
    input "$1" "$2" | psql -X -q -v ON_ERROR_STOP=1 -f "$copied/$1-$2.sql" || { touch "$copied/failed"; exit 255; }
    touch "$copied/$2"
    awk -v what="$1 $2" -v zero="$zero" -v start="$start" -v end="$EPOCHREALTIME" \
        'BEGIN { printf "%s %.2f %.2f\n", what, start - zero, end - zero }'
}
export -f copy input orphans index ready step

zero=$EPOCHREALTIME
export zero
# shellcheck disable=SC2016 # for the shells of the lanes
printf '%s\n' copy\ {photos,skus,related,product,features,styles} index\ {skus,related,product,features,styles,photos} |
    xargs -P "$(nproc)" -L 1 bash -euo pipefail -c 'step "$@"' step
