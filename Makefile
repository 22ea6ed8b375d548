.PHONY: help demo test soak unattended bench lint fmt ci

RECORDS ?= 100000,1000000
LATENCY_MS ?= 20
CALLS_PER_MINUTE ?= 0

help: ## List the recipes
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Show the main job on a simulated workspace: no token, no database
	cargo run --release --locked -- demo

test: ## Run all tests against a private PostgreSQL (installs Debian's package where there is none)
	scripts/with-postgres cargo test --locked --no-default-features --test it -- without_embedded
	scripts/with-postgres cargo test --locked --lib --test it

soak: ## Half an hour of faults of all kinds at once, on an optimised build
	scripts/with-postgres cargo test --locked --release --test it -- --ignored --nocapture soak

unattended: ## An hour of the daemon on each kind of database, under a supervisor that does what systemd would
	scripts/with-postgres cargo test --locked --test it -- --ignored --nocapture all_databases_are_kept_in_step_for_an_hour

bench: ## Measure loads and daily runs (RECORDS=100000,1000000 LATENCY_MS=20 CALLS_PER_MINUTE=0)
	scripts/with-postgres --durable cargo bench --locked --no-default-features --bench load -- \
		--records $(RECORDS) --latency-ms $(LATENCY_MS) --calls-per-minute $(CALLS_PER_MINUTE)
	cargo bench --locked --no-default-features --bench flatten

lint: ## Check formatting, lints and docs, with warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

fmt: ## Format the code
	cargo fmt

ci: lint test ## What CI runs
