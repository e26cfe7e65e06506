# What can be done with this project: `make help`. CI runs `make test` and nothing else.
# PG_CONFIG=/path/to/pg_config chooses the PostgreSQL; the default is Debian 12's 15.

.DEFAULT_GOAL := help
.PHONY: help setup build install lint test test-core test-regress test-isolation test-cluster test-drivers bench demo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: ## install what building and testing needs (Debian 12, as root; does nothing when all is there)
	@scripts/setup

build: setup ## build the extension and the stand-alone verifier in release mode
	@scripts/build

install: build ## install the extension into PostgreSQL, safe for running servers
	@scripts/install

lint: build ## formatting, clippy, rustdoc, shellcheck and how names are looked up; warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
	@scripts/lint_shell
	@scripts/lint_names
	@scripts/lint_sql

test: install ## every test; the last line counts them
	@tests/run

test-core: ## the pure core and the verifier; needs no PostgreSQL
	@tests/run core

test-regress: install ## each SQL function, by PostgreSQL's pg_regress
	@tests/run regress

test-isolation: install ## concurrent sessions, by PostgreSQL's pg_isolation_regress
	@tests/run isolation

test-cluster: install ## crashes, dumps, standbys, privileges, tampering, on throwaway servers
	@tests/run cluster

test-drivers: install ## the examples of docs/drivers.md, with each driver that can be installed
	@tests/run drivers

bench: install ## measure everything against its target, about an hour; writes docs/benchmarks.md
	@bench/run

demo: install ## the main job on this machine's own package log, then two nodes: damage that heals, a fork
	@demo/run
