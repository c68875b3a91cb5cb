# `make demo` and `make test` set up what they need; both are quick when nothing changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/conclave
REQUIREMENTS := .ci/requirements.txt tests/python/requirements.txt
# One virtual environment for each state of the requirements.
TOOLS := $(CACHE)/tools-$(shell cat $(REQUIREMENTS) | sha256sum | cut -c1-16)
# The packages are unpacked and not installed: no service is started.
PROMTOOL_VERSION := 2.42.0+ds-5+deb12u1
PROMTOOL := $(TOOLS)/bin/promtool
REGISTRY_VERSION := 2.8.2+ds1-1
REGISTRY := $(TOOLS)/bin/docker-registry
CARGO_COMPONENT_VERSION := 0.21.1
CARGO_COMPONENT := $(CACHE)/cargo-component-$(CARGO_COMPONENT_VERSION)
WEIGHTS := $(CACHE)/models/SmolLM2-135M-Instruct.Q4_1.gguf
export PATH := $(TOOLS)/bin:$(PATH)
export CONCLAVE_TEST_PYTHON := $(TOOLS)/bin/python

.PHONY: help
help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

.PHONY: target
target:
	@test -d "$$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null)" || { \
		echo "setup: adding the Rust target wasm32-wasip2" >&2; rustup target add wasm32-wasip2; }

# Named by what it holds: it is made once, whatever the times of the files.
$(TOOLS)/installed:
	@echo "setup: installing build tools and test clients into $(TOOLS)" >&2
	@rm -rf $(TOOLS) && $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	@touch $@

# Unpacks a program of Debian: its package, the version, and the program's name. The archive keeps
# security updates of the pinned version only for a while: then the newest one of the same distribution
# does.
define unpack
@echo "setup: unpacking $(3) of Debian's package $(1) into $(TOOLS)" >&2
@unpacked=$$(mktemp -d) && trap 'rm -rf "$$unpacked"' EXIT && cd "$$unpacked" && { \
	apt-get download --quiet=2 $(1)=$(2) 2>/dev/null \
	|| apt-get download --quiet=2 $(1) 2>/dev/null \
	|| { apt-get update --quiet=2 >&2 && apt-get download --quiet=2 $(1); }; } >&2 \
	&& dpkg -x $(1)_*.deb . && install -m 755 usr/bin/$(3) $@
endef

$(PROMTOOL): $(TOOLS)/installed
	$(call unpack,prometheus,$(PROMTOOL_VERSION),promtool)

$(REGISTRY): $(TOOLS)/installed
	$(call unpack,docker-registry,$(REGISTRY_VERSION),docker-registry)

$(CARGO_COMPONENT)/bin/cargo-component:
	@echo "setup: compiling cargo-component into $(CARGO_COMPONENT), which takes 13 minutes" >&2
	@rustup target add wasm32-wasip1
	@cargo install --locked --quiet --root $(CARGO_COMPONENT) cargo-component@$(CARGO_COMPONENT_VERSION)

.PHONY: weights
weights:
	@PYTHON=$(PYTHON) host/local-model/fetch-model.sh >/dev/null

.PHONY: demo
demo: target weights ## Run one real deliberation with a small real model, watched live.
	cargo build -p conclave -p conclave-local-model
	@target/debug/conclave demo --weights $(WEIGHTS)

.PHONY: build
build: target ## Build the release binary.
	cargo build --release -p conclave

.PHONY: test
test: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) weights ## Run all tests but the long ones.
	cargo build --workspace --all-targets
	cargo nextest run --workspace
	cargo test --quiet --workspace --doc

.PHONY: test-unit
test-unit: target $(TOOLS)/installed ## Run the tests beside the code.
	cargo nextest run --workspace --lib --bins

.PHONY: test-integration
test-integration: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) weights ## Run the end-to-end tests on the built binary.
	cargo build --workspace --all-targets
	cargo nextest run --workspace -E 'package(conclave-tests)'

.PHONY: test-full
test-full: test $(CARGO_COMPONENT)/bin/cargo-component ## Run all tests, the long ones too.
	PROPTEST_CASES=256 cargo nextest run -p conclave-core
	cargo nextest run --workspace --profile full -E 'binary(long)'

.PHONY: coverage
coverage: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) weights ## Run the tests with coverage; the report is in target/llvm-cov/html.
	@rustup component list --installed | grep -q llvm-tools || rustup component add llvm-tools
	source <(cargo llvm-cov show-env --sh) && cargo llvm-cov clean --workspace \
		&& cargo build --workspace --all-targets && cargo nextest run --workspace \
		&& cargo llvm-cov report --html && cargo llvm-cov report --summary-only | tail -1

.PHONY: bench
bench: target ## Run the benchmarks of tests/bench in release builds.
	cargo build --release -p conclave -p conclave-tests --bins
	target/release/deliberations

# The seconds that `make fuzz` takes, once it is built.
FUZZ_SECONDS := 600
# What cargo-fuzz gives the compiler without a sanitizer; any compiler takes it.
FUZZ_FLAGS := $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_VARIABLE := CARGO_TARGET_$(shell echo $(FUZZ_TARGET) | tr 'a-z-' 'A-Z_')_RUSTFLAGS

.PHONY: fuzz
fuzz: target ## Feed bytes to the check of plugins for ten minutes; see tests/fuzz.
	cargo build -p conclave-tests
	cd tests/fuzz && env $(FUZZ_VARIABLE)="-Cpasses=sancov-module $(FUZZ_FLAGS)" \
		cargo build --release --target $(FUZZ_TARGET)
	@mkdir -p tests/fuzz/corpus tests/fuzz/artifacts
	@find target/debug/build/conclave-tests-*/out -name '*.wasm' -exec cp {} tests/fuzz/corpus/ \;
	cd tests/fuzz && nice target/$(FUZZ_TARGET)/release/check corpus -artifact_prefix=artifacts/ \
		-max_total_time=$(FUZZ_SECONDS) -timeout=30 -rss_limit_mb=8192 -max_len=4194304

.PHONY: format
format: ## Format the code.
	cargo fmt --all

.PHONY: lint
lint: target ## Check format and lints.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: reference
reference: target ## Write deploy/configuration.md from the types of the settings.
	cargo build --workspace --all-targets
	target/debug/conclave serve --reference >target/configuration.md
	mv target/configuration.md deploy/configuration.md

.PHONY: protos
protos: $(TOOLS)/installed ## Check the contracts: lints, and that no client of the last release breaks.
	buf lint proto
	buf breaking proto --against proto/released

.PHONY: release-protos
release-protos: protos ## Make the contracts the released ones, with which later ones are compared.
	@for package in conclave fleet ray_executor; do \
		rm -rf proto/released/$$package && cp -r proto/$$package proto/released/; done

.PHONY: docs
docs: target ## Build the docs; broken links are errors.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: rules
rules: $(PROMTOOL) ## Check and test the Prometheus rules.
	$(PROMTOOL) check rules deploy/prometheus/rules.yml deploy/prometheus/alerts.yml
	$(PROMTOOL) test rules deploy/prometheus/rules_test.yml

.PHONY: licences
licences: $(TOOLS)/installed ## Check licences, banned crates and sources.
	cargo deny --log-level error check licenses bans sources

.PHONY: advisories
advisories: $(TOOLS)/installed ## Check known vulnerabilities; needs the advisory database.
	cargo deny check advisories
