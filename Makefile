.PHONY: help demo test test-sql test-bench soak unattended bench bench-fleet mutants reference check-helm lint deny fmt ci

RECORDS ?= 100000,1000000
LATENCY_MS ?= 20
CALLS_PER_MINUTE ?= 0
WORKSPACES ?= 100,1000
# The newest version of PostgreSQL that scripts/packaged-postgres has, and the tests that depend on what PostgreSQL does.
PG_NEWEST = 18
SQL_TESTS = actions connecting database follower forget grants joins known_columns landing odd_databases privacy quarantine \
	reconcile retype runs upgrade workspaces
MUTANTS = --workspace --timeout 60 --cargo-arg=--locked --cargo-arg=--no-default-features

help: ## List the recipes
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Show what planhat-sync does, with a simulated workspace: needs no token and no database
	cargo run --release --locked -- demo

test: ## Run all tests against a private PostgreSQL (installs Debian's package if there is none; PG=15|16|17|18: on that version)
	scripts/with-postgres cargo test --locked --no-default-features --test it -- without_embedded
	scripts/with-postgres cargo test --locked --workspace --lib --test client --test it

test-sql: ## Run the tests of what PostgreSQL is asked to do, on the newest version of it
	PG=$(PG_NEWEST) scripts/with-postgres cargo test --locked --test it -- $(addsuffix ::,$(SQL_TESTS))

test-bench: ## Run the benchmarks once on a small workspace, to see that they work
	cargo test --locked --no-default-features --bench flatten
	scripts/with-postgres cargo test --locked --no-default-features --bench load -- --records 600 --latency-ms 1
	scripts/with-postgres cargo test --locked --no-default-features --bench load -- --workspaces 5 --idle-seconds 1

soak: ## Test with faults of all kinds at the same time, on an optimised build: one workspace for half an hour, 200 for ten minutes and more
	scripts/with-postgres cargo test --locked --release --test it -- --ignored --nocapture model::soak
	scripts/with-postgres cargo test --locked --release --test it -- --ignored --nocapture fleet_soak::

unattended: ## Run the daemon for an hour on each kind of database, under a supervisor that acts as systemd would
	scripts/with-postgres cargo test --locked --test it -- --ignored --nocapture the_daemon_keeps_tables_in_step_unattended_for_an_hour_on_every_kind_of_database

bench: ## Measure loads and daily syncs (RECORDS=100000,1000000 LATENCY_MS=20 CALLS_PER_MINUTE=0)
	scripts/with-postgres --durable cargo bench --locked --no-default-features --bench load -- \
		--records $(RECORDS) --latency-ms $(LATENCY_MS) --calls-per-minute $(CALLS_PER_MINUTE)
	cargo bench --locked --no-default-features --bench flatten

bench-fleet: ## Measure daemons of many workspaces (WORKSPACES=100,1000)
	scripts/with-postgres --durable cargo bench --locked --no-default-features --bench load -- --workspaces $(WORKSPACES)

mutants: ## Change the pager and the plan bit by bit and list what no test notices, for an hour or two (needs cargo-mutants)
	-cargo mutants --output target/mutants-of-pager $(MUTANTS) -f 'crates/api/src/pager/*.rs' -f crates/api/src/retry.rs \
		-- --lib --test client
	-cargo mutants --output target/mutants-of-plan $(MUTANTS) -f 'crates/model/src/scan/*.rs' -f src/pull/decide.rs -f src/pull/next_step.rs \
		-f src/pull/page.rs -f src/pull/detect_deletions.rs -f src/pull/deletion_guard.rs -f src/pull/rejected.rs -- --lib

reference: ## Write the generated parts of docs/commands.md, docs/configure.md and the schema of the Helm chart
	WRITE_REFERENCE=1 cargo test --locked --test it -- reference:: helm_chart::

check-helm: ## Check the Helm chart: rendered manifests, schemas of Kubernetes, values that must be refused (needs python3-pip)
	scripts/check-helm-chart

lint: ## Check formatting, lints and docs, with warnings denied
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

deny: ## Check licences, sources and known vulnerabilities of the crates we depend on (needs cargo-deny and a network)
	cargo deny --locked check --allow no-license-field

fmt: ## Format the code
	cargo fmt --all

ci: ## Do what CI does
	.ci/run
