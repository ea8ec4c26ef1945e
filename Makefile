# sslrec: build, try, test and install. `make help` lists the targets.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET_DIR)/release

# nextest gives each test a process and a time limit of its own; cargo's runner will do.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: all build deps test-deps cargo lint test test-captures kernels test-kernels bench fuzz demo screenshots manual install clean help

all: build

help:
	@echo 'make build      release binaries in $(RELEASE)'
	@echo 'make demo       record a client of a local TLS server, list what it did'
	@echo 'make test       format, lints and every test, the live ones too (those want root)'
	@echo 'make test-captures CAPTURES=DIR   the analyzer beside tshark on captures of other projects'
	@echo 'make test-kernels   the recorder on Linux 6.1 and 6.12, emulated by qemu'
	@echo 'make bench      what recording costs; BENCH="cost nginx" picks sections, QUICK=1 tries it'
	@echo 'make fuzz       each fuzz target for SECONDS=30; wants cargo-fuzz and a nightly compiler'
	@echo 'make deps       install what building needs (apt, only what is missing)'
	@echo 'make manual     man pages and completions in $(SHARE)'
	@echo 'make install    programs, man pages and completions into PREFIX, now $(PREFIX)'
	@echo 'make clean      remove what was built'

cargo:
	@command -v $(CARGO) >/dev/null || { \
	  echo "No cargo here. To get Rust: curl -sSf https://sh.rustup.rs | sh" >&2; exit 1; }

deps: cargo
	@packaging/install-deps.sh

test-deps: cargo
	@packaging/install-deps.sh test

build: cargo
	$(CARGO) build --release --workspace

# Crates of their own, which need a nightly compiler.
FUZZ := formats/fuzz formats/redact/fuzz analyzer/fuzz

lint: deps
	$(CARGO) fmt --all --check
	@for dir in $(FUZZ); do $(CARGO) fmt --manifest-path $$dir/Cargo.toml --check || exit 1; done
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --package sslrec --test source_rules --quiet

# The live tests trace real programs and disturb one another: one at a time. Documentation
# examples come first, since nextest does not run them and its summary should end the output.
test: test-deps lint
	$(CARGO) build --workspace --bins
ifeq ($(NEXTEST),yes)
	$(CARGO) test --workspace --doc --quiet
	$(CARGO) nextest run --workspace --no-fail-fast
else
	$(CARGO) test --workspace --no-fail-fast
endif

# What DIR has is in analyzer/cli/tests/public_captures.rs.
test-captures: cargo
	@test -d "$(CAPTURES)" || { echo "Usage: make test-captures CAPTURES=DIR" >&2; exit 1; }
	SSLREC_CAPTURES=$(abspath $(CAPTURES)) $(CARGO) test --package sslanalyze --test public_captures \
	  -- --ignored --nocapture

KERNELS := $(abspath $(TARGET_DIR))/kernels

# Fails where there is no qemu or no kernel to be had.
kernels: cargo
	@packaging/install-deps.sh kernels
	@packaging/fetch-kernels.sh $(KERNELS)

# One guest at a time: each takes two processors.
test-kernels: kernels
	$(CARGO) build --package sslrec --package sslanalyze
	SSLREC_KERNELS=$(KERNELS) $(CARGO) test --package sslrec --test live -- --ignored kernels:: --test-threads=1

# Sections: cost cpu nginx loss files analyzer memory; and soak, which takes 20 minutes.
bench: cargo
	@packaging/install-deps.sh bench
	$(CARGO) build --release --package sslanalyze
	$(CARGO) bench --package sslrec --bench bench -- $(BENCH) $(if $(QUICK),--quick)

SECONDS ?= 30

fuzz: cargo
	@for dir in $(FUZZ); do for target in $$($(CARGO) +nightly fuzz list --fuzz-dir $$dir); do \
	  $(CARGO) +nightly fuzz run --fuzz-dir $$dir $$target -- -max_total_time=$(SECONDS) || exit 1; \
	done; done

demo: deps build
	@SSLREC=$(RELEASE)/sslrec SSLANALYZE=$(RELEASE)/sslanalyze packaging/demo.sh

# Pictures of the README, as the demo shows them here.
screenshots: test-deps build
	@SSLREC=$(RELEASE)/sslrec SSLANALYZE=$(RELEASE)/sslanalyze packaging/screenshots.sh

# Man pages and completions, from the definitions of the command lines, laid out as below share.
SHARE := $(RELEASE)/share

manual: build
	rm -rf $(SHARE)
	$(RELEASE)/sslrec --generate $(SHARE)
	$(RELEASE)/sslanalyze --generate $(SHARE)

install: manual
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(RELEASE)/sslrec $(RELEASE)/sslanalyze $(DESTDIR)$(PREFIX)/bin
	cd $(SHARE) && find . -type f -exec install -D -m 0644 {} $(abspath $(DESTDIR)$(PREFIX))/share/{} \;

clean: cargo
	$(CARGO) clean
	rm -f capture.pcapng capture.zst
