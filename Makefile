# Two commands do everything, set-up included: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
# Debian packages that set-up installs where they are missing (as root), by the command they bring.
TOOLS := nft:nftables ip:iproute2 tcpdump:tcpdump ethtool:ethtool curl:curl ping:iputils-ping \
	iperf3:iperf3 gcc:gcc
WORKERS ?= 2
NATIVE := setup.py $(wildcard pktlb/native/*.[ch])
STRICT := -Wall -Wextra -Werror
HAS_PYTHON_H := import os, sysconfig; \
	raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))

.PHONY: help setup demo test unit lint bench nat dsr tunnel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## what the other targets need: Debian packages (as root) and .venv

.venv/.ready: setup.cfg pyproject.toml $(NATIVE)
	@missing=; for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c '$(HAS_PYTHON_H)' || missing="$$missing python3-dev"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		else echo "missing:$$missing (install them, or run make as root)" >&2; exit 1; fi; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@PKTLB_NEED_NATIVE=1 $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: nat dsr tunnel  ## the main job on real traffic: each mode over real servers (root)

nat: setup  ## the laboratory of mode nat: topology, requests, who answered (root)
	@$(BIN)/python netns/nat.py demo

dsr: setup  ## the same of mode dsr (root)
	@$(BIN)/python netns/dsr.py demo

tunnel: setup  ## the same of mode tunnel (root)
	@$(BIN)/python netns/tunnel.py demo

test: setup  ## all tests (root: they build network namespaces)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal tests

unit: setup  ## unit and property tests (no root)
	$(BIN)/pytest -q tests/unit tests/property

lint: setup  ## formatter, linter, strict types, strict C, files over 400 lines
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	gcc -std=gnu11 -D_GNU_SOURCE -O3 $(STRICT) -Wshadow -fsyntax-only \
		$$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
		-DPy_LIMITED_API=0x030B0000 pktlb/native/*.c
	@long=$$(git ls-files '*.py' '*.[ch]' | xargs wc -l | awk '$$2 != "total" && $$1 > 400'); \
	test -z "$$long" || { echo "over 400 lines: $$long" >&2; exit 1; }

bench: setup  ## the reference engine measured: frames a second, Gbit/s, latency, memory (root)
	$(BIN)/python -m tests.bench

clean:  ## forget .venv and caches
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
