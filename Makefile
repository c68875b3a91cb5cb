# `make demo` and `make test` set up what they need; both are quick when nothing changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/conclave
REQUIREMENTS := .ci/requirements.txt tests/python/requirements.txt
# One virtual environment for each state of the requirements.
state = $(shell cat $(1) | sha256sum | cut -c1-16)
TOOLS := $(CACHE)/tools-$(call state,$(REQUIREMENTS))
DEPLOY_TOOLS := $(CACHE)/deploy-$(call state,deploy/requirements.txt)
# The packages are unpacked and not installed: no service is started.
PROMTOOL_VERSION := 2.42.0+ds-5+deb12u1
PROMTOOL := $(TOOLS)/bin/promtool
REGISTRY_VERSION := 2.8.2+ds1-1
REGISTRY := $(TOOLS)/bin/docker-registry
CARGO_COMPONENT_VERSION := 0.21.1
CARGO_COMPONENT := $(CACHE)/cargo-component-$(CARGO_COMPONENT_VERSION)
MODEL := $(CACHE)/models/SmolLM2-135M-Instruct
WEIGHTS := $(MODEL).Q4_1.gguf
# The clusters of the tests: Ray, Ray as older clusters run it, and vLLM as a job of both.
RAY_REQUIREMENTS := deploy/ray/tests/requirements.txt
RAY_OLD_REQUIREMENTS := .ci/ray-old-requirements.txt
VLLM_REQUIREMENTS := .ci/vllm-requirements.txt
RAY := $(CACHE)/ray-$(call state,$(RAY_REQUIREMENTS))
RAY_OLD := $(CACHE)/ray-old-$(call state,$(RAY_OLD_REQUIREMENTS))
VLLM := $(CACHE)/vllm-$(call state,$(VLLM_REQUIREMENTS))
VLLM_WEIGHTS := $(MODEL).safetensors
export PATH := $(TOOLS)/bin:$(PATH)
export CONCLAVE_TEST_PYTHON := $(TOOLS)/bin/python
export CONCLAVE_TEST_RAY := $(RAY)/bin/python
export CONCLAVE_TEST_RAY_OLD := $(RAY_OLD)/bin/python
export CONCLAVE_TEST_VLLM := $(VLLM)/bin/python
export CONCLAVE_TEST_VLLM_MODEL := $(VLLM_WEIGHTS)

.PHONY: help
help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

.PHONY: target
target:
	@test -d "$$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null)" || { \
		echo "setup: adding the Rust target wasm32-wasip2" >&2; rustup target add wasm32-wasip2; }

# Makes a virtual environment: what is in it, and what pip shall install. It is named by what it holds, and
# made once, whatever the times of the files. Nothing is installed twice from the same file of requirements:
# a cache of the packages would only double what they take.
define install
@echo "setup: installing $(1) into $(@D)" >&2
@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
@$(@D)/bin/pip install --quiet --disable-pip-version-check --no-cache-dir $(2)
@touch $@
endef

$(TOOLS)/installed:
	$(call install,build tools and test clients,$(addprefix -r ,$(REQUIREMENTS)))

$(RAY)/installed:
	$(call install,Ray (500 MB),-r $(RAY_REQUIREMENTS))

$(RAY_OLD)/installed:
	$(call install,an older Ray (400 MB),-r $(RAY_OLD_REQUIREMENTS))

$(VLLM)/installed:
	$(call install,vLLM for the CPU (6 GB),--no-deps -r $(VLLM_REQUIREMENTS))

$(DEPLOY_TOOLS)/installed:
	$(call install,what checks deploy/,-r deploy/requirements.txt)

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

$(VLLM_WEIGHTS): | weights $(VLLM)/installed
	@echo "setup: writing the weights for vLLM (540 MB) to $@" >&2
	@HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 $(VLLM)/bin/python .ci/weights_for_vllm.py $(WEIGHTS) $@

.PHONY: vllm
vllm: $(VLLM_WEIGHTS) ## Install vLLM for the CPU and a model for it (7 GB), for test-full and bench.

.PHONY: demo
demo: target weights ## Run one real deliberation with a small real model, watched live.
	cargo build -p conclave -p conclave-local-model
	@target/debug/conclave demo --weights $(WEIGHTS)

.PHONY: build
build: target ## Build the release binary.
	cargo build --release -p conclave

.PHONY: test
test: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) $(RAY)/installed weights ## Run all tests but the long ones.
	cargo build --workspace --all-targets
	cargo nextest run --workspace
	cargo test --quiet --workspace --doc

.PHONY: test-unit
test-unit: target $(TOOLS)/installed ## Run the tests beside the code.
	cargo nextest run --workspace --lib --bins

.PHONY: test-integration
test-integration: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) $(RAY)/installed weights ## Run the end-to-end tests on the built binary.
	cargo build --workspace --all-targets
	cargo nextest run --workspace -E 'package(conclave-tests)'

.PHONY: test-full
test-full: test $(CARGO_COMPONENT)/bin/cargo-component $(RAY_OLD)/installed $(VLLM_WEIGHTS) ## Run all tests, the long ones too.
	PROPTEST_CASES=256 cargo nextest run -p conclave-core
	cargo nextest run --workspace --profile full -E 'binary(long)'

.PHONY: coverage
coverage: target $(TOOLS)/installed $(PROMTOOL) $(REGISTRY) $(RAY)/installed weights ## Run the tests with coverage; the report is in target/llvm-cov/html.
	@rustup component list --installed | grep -q llvm-tools || rustup component add llvm-tools
	source <(cargo llvm-cov show-env --sh) && cargo llvm-cov clean --workspace \
		&& cargo build --workspace --all-targets && cargo nextest run --workspace \
		&& cargo llvm-cov report --html && cargo llvm-cov report --summary-only | tail -1

.PHONY: bench
bench: target $(TOOLS)/installed $(RAY)/installed ## Run the benchmarks of tests/bench in release builds.
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

.PHONY: manifests
manifests: target $(DEPLOY_TOOLS)/installed ## Check the images, the Kubernetes overlays and the compose file.
	cargo build --workspace --all-targets
	$(DEPLOY_TOOLS)/bin/pytest -q -n 2 deploy/tests

.PHONY: manifests-rules
manifests-rules: ## Write the PrometheusRule of deploy/kubernetes from deploy/prometheus.
	$(PYTHON) deploy/kubernetes/components/monitoring/generate.py >deploy/kubernetes/components/monitoring/rules.yaml

.PHONY: executor
executor: $(TOOLS)/installed $(RAY)/installed ## Check and test the executor of Ray clusters, which is Python.
	cd deploy/ray && $(RAY)/bin/ruff check . && $(RAY)/bin/ruff format --check . && $(RAY)/bin/mypy
	cd deploy/ray && $(RAY)/bin/pytest --quiet

.PHONY: licences
licences: $(TOOLS)/installed ## Check licences, banned crates and sources.
	cargo deny --log-level error check licenses bans sources

.PHONY: advisories
advisories: $(TOOLS)/installed ## Check known vulnerabilities; needs the advisory database.
	cargo deny check advisories
