#!/usr/bin/env bash
# Builds every fuzz target and runs each for some seconds: `./fuzz.sh [SECONDS]`, 10 by default.
# Needs a nightly toolchain; says so and ends where there is none.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: fuzzing needs a nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
tools=$PWD/target/tools
export PATH="$tools/bin:$PATH"
if ! command -v cargo-fuzz >/dev/null; then
    echo "installing cargo-fuzz into $tools"
    cargo install cargo-fuzz --quiet --locked --root "$tools"
fi

run() { # run PACKAGE TARGET [SEEDS…]
    local fuzz=$1/fuzz target=$2 log
    shift 2
    mkdir -p "$fuzz/corpus/$target"
    [ ! -d "$fuzz/seeds/$target" ] || set -- "$@" "$fuzz/seeds/$target"
    echo "fuzzing $target for $seconds s"
    log=$(mktemp)
    if ! cargo +nightly fuzz run --fuzz-dir "$fuzz" --target-dir target/fuzz "$target" "$fuzz/corpus/$target" "$@" -- \
        -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 >"$log" 2>&1; then
        tail -60 "$log"
        exit 1
    fi
    grep number_of_executed_units "$log"
}

run detect scan
run detect fields
run detect equivalence
run detect correlation
run detect redaction
run detect rules rules/*/ tests/broken_rules
run ingest frames
run ingest envelope
