# What one types here. `make help` lists it; each target installs what it needs, once.
#
#   make demo PYTHON=python3.12      another interpreter than python3 (3.10 to 3.13)
#   make demo EXTRAS=plot            with the picture
#   make test JOBS=2                 tests on two cores, not on all of them (up to eight)
#   make test TORCH_INDEX=URL        where pip would take PyTorch's CUDA build (Linux), the index of
#                                    CPU builds, as PyTorch's install page gives it

PYTHON ?= python3
EXTRAS ?=
# As many as there are cores, up to eight, as each takes memory of its own.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -lt 8 ] && echo $$n || echo 8)
TORCH_INDEX ?=

BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
DEMO := .venv-demo
DEV := .venv
IN_DEMO := $(DEMO)/$(BIN)
IN_DEV := $(DEV)/$(BIN)
CLIPS := $(wildcard lightser/samples/*.flac)

# -qq keeps pip to its errors. What is installed is compiled when it is first imported, not all of it.
PIP_INSTALL := -m pip --disable-pip-version-check install -qq --no-compile

# The demo installs a copy, as a user would; it is renewed when one of these is.
PACKAGE := pyproject.toml $(wildcard lightser/*.py lightser/*/*.py lightser/inference/weights/*/card.json)
DEMO_READY := $(DEMO)/.installed-$(or $(EXTRAS),base)
DEV_READY := $(DEV)/.installed

# The package for browsers is tested where npm is.
WEB := packages/lightser-web
WEB_READY := $(WEB)/node_modules/.package-lock.json
WEB_WANTED := $(if $(shell command -v npm 2>/dev/null),$(WEB_READY))

.PHONY: help demo test lint unit coverage fuzz web page docs wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*##/  make \1\t/' | expand -t 15

demo: $(DEMO_READY)  ## recognise the clips that ship with lightser
	@$(IN_DEMO)/lightser predict $(CLIPS)
	@if $(IN_DEMO)/python -c "import matplotlib" 2>/dev/null; then \
		$(IN_DEMO)/lightser predict $(firstword $(CLIPS)) --plot demo.png; \
	else \
		echo "With a picture: make demo EXTRAS=plot"; \
	fi

test: lint unit  ## everything that CI checks: format, lint, spelling, types, tests

lint: $(DEV_READY)  ## format, lint, spelling and types
	@$(IN_DEV)/ruff format -q --check .
	@$(IN_DEV)/ruff check -q .
	@$(IN_DEV)/codespell
	@$(IN_DEV)/mypy --no-error-summary

# One thread each: the tests run side by side, and PyTorch's own threads would only fight. Bytecode
# is kept, whatever the shell says: else each process that a test starts compiles PyTorch anew.
# librosa compiles itself in half the time without optimising, and has little to compute here.
unit: $(DEV_READY) $(WEB_WANTED)  ## the tests alone, doctests among them
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 NUMBA_OPT=0 $(IN_DEV)/python -m pytest -n $(JOBS) --dist worksteal $(COVERAGE)

# Not in `test`: up to Python 3.11 it slows down every function, PyTorch's exporter above all.
coverage: COVERAGE := --cov --cov-report=term
coverage: unit  ## the tests, and which lines none of them runs

# Not in `test`: what it finds depends on luck. Atheris is for Linux and macOS.
FUZZED := audio samples manifest card graph body messages
fuzz: $(DEV_READY)  ## a minute of coverage-guided fuzzing of each reader of strangers' bytes
	@$(IN_DEV)/python $(PIP_INSTALL) "atheris>=3,<4"
	@for target in $(FUZZED); do \
		$(IN_DEV)/python tests/fuzz.py $$target 60 || exit 1; \
	done

web: $(WEB_READY)  ## test the package for browsers by itself
	@cd $(WEB) && npm test --silent

page: $(DEV_READY)  ## get what the page of `lightser serve` needs to listen in the browser
	@$(IN_DEV)/lightser serve --get-assets

docs: $(DEV_READY)  ## renew what is generated in README.md and docs/
	@$(IN_DEV)/python docs/generate.py

wheel: $(DEV_READY)  ## build a wheel into dist/
	@$(IN_DEV)/python -m pip --disable-pip-version-check wheel -qq --no-deps -w dist .
	@ls dist/*.whl

clean:  ## remove environments, caches and builds
	rm -rf $(DEMO) $(DEV) .build build dist demo.png .coverage* htmlcov
	rm -rf $(WEB)/node_modules $(WEB)/types $(WEB)/*.tgz
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(DEMO_READY): $(PACKAGE)
	@echo "Installing lightser into $(DEMO) ..."
	@$(call new_environment,$(DEMO))
	@$(IN_DEMO)/python $(PIP_INSTALL) ".$(if $(EXTRAS),[$(EXTRAS)])"
	@touch $@

$(DEV_READY): pyproject.toml
	@echo "Installing lightser with its development extra into $(DEV) (some minutes) ..."
	@$(call new_environment,$(DEV))
	@$(IN_DEV)/python $(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e ".[dev]"
	@touch $@

$(WEB_READY): $(WEB)/package-lock.json
	@cd $(WEB) && npm ci --silent --no-audit --no-fund
	@touch $@

define new_environment
$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
	echo "lightser needs Python 3.10 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; \
	exit 1; }; \
$(PYTHON) -m venv $(1)
endef
