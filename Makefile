# Everything a fresh machine needs: `make demo`, `make test`, `make lint`, `make bench`, `make docs`.
# Set-up (scripts/setup) installs Debian packages by apt when root, else names the missing ones and goes on.

CARGO ?= cargo
# Root's PATH on Debian has the tools of /usr/sbin; a user's has not.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help demo demo-bundle readme counters test lint bench proof fuzz docs docs-check setup-demo setup-test setup-build setup-bench build

help:
	@echo "make demo         build, run the three experiments of the article in the model world, and in the kernel's where permitted"
	@echo "make test         set up, run every test"
	@echo "make lint         formatting, clippy, documentation, drift of generated pages"
	@echo "make bench        measure against tcptrace and tshark, print the ratios"
	@echo "make proof        the model host against the kernel's programs over tun, at length (root; half an hour)"
	@echo "make fuzz         feed every reader with damaged input for a while (needs cargo-fuzz)"
	@echo "make docs         write docs/path.md, docs/causes.md and docs/cli.md from the code"
	@echo "make demo-bundle  record demo/seed.tar.zst from a real run"
	@echo "make counters     record docs/causes-ipv6.md from a real run"
	@echo "make readme       refill the README's experiments from a real run"

setup-build:
	@scripts/setup build
setup-demo:
	@scripts/setup build lab
setup-test:
	@scripts/setup build lab test
setup-bench:
	@scripts/setup build bench

build: setup-build
	$(CARGO) build --release --locked -p transect-cli

demo: setup-demo
	@scripts/demo

demo-bundle: setup-test
	@scripts/demo-bundle

counters: setup-test build
	"$${CARGO_TARGET_DIR:-target}/release/transect" lab run --all --counters >docs/causes-ipv6.md

readme: setup-demo build
	@scripts/readme "$${CARGO_TARGET_DIR:-target}/release/transect"

test: setup-test
	@scripts/test

bench: setup-bench
	@$(CARGO) build --release --locked -p transect-cli -p transect-bench
	@"$${CARGO_TARGET_DIR:-target}/release/transect-bench" $(BENCH_OPTIONS)

proof: setup-test build
	@scripts/proof

fuzz: setup-build
	@scripts/fuzz

lint: setup-build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p transect-cli --no-default-features --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	@$(MAKE) --no-print-directory docs-check

docs: setup-build
	$(CARGO) run --quiet --locked -p transect-cli --example docs -- docs

docs-check:
	@scripts/docs-check
