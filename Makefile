# The suite's commands. `make demo` and `make test` do everything they need from a bare checkout.
SHELL := /bin/bash
root := $(CURDIR)
enter := root=$(root); source tools/env.sh;

.PHONY: help setup demo nano test test-system lint clean

help:
	@echo 'make demo         watch needle insertions in the simulated lab (Ctrl-C ends it)'
	@echo 'make nano         train the nano policy from nothing (two and a half hours on two cores) and evaluate it'
	@echo 'make test         all tests but the long ones'
	@echo 'make test-system  the long whole-system tests'
	@echo 'make setup        only prepare: system packages, .venv, build'
	@echo 'make lint         ruff, mypy, import arrows'
	@echo 'make clean        remove everything that was made'

setup:
	@python3 tools/bootstrap.py

demo: setup
	@./vla demo

nano: setup
	@tools/nano.sh

test: setup
	@$(enter) python tools/run_tests.py

test-system: setup
	@$(enter) python tools/run_tests.py --slow

lint: setup
	@$(enter) ruff check . && mypy && lint-imports

clean:
	rm -rf .venv build install log
