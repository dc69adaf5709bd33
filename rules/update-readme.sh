#!/usr/bin/env bash
# Writes the generated parts of rules/README.md anew: the table of fields, the list of rules, what they cover.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet

readme=rules/README.md
new=$(mktemp)
trap 'rm -f "$new"' EXIT

section() { # section NAME ARGUMENTS...
    local name=$1
    shift
    cargo run --quiet -- "$@" --format markdown | awk -v "begin=<!-- $name:begin -->" -v "end=<!-- $name:end -->" '
        NR == FNR { part = part $0 "\n"; next }
        $0 == begin { print; printf "%s", part; is_inside = 1 }
        $0 == end { is_inside = 0 }
        !is_inside
    ' - "$readme" >"$new"
    cat "$new" >"$readme"
}

section fields rules --fields
section rules rules
section coverage rules --coverage
