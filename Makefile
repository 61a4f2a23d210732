# The commands of the project. Each recipe is plain cargo or npm and can be run by hand.
.PHONY: run test bench check fmt clean ui sim soak

CARGO ?= cargo

## build everything and watch this machine: UI, node exporter, own logs and traces
run: ui
	$(CARGO) build --release --locked -p obs
	exec ./target/release/obs serve --config dashboards/local.yml --data data

## every check and test; what CI runs
test: ui check
	$(CARGO) build --workspace --all-targets --locked
	OBS_BIN=$(CURDIR)/target/debug/obs $(CARGO) test --workspace --locked
	$(CARGO) build --release --locked -p obs
	tests/ui/run.sh
	tests/clients/run.sh

## formatting and lints
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

## the web UI, embedded in the binary
ui: ui/dist/index.html

ui/dist/index.html: ui/package-lock.json $(shell find ui/src ui/index.html ui/vite.config.ts -type f 2>/dev/null)
	cd ui && npm ci --no-audit --no-fund && npm run build

## more simulation seeds than a test run takes
sim:
	OBS_SIM_SEEDS=20000 $(CARGO) test --release --locked -p obs-tests simulation -- --nocapture

soak:
	OBS_CRASH_ROUNDS=300 OBS_SIM_SEEDS=100000 $(CARGO) test --release --locked -p obs-tests -- --nocapture

## what metrics, logs and traces cost, at a small size; peers: see `obs-bench --help`
bench:
	$(CARGO) build --release --locked -p obs -p obs-bench
	./target/release/obs-bench

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean
	rm -rf ui/dist ui/node_modules
