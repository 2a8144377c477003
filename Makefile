# SPDX-License-Identifier: Apache-2.0
# The daily commands. `make help` lists them; each can be run on a fresh Debian 12 machine.
# What they do stands in scripts/ and CMakePresets.json; nothing is decided here.
.DEFAULT_GOAL := help
.PHONY: help build demo check check-long check-planted bench tidy format coverage fuzz install clean deps
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export JOBS

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

deps: ## Install the Debian packages that are missing
	@scripts/install-deps.sh

build: deps ## Release programs into build/release/bin/
	@cmake --preset release -DCAIRN_PLANTED_BUG= >/dev/null
	@cmake --build --preset release --target programs -- -j$(JOBS)

demo: build ## Replay a trace, kill it, bring it back: one table, at most 3 minutes
	@scripts/demo.sh

check: deps ## Build and run all tests (release, ASan+UBSan, TSan); ends with the counts
	@scripts/check.sh

check-long: deps ## The same with ten times as many random runs, kills and cuts
	@scripts/check.sh --scale 10

check-planted: deps ## Plant each known bug and see which test catches it
	@scripts/python.sh tests/planted/run_planted.py

bench: build ## Every bench with its yardstick, short form
	@scripts/bench.sh

tidy: ## clang-tidy and clang's thread-safety analysis over engine/, tiers/ and tools/
	@scripts/install-deps.sh --tidy
	@scripts/tidy.sh

format: ## clang-format 14 over every tracked source
	@scripts/install-deps.sh --tidy
	@git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

coverage: ## Tests with gcov; prints line coverage by file
	@scripts/install-deps.sh --coverage
	@scripts/coverage.sh

fuzz: ## Each libFuzzer target for FUZZ_SECONDS (60)
	@scripts/install-deps.sh --tidy
	@scripts/fuzz.sh

install: build ## Library, headers, CMake package and the program into PREFIX (/usr/local)
	@cmake --build --preset release --target cairn_engine cairn_tiers -- -j$(JOBS)
	@cmake --install build/release --prefix $(PREFIX)

clean: ## Remove build/
	@rm -rf build
