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

# how fast it is, beside anchors in the same run: just bench [ROW…]
bench *ROWS:
    cargo bench --package clawrk-cli --bench exchange -- {{ROWS}}

# everything that reads what others write, a minute each: just fuzz [TARGET…]
fuzz *TARGETS:
    scripts/fuzz {{TARGETS}}
