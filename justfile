# Conveniences; nothing here is needed. `just` lists them.

default:
    @just --list

# every check, as continuous integration runs it
test:
    scripts/test

# the inner loop: the tests that match, on SQLite
t *FILTER:
    cargo nextest run --workspace {{FILTER}}

# format and lints
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# the whole story in a throwaway folder
demo:
    cargo run --release -- demo

# an exchange in ./clawrk-data
serve:
    cargo run --release -- serve

# a PostgreSQL cluster for playing; stop it with: scripts/postgres stop /tmp/clawrk-play
postgres:
    scripts/postgres start /tmp/clawrk-play

# licences, sources, banned crates
deny:
    cargo deny --offline check bans licenses sources

# a minute of invented input for each reader of what comes from outside: just fuzz [TARGET…]
fuzz *TARGETS:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo +nightly fuzz --version >/dev/null 2>&1; then
        echo "just fuzz needs a nightly compiler and cargo-fuzz:" >&2
        echo "    rustup toolchain install nightly && cargo install cargo-fuzz --locked" >&2
        exit 1
    fi
    targets="{{TARGETS}}"
    for target in ${targets:-$(cargo +nightly fuzz list)}; do
        mkdir -p "fuzz/found/$target"
        cargo +nightly fuzz run "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
            -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -max_len=16384
    done

# how fast it is, beside anchors in the same run: just bench [ROW…]
bench *ROWS:
    cargo bench --package clawrk-cli --bench exchange -- {{ROWS}}
