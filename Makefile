# `make` alone says what there is. Always --workspace: building one package picks other features and compiles anew.

export PATH := $(PATH):$(HOME)/.cargo/bin
DENY := 0.20.2

.DEFAULT_GOAL := help
.PHONY: help setup demo lab deb test test-packages test-faults check bench bench-samples bench-probe bench-seed bench-verify

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing (as root on Debian; elsewhere say what is)
	@packaging/setup.sh

demo: setup ## move a throw-away database under load on this machine, and show what was measured
	cargo build --release --workspace --locked
	target/release/flytt demo

lab: setup ## four hosts of Debian with systemd and flytt on this machine, to try it by hand (ENGINE: postgres, mariadb, mysql; as root; tests/hosts/lab)
	cargo build --release --workspace --locked
	tests/hosts/lab up $(or $(ENGINE),postgres)

deb: ## packages for Debian 10 and later, Ubuntu 18.04 and later, and a tarball for others, into target/packages
	@packaging/setup.sh git objdump dpkg-deb ensurepip lintian
	packaging/deb.sh
	lintian --fail-on error,warning target/packages/*.deb

test: setup ## every test; the last line counts them
	@.ci/summed cargo test --workspace --locked --no-fail-fast

test-packages: setup ## packages of this build, installed on hosts of their own: joined, moved, upgraded, purged (as root)
	cargo test --workspace --locked --no-run
	FLYTT_PROGRAMS=target/debug FLYTT_INTO=target/packages/tried FLYTT_PACK=none packaging/deb.sh
	@.ci/summed env FLYTT_PACKAGES=$(CURDIR)/target/packages/tried cargo test --workspace --locked --test real_packages -- --ignored --nocapture

test-faults: setup ## every step by every fault (FLYTT_CELLS: a part of a name), FLYTT_KILLS at random moments, FLYTT_TURNS there and back, power cuts: hours
	cargo test --workspace --locked --no-run
	@.ci/summed env FLYTT_EVERY=1 cargo test --workspace --locked --test fakes
	@.ci/summed env FLYTT_KILLS=$${FLYTT_KILLS:-100} FLYTT_TURNS=$${FLYTT_TURNS:-25} cargo test --workspace --locked \
		--test real_moments -- --ignored --nocapture --test-threads=1 kills_at_random_moments many_times the_whole_matrix
	@.ci/summed cargo test --workspace --locked --test real_hosts -- --ignored --nocapture

check: setup ## formatting, lints, unit tests, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@.ci/summed cargo test --workspace --locked --no-fail-fast --lib --bins
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny@$(DENY)
	cargo deny --workspace --locked check bans licenses sources

bench: setup ## measure: one JSON line per comparison
	cargo build --profile dist --workspace --locked
	target/dist/flytt bench

bench-samples: setup ## measure what agents cost while each streams its samples: JSON lines
	cargo build --profile dist --workspace --locked
	target/dist/flytt bench --cutovers 0 --seeds 0 --rest 0 --seed-mib 50 --samples 60

bench-probe: setup ## measure the I/O probe beside fio, in turn
	packaging/setup.sh fio
	cargo build --profile dist --workspace --locked
	target/dist/flytt bench probe

bench-seed: setup ## measure a dump of MariaDB and of MySQL beside the plain pipeline and mydumper, in turn: minutes each
	packaging/setup.sh mydumper zstd mariadb-dump
	cargo build --profile dist --workspace --locked
	target/dist/flytt bench seed --engine mariadb
	target/dist/flytt bench seed --engine mysql

bench-verify: setup ## measure a comparison of both sides beside counting rows and beside pt-table-checksum, in turn: minutes each
	packaging/setup.sh pt-table-checksum
	cargo build --profile dist --workspace --locked
	target/dist/flytt bench verify --engine postgres
	target/dist/flytt bench verify --engine mariadb
	target/dist/flytt bench verify --engine mysql
