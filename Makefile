# Shortcuts; `make help` lists them. What runs is in scripts/ and in cargo.

PORT ?= 7777
CARGO ?= cargo
export PORT

.DEFAULT_GOAL := help
.PHONY: help deps build run test test-all test-clients test-servers test-python test-packages test-sanitize servers clients python packages dist fuzz \
	lint deny bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

deps: ## install what is missing (Debian, Ubuntu)
	@scripts/deps.sh

build: deps ## build the module and the program agg
	$(CARGO) build --release --workspace

run: ## a Redis with the module, this machine reporting to it, its records on the screen (PORT=7777, SHOW=all, CONFIG=poller.toml)
	@scripts/run.sh

lint: deps ## format, clippy, licences of what is linked
	$(CARGO) fmt --all -- --check
	@scripts/dependencies.py
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test: lint build servers clients ## what CI runs: lint, all tests, each fuzz target for a short while
	$(CARGO) test --workspace --no-fail-fast
	@scripts/python.sh test
	@scripts/packages.sh && scripts/test-packages.sh
	@scripts/fuzz.sh

test-all: lint build servers clients ## the same for long: more seeds, kills, payloads and random cases (about an hour)
	PROPTEST_CASES=5000 $(CARGO) test --release -p aggregator-core
	AGG_HEAVY=1 $(CARGO) test --workspace --no-fail-fast
	@scripts/python.sh test
	@scripts/packages.sh --dist && scripts/test-packages.sh
	@scripts/test-packages.sh trixie redis-server && scripts/test-packages.sh trixie valkey-server
	@scripts/fuzz.sh 300s

test-clients: build ## the programs of docs/clients, with every client that can be had
	@scripts/clients.sh --all
	$(CARGO) test --package aggregator --test docs clients::

test-servers: build servers ## the server tests on Redis 7.0, 7.4, 8.2, Valkey 8.1, 9.1, as a table (ARGS=--all: the slow ones, too)
	@scripts/test-servers.sh $(ARGS)

test-sanitize: servers ## tests of the module in a server under AddressSanitizer (ARGS="--valgrind blocking")
	@scripts/sanitize.sh $(ARGS)

deny: ## cargo-deny with deny.toml: licences, bans, duplicates, sources (builds it first, which takes minutes)
	@[ -x target/tools/bin/cargo-deny ] || $(CARGO) install cargo-deny --quiet --locked --root target/tools
	@target/tools/bin/cargo-deny --all-features check --hide-inclusion-graph licenses bans sources

clients: ## fetch the clients of other languages that tests need
	@scripts/clients.sh

servers: ## fetch servers that tests need: Redis 7.4, 8.2, Valkey 8.1, 9.1, one that speaks MongoDB's protocol
	@scripts/servers.sh >/dev/null

fuzz: deps ## each fuzz target for a short while, from the committed corpus
	@scripts/fuzz.sh

bench: build servers ## what it costs: through a server beside SET and others, and of the core alone (ARGS=--help)
	$(CARGO) bench --bench server -- $(ARGS)
	$(CARGO) bench -p aggregator-core

python: deps ## the Python client's wheel, in target/python/dist
	@scripts/python.sh wheel

test-python: build ## the Python client's lint, types, tests and examples (ARGS=pytest's)
	@scripts/python.sh test $(ARGS)

packages: build ## Debian packages of the module and of agg, in target/package
	@scripts/packages.sh

test-packages: packages ## install, run, upgrade and remove them on a clean system (root; ARGS="trixie valkey-server")
	@scripts/test-packages.sh $(ARGS)

dist: build ## a release: packages, archives, the Python client and SHA256SUMS, in target/dist
	@scripts/packages.sh --dist

clean: ## remove what was built
	$(CARGO) clean
