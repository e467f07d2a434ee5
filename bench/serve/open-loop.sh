# The part of scripts/bench serve that measures latency at fixed rates. It is sourced by
# scripts/bench, after run.sh.
# shellcheck shell=bash source=bench/serve/run.sh
# shellcheck disable=SC2154,SC2034 # what run.sh, which sources this, sets or reads

# open_loop_run RATE SECONDS LABEL: leaves what oha says in $work/oha.json.
open_loop_run() {
    "$OHA" -z "${2}s" -q "$1" --latency-correction -c "$WRK_CONNECTIONS" --disable-compression \
        --no-tui --output-format json --urls-from-file "$work/urls" >"$work/oha.json" 2>"$work/log" ||
        { cat "$work/log" >&2; die "oha failed, its messages are above"; }
    # What is under way when the time is up is no error.
    jq -e '(.statusCodeDistribution | keys == ["200"]) and
        (.errorDistribution | del(.["aborted due to deadline"]) | length == 0)' "$work/oha.json" >/dev/null ||
        die "not all answers were 200: $(jq -c '[.statusCodeDistribution, .errorDistribution]' "$work/oha.json")"
    figure open --arg what "$3" --argjson rate "$1" --argjson got "$(jq '.summary.requestsPerSec' "$work/oha.json")" \
        --argjson ms "$(jq -c '.latencyPercentiles | {p50, p99, p999: .["p99.9"]} | map_values(. * 1000)' "$work/oha.json")"
    line "$3" "$(jq '.summary.requestsPerSec | round' "$work/oha.json")" requests/s \
        "$(jq -r '.latencyPercentiles | [.p50, .p99, .["p99.9"]] | map(. * 1000) | @tsv' "$work/oha.json" |
            awk '{ printf "p50 %.2f ms  p99 %.2f ms  p99.9 %.2f ms", $1, $2, $3 }')"
}

open_loop() {
    local run rate step knee=0 most share
    title "Open loop: uncached styles of random products, latency from when a request was due"
    awk -v seed="$RANDOM" -v products="$products" -v address="$address" 'BEGIN {
        srand(seed)
        for (i = 0; i < 200000; i++) printf "http://%s/products/%d/styles\n", address, 1 + int(rand() * products) }' >"$work/urls"
    for ((run = 0; run < rounds; run++)); do
        open_loop_run "$OPEN_LOOP_RATE" "$RAMP_SECONDS" "$(commas <<<"$OPEN_LOOP_RATE") requests/s"
        jq '.latencyPercentiles.p99 * 1000' "$work/oha.json" >>"$work/p99"
    done
    awk -v p99="$(median <"$work/p99")" -v target="$TARGET_P99_MS" 'BEGIN {
        printf "median of p99 %.2f ms   target %d ms: %s\n", p99, target, (p99 < target) ? "reached" : "MISSED" }'
    figure p99 --argjson p99 "$(median <"$work/p99")" --argjson target "$TARGET_P99_MS"
    # Up to what the closed loop reached, in steps of a sixteenth of it, until requests come late.
    most=$(median <"$work/uncached" | cut -d. -f1)
    for ((step = 2; step <= 16; step++)); do
        rate=$((most * step / 16))
        open_loop_run "$rate" "$RAMP_SECONDS" ramp
        jq -e --argjson rate "$rate" --argjson late "$KNEE_P99_MS" \
            '.latencyPercentiles.p99 * 1000 < $late and .summary.requestsPerSec > $rate * 0.98' "$work/oha.json" >/dev/null || break
        knee=$rate
    done
    [ "$knee" -gt 0 ] || { say "no rate was kept: the knee is below $((most / 8)) requests/s"; return; }
    title "The knee, p99 below $KNEE_P99_MS ms, is at $knee requests/s"
    figure knee --argjson rate "$knee" --argjson closed "$most" --argjson late "$KNEE_P99_MS"
    for ((run = 0; run < rounds; run++)); do
        for share in 50 80; do open_loop_run $((knee * share / 100)) "$RAMP_SECONDS" "$share % of the knee"; done
    done
}
