#!/usr/bin/env bash
# Builds every fuzz target and runs each for some seconds: `smoke.sh [SECONDS]`, 10 by default.
# Needs a nightly toolchain; says so and ends where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: fuzzing needs a nightly toolchain (rustup toolchain install nightly)"
    exit 0
fi
tools=$(cd .. && pwd)/target/tools
export PATH="$tools/bin:$PATH"
if ! command -v cargo-fuzz >/dev/null; then
    echo "installing cargo-fuzz into $tools"
    cargo install cargo-fuzz --quiet --locked --root "$tools"
fi

for target in $(cargo +nightly fuzz list); do
    mkdir -p "fuzz/corpus/$target"
    seeds=()
    [ -d "fuzz/seeds/$target" ] && seeds=("fuzz/seeds/$target")
    [ "$target" = rules ] && seeds=(../rules/*/ ../tests/broken_rules)
    echo "fuzzing $target for $seconds s"
    cargo +nightly fuzz run --target-dir ../target/fuzz "$target" "fuzz/corpus/$target" "${seeds[@]}" -- \
        -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -verbosity=0 -print_final_stats=1 2>&1 |
        grep -E 'number_of_executed_units|ERROR|panicked|SUMMARY' || true
    [ -z "$(ls -A "fuzz/artifacts/$target" 2>/dev/null)" ] || { ls "fuzz/artifacts/$target"; exit 1; }
done
