# Every task of the project by one name. Needs Python 3.11 or newer with venv; the rest is installed into .venv from
# the locked requirements. `make test REQUIRE_ALL=1` fails on whatever this machine lacks, instead of listing it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
REQUIRE_ALL ?= 0
export REQUIRE_ALL

.PHONY: help demo test quick sanitize docs lock audit sbom wheel bench bench-pulsar hostile million clean

help:
	@echo "make demo         the gateway, a broker and a client, shown step by step"
	@echo "make test         every check and every test, real brokers included"
	@echo "make quick        lint, types, unit tests and scenarios; under a minute, no network"
	@echo "make sanitize     the compiled pieces and the tests that drive them, built with ASan and UBSan; a few minutes"
	@echo "make docs         write the pages and schemas that are made from the code"
	@echo "make bench        beside other proxies: bytes, requests, handshakes per CPU second, latency, memory; 25 min"
	@echo "make bench-pulsar beside Apache Pulsar's own proxy: bytes, messages per CPU second, latency, memory; 12 min"
	@echo "make hostile      known clients at work among 5,000 strangers that hang, trickle and send garbage"
	@echo "make million      a million records while brokers and gateway are killed, leaders move, files are renewed"
	@echo "make lock         resolve requirements/*.txt anew, with hashes"
	@echo "make audit        known vulnerabilities in what the gateway runs on"
	@echo "make sbom         build/sbom.json (CycloneDX): what the gateway runs on"
	@echo "make wheel        build/wheels/*.whl, compiled, for this Python and system"
	@echo "make clean        remove what these leave behind"

demo: $(VENV)/.demo
	@$(BIN)/gateway demo

test: $(VENV)/.test
	@$(BIN)/python tests/run.py all

quick: $(VENV)/.test
	@$(BIN)/python tests/run.py quick

sanitize: $(VENV)/.test
	@$(BIN)/python -m tests.sanitize

bench: $(VENV)/.test
	@$(BIN)/python -m loadtest.bench $(BENCH)

bench-pulsar: $(VENV)/.test
	@$(BIN)/python -m loadtest.pulsar $(BENCH)

hostile: $(VENV)/.test
	@$(BIN)/python -m loadtest.hostile

million: $(VENV)/.test
	@$(BIN)/python -m loadtest.million

docs: $(VENV)/.test
	@$(BIN)/python -m gateway.ops.docs

lock: $(VENV)/.test
	@$(PIP) uv
	@for extras in run demo test audit; do \
	  case $$extras in run) more=;; demo) more="--extra demo";; test) more="--extra demo --extra test";; \
	    audit) more="--extra demo --extra test --extra audit";; esac; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	    $$more -o requirements/$$extras.txt pyproject.toml requirements/build.in; \
	done

# The lock file is what is looked at, so both speak of exactly what is installed from it.
audit: $(VENV)/.audit
	@$(BIN)/pip-audit --requirement requirements/run.txt --require-hashes --disable-pip --strict \
	  --progress-spinner off

sbom: $(VENV)/.audit
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file build/sbom.json
	@echo build/sbom.json

# For all Pythons and systems at once: cibuildwheel, whose settings are in pyproject.toml.
wheel: $(VENV)/.demo
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --wheel-dir build/wheels .
	@ls build/wheels

clean:
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find gateway tests loadtest -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

# Each extra once per change of its lock file. The project itself is installed in place, without fetching anything.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "installing requirements/$*.txt into $(VENV)"
	@$(PIP) --require-hashes -r $<
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
