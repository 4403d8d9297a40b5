# The only entry points of Twill; CI uses the same ones. `make` alone lists them.
#
# Recipes are one line or a script of scripts/, so that what runs here can be run by hand.

PREFIX ?= /usr/local
DESTDIR ?=
# Rust's installer puts cargo here, and root's PATH often lacks it.
export PATH := $(CURDIR)/target/tools/bin:$(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
PROGRAMS := twilld twillctl twill twill-cni twill-lab
BINS := $(addprefix --bin ,$(PROGRAMS))
SHELL_SCRIPTS = $(shell grep -lEm1 '^\#!/(usr/)?bin/(env )?(ba)?sh' scripts/* .ci/* vagrant/* packaging/* packaging/examples/* packaging/debian/* lab 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help deps build demo test kill-points vm-test healing storm soak soak-datapath model fuzz bench bench-cni bench-control bench-datapath bench-runtime deb lint fmt doc deny advisories install uninstall clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install from apt what building and testing need (only what is missing)
	@scripts/deps.sh

build: deps ## build the programs, optimised, into target/release
	$(CARGO) build --locked --release $(BINS)

demo: build ## three hosts, containers and both backends on this machine; KEEP=1 leaves them standing
	@target/release/twill-lab demo $(if $(filter-out 0,$(KEEP)),--keep)

test: ## build and run the whole suite, as root
	@scripts/deps.sh test
	@scripts/programs.sh
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --doc --quiet
	REQUIRE_ROOT=1 $(CARGO) nextest run --locked --workspace

vm-test: ## what this kernel may lack, under Debian's in an emulated machine (VM_FILTER, VM_SECONDS); some minutes
	@scripts/deps.sh vm
	@scripts/vm.sh $(if $(VM_FILTER),'$(VM_FILTER)')

kill-points: ## kill -9 at each change that a command of containers makes to the system; half an hour
	@scripts/deps.sh test
	TWILL_KILL_POINTS=all REQUIRE_ROOT=1 $(CARGO) nextest run --locked --profile patient -p twill -E 'test(/^points::/)'

model: deps ## every order of events of the ownership model's larger worlds, with counts (an hour, 8 GiB)
	$(CARGO) test --locked --release -p twill-core --features deep-model --test ownership -- --nocapture --test-threads 2

storm: ## 200 agents on a real etcd, 3 minutes (STORM_SECONDS) of all that can happen; STORM_SEED repeats one
	@scripts/deps.sh test
	$(CARGO) build --locked --workspace --bins
	STORM_SECONDS=$(or $(STORM_SECONDS),180) REQUIRE_ROOT=1 \
		$(CARGO) nextest run --locked -p twill-integration --test storm --no-capture

healing: ## each fault HEALING_ROUNDS (5) times on one host: a table of how long each took to be undone, median and worst
	@scripts/deps.sh test
	@scripts/healing.sh

soak: ## 20 minutes (SOAK_SECONDS) of faults on five hosts under traffic, in worlds that SOAK_SEED draws, or SOAK_BACKEND, _FIREWALL, _FAMILY say
	@scripts/deps.sh test
	$(CARGO) build --locked --workspace --bins
	@target/debug/twill-lab soak

soak-datapath: build ## 10 minutes (SOAK_SECONDS) of full load between two hosts over udp while others come and go, by SOAK_CARRIER (user-space, shortcut); SOAK_SEED repeats one
	@target/release/twill-lab soak-datapath

fuzz: deps ## every fuzz target over its seeds and RUNS (200000) mutations
	@scripts/fuzz.sh

bench: build ## start of the agent and of containers, CNI, memory: a row each, beside what is wanted
	@target/release/twill-lab bench

bench-cni: build ## joining pods and taking them off, beside Debian's CNI plugins and the kernel's own floor; a minute
	@target/release/twill-lab bench-cni

bench-control: ## what 1,000 and 10,000 peers cost a host, beside flannel's design; some minutes
	@scripts/deps.sh bench
	$(CARGO) build --locked --release $(BINS)
	@target/release/twill-lab bench-control

bench-datapath: build ## the data path of udp beside VXLAN, plain routes and a naive tunnel; 10 minutes (BENCH_ROUNDS, _SECONDS, _PATHS, _MEASURES)
	@target/release/twill-lab bench-datapath

bench-runtime: build ## daily commands of containers beside crun, Podman and Docker; some minutes
	@scripts/deps.sh rivals
	@target/release/twill-lab bench-runtime

lint: deps ## everything CI checks without running the programs
	$(CARGO) fmt --all --check
	@scripts/file-size.sh
	shellcheck $(SHELL_SCRIPTS)
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --workspace --no-deps
	@scripts/deny.sh bans licenses sources

fmt: ## format every Rust file
	$(CARGO) fmt --all

doc: deps ## the API documentation of every crate, into target/doc
	$(CARGO) doc --locked --workspace --no-deps

deny: ## check licences, sources and bans of the dependencies (needs cargo-deny)
	@scripts/deny.sh bans licenses sources

advisories: ## check the dependencies for known vulnerabilities (needs cargo-deny and the network)
	@scripts/deny.sh advisories

deb: build ## a package for Debian with everything, into target/
	@scripts/deb.sh

install: ## install what `make build` built under PREFIX (/usr/local), staged in DESTDIR
	@scripts/install.sh install "$(DESTDIR)" "$(PREFIX)"

uninstall: ## remove exactly what `make install` put there
	@scripts/install.sh uninstall "$(DESTDIR)" "$(PREFIX)"

clean: ## remove what was built
	$(CARGO) clean
