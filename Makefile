# Shortcuts for cargo and for the scripts in scripts/; `make help` lists them.

PORT ?= 7777
CARGO ?= cargo
export PORT
# Where rustup installs cargo, for a shell that has not read the profile since. A cargo that is in PATH comes first.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Tests wait more than they compute; tests that measure time run one at a time by themselves.
TEST_THREADS ?= 6

.DEFAULT_GOAL := help
# Targets share apt, target/ and the server's ports, and `make test` needs its parts in order: -j must not mix them.
.NOTPARALLEL:
.PHONY: help deps lint-deps test-deps module build run test test-all test-clients test-servers test-python test-packages test-sanitize \
	instructions servers clients python packages dist fuzz lint deny bench bench-sinks bench-fleet fleet-sim clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

deps: ## install what building and running need and the machine lacks (Debian, Ubuntu)
	@scripts/deps.sh

lint-deps: ## install also what lint needs
	@scripts/deps.sh lint

test-deps: ## install also what tests need
	@scripts/deps.sh test

module: deps ## build the module, target/release/libaggregator.so
	$(CARGO) build --release --package aggregator

build: deps ## build the module and agg with full optimisation, in target/release
	$(CARGO) build --release --workspace

run: ## start a Redis server with the module, let this machine report to it, print the records (PORT=7777, SHOW=json, CONFIG=poller.toml)
	@scripts/run.sh

lint: lint-deps ## check format, clippy, licences of dependencies, retired words
	$(CARGO) fmt --all -- --check
	@scripts/dependencies.py
	@scripts/retired-words.py
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# The tests of the workspace also build target/debug/agg, which those of documents and packages use.
test: test-deps lint module servers clients ## run what CI runs: lint, all tests, each fuzz target for a short while
	@scripts/instructions.py
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace --no-fail-fast
	@scripts/manifests.sh
	@scripts/python.sh test
	@scripts/packages.sh --debug && scripts/test-packages.sh
	@scripts/fuzz.sh

test-all: test-deps lint build servers clients ## run the same for longer: more seeds, kills, payloads and random cases (about an hour)
	PROPTEST_CASES=5000 $(CARGO) test --release -p aggregator-core
	AGG_HEAVY=1 $(CARGO) test --workspace --no-fail-fast
	@scripts/python.sh test
	@scripts/packages.sh --dist && scripts/test-packages.sh
	@scripts/test-packages.sh trixie redis-server && scripts/test-packages.sh trixie valkey-server
	@scripts/fuzz.sh 300s

test-clients: test-deps module ## run the programs of docs/clients with every client that can be installed
	@scripts/clients.sh --all
	$(CARGO) test --package aggregator --test docs clients::

test-servers: module servers ## run the server tests on Redis 7.0, 7.4, 8.2, Valkey 8.1, 9.1; prints a table (ARGS=--all: also the slow ones)
	@scripts/test-servers.sh $(ARGS)

test-sanitize: servers ## run tests of the module in a server under AddressSanitizer (ARGS="--valgrind blocking")
	@scripts/sanitize.sh $(ARGS)

deny: ## run cargo-deny with deny.toml: licences, bans, duplicates, sources (builds it first, which takes minutes)
	@[ -x target/tools/bin/cargo-deny ] || $(CARGO) install cargo-deny --quiet --locked --root target/tools
	@target/tools/bin/cargo-deny --all-features check --hide-inclusion-graph licenses bans sources

clients: test-deps ## fetch the clients of other languages, and the senders, that tests need
	@scripts/clients.sh
	@scripts/senders.sh

servers: test-deps ## fetch the servers that tests need: Redis 7.4, 8.2, Valkey 8.1, 9.1, one that speaks MongoDB's protocol
	@scripts/servers.sh >/dev/null

fuzz: test-deps ## run each fuzz target for a short while, from the committed corpus
	@scripts/fuzz.sh

bench: module servers ## measure commands in a server, beside SET and others; the core and the protocols of agg listen alone (ARGS=--help)
	$(CARGO) bench --bench server -- $(ARGS)
	$(CARGO) bench -p aggregator-core
	$(CARGO) bench -p agg-listener --bench protocols -- --warm-up-time 0.5 --measurement-time 2
	$(CARGO) bench -p agg --bench poll
	@echo "Instructions of an AGG.STAT by source file:"
	@$(CARGO) build --quiet --profile lines --package aggregator
	@scripts/instructions.py --files stat --module target/lines/libaggregator.so

instructions: test-deps module ## count the instructions of commands, compare with benches/instructions.txt (ARGS=--update, ARGS=--help)
	@scripts/instructions.py $(ARGS)

bench-sinks: servers ## measure the sinks of agg poll, each with its own target (ARGS=--help)
	$(CARGO) build --release -p aggregator -p agg
	crates/agg/benches/sinks.py $(ARGS)

bench-fleet: ## measure one agg poll with 200 servers: idle, and while 50 of them die and return (ARGS=--help)
	$(CARGO) build --release -p aggregator -p agg
	crates/agg/benches/fleet.py $(ARGS)

fleet-sim: deps ## measure three pollers on 10,000 simulated nodes, in target/fleet-sim (10 minutes; ARGS="--nodes 500 --window 60")
	$(CARGO) build --release -p agg -p aggregator-fleet-sim
	python3 scripts/fleet-sim $(ARGS)

python: test-deps ## build the Python client's wheel, in target/python/dist
	@scripts/python.sh wheel

test-python: test-deps module ## run the Python client's lint, types, tests and examples (ARGS are passed to pytest)
	@scripts/python.sh test $(ARGS)

packages: test-deps build ## build Debian packages of the module and of agg, in target/package
	@scripts/packages.sh

test-packages: packages ## install, run, upgrade and remove the packages on a clean system (root; ARGS="trixie valkey-server")
	@scripts/test-packages.sh $(ARGS)

dist: test-deps build ## build a release: packages, archives, the Python client and SHA256SUMS, in target/dist
	@scripts/packages.sh --dist

clean: ## remove all build results
	$(CARGO) clean
