#!/usr/bin/env bash
# Passes all tests: formatting, lints, documentation, unit, property, snapshot and
# end-to-end tests, rule tests, pySigma's word on the conformance vectors, the comparison
# with other engines (built), the benchmark (a small log, Masthead alone), fuzz targets
# (built, and run for a few seconds each).
#
# Installs what it lacks on Debian and Ubuntu, and says so. Needs Rust (rustup or the
# distribution's). MASTHEAD_REQUIRE_CORPUS=1 makes tests fail that need the recorded
# corpus (`../shared` beside the checkout) instead of skipping them.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

install() { # install PACKAGE
    say "installing $1"
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null || install "$2"
}

command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup first" >&2; exit 2; }
need cc gcc
need c++ g++
need make make
# OpenSSL's configuration needs more of it than there is in any case.
perl -MFindBin -MIPC::Cmd -e 1 2>/dev/null || install perl
need python3 python3
need faketime faketime
need java default-jre-headless
need mvn maven
python3 -c 'import ensurepip' 2>/dev/null || install python3-venv
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

tools=$PWD/target/tools
export PATH="$tools/bin:$PATH"
command -v cargo-deny >/dev/null || {
    say "installing cargo-deny into $tools"
    cargo install cargo-deny --quiet --locked --root "$tools"
}

say "formatting"
cargo fmt --all --check
say "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings
say "lints without Kafka"
# Without Kafka, wildcards of some matches stand for one variant alone.
cargo clippy --no-default-features --tests --quiet -- -D warnings -A clippy::match-wildcard-for-single-variants
say "licences and sources of dependencies"
cargo deny --log-level error check licenses bans sources
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
say "tests"
cargo test --workspace --quiet
say "rules and their example events"
cargo run --quiet -- check
cargo run --quiet -- test
say "what pySigma makes of the conformance vectors"
oracle=$PWD/target/oracle
[ -e "$oracle/ready" ] || {
    python3 -m venv "$oracle"
    "$oracle/bin/pip" install --quiet --disable-pip-version-check pysigma==2.0.1
    touch "$oracle/ready"
}
"$oracle/bin/python" tests/conformance/oracle.py
"$oracle/bin/python" tests/conformance/pipelines.py --check 2>/dev/null | tail -1
say "the comparison with other engines"
cargo test --quiet --manifest-path bench/conformance/Cargo.toml --target-dir target/conformance
say "the benchmark, small"
bench/compare --quick
say "fuzz targets"
./fuzz.sh
say "all passed"
