# Two commands do everything, set-up included: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
# Debian packages that set-up installs where they are missing (as root), by the command they bring.
TOOLS := nft:nftables ip:iproute2 tcpdump:tcpdump ethtool:ethtool curl:curl ping:iputils-ping \
	iperf3:iperf3 gcc:gcc clang:clang systemd-analyze:systemd zsh:zsh
WORKERS ?= 3
NATIVE := setup.py $(wildcard pktlb/engine/native/*.[ch] pktlb/engine/packet/*.h)
STRICT := -Wall -Wextra -Werror
SECONDS ?= 30
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
UNSANITIZED := control/test_garbage.py control/test_page.py control/test_server.py \
	engine/native/test_fuzz_cases.py engine/native/test_build.py engine/native/test_memory.py \
	engine/native/test_workers.py engine/packet/test_kernel.py
FUZZ_MAIN := int LLVMFuzzerTestOneInput(void) { return 0; }
HAS_LIBBPF := import ctypes; ctypes.CDLL("libbpf.so.1")
HAS_PYTHON_H := import os, sysconfig; \
	raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))

.PHONY: help setup demo test unit lint bench nat dsr tunnel mixed l2 fuzz soak load test-asan man docs \
	deb test-deb clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## what the other targets need: Debian packages (as root) and .venv

.venv/.ready: setup.cfg pyproject.toml $(NATIVE)
	@missing=; for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c '$(HAS_PYTHON_H)' || missing="$$missing python3-dev"; \
	$(PYTHON) -c '$(HAS_LIBBPF)' 2>/dev/null || missing="$$missing libbpf1"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		else echo "missing:$$missing (install them, or run make as root)" >&2; exit 1; fi; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@PKTLB_NEED_NATIVE=1 $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: nat dsr tunnel mixed l2  ## the main job on real traffic: each mode over real servers (root)

nat: setup  ## the laboratory of mode nat: topology, requests, which server answered (root)
	@$(BIN)/python netns/nat.py demo

dsr: setup  ## the laboratory of mode dsr (root)
	@$(BIN)/python netns/dsr.py demo

tunnel: setup  ## the laboratory of mode tunnel (root)
	@$(BIN)/python netns/tunnel.py demo

mixed: setup  ## the laboratory of tunnels: IPv4 and IPv6, each over the other (root)
	@$(BIN)/python netns/mixed.py demo

l2: setup  ## the laboratory of --vip any: firewalls between two balancers (root)
	@$(BIN)/python netns/l2.py demo

test: setup  ## all tests (root: they build network namespaces)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not load' tests

load: setup  ## long runs: everything changes under 20,000 requests; wrong engines are found (root)
	$(BIN)/pytest -n 2 --dist worksteal -m load tests

unit: setup  ## unit and property tests (no root)
	$(BIN)/pytest -q tests/unit tests/property

lint: setup  ## formatter, linter, strict types, strict C, files over 400 lines
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	for file in pktlb/engine/native/*.c tests/bench/*.c tests/fuzz/*.c; do \
		gcc -std=gnu11 -D_GNU_SOURCE -O3 $(STRICT) -Wshadow -c -o /dev/null \
		$$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
		-DPy_LIMITED_API=0x030B0000 -Ipktlb/engine/native -Ipktlb/engine/packet $$file || exit 1; done
	@long=$$(git ls-files '*.py' '*.[ch]' | xargs wc -l | awk '$$2 != "total" && $$1 > 400'); \
	test -z "$$long" || { echo "over 400 lines: $$long" >&2; exit 1; }

# The runtime has the version of clang in its package's name.
fuzz: setup  ## look for inputs that break the native engine: SECONDS of each target
	@has() { echo '$(FUZZ_MAIN)' | clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null; }; \
	get() { if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "installing $$1"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-install-recommends $$1 >/dev/null; \
		else echo "missing: $$1 (install it, or run make as root)" >&2; exit 1; fi; }; \
	has || get libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

soak: setup  ## both engines on the same random traffic for SECONDS: they must not differ
	$(BIN)/python -m tests.differential --seconds $(SECONDS)

# In a copy: the sanitized extension must not be taken for the real one. Tests that compile
# something choose their own sanitizers; those that bound the memory cannot have any, and curl hangs
# with them.
test-asan: setup  ## unit and property tests with the extension under ASan and UBSan
	@rm -rf build/asan && mkdir -p build/asan
	@git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t build/asan
	cd build/asan && \
		PKTLB_NEED_NATIVE=1 PKTLB_CFLAGS='-O1 -g $(SANITIZE)' PKTLB_LDFLAGS='$(SANITIZE)' \
		$(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace && \
		LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		$(CURDIR)/$(BIN)/python -m pytest -q -n $(WORKERS) tests/unit tests/property \
		$(addprefix --ignore=tests/unit/,$(UNSANITIZED))

bench: setup  ## pktlb and its peers measured: a table, JSON and a plot in bench-results/ (root)
	@missing=; for tool in haproxy nginx; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -e /usr/lib/nginx/modules/ngx_stream_module.so || missing="$$missing libnginx-mod-stream"; \
	test -z "$$missing" || { echo "installing$$missing"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }
	@$(BIN)/python -c 'import matplotlib' 2>/dev/null || \
		PKTLB_NEED_NATIVE=1 $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m tests.bench $(MEASURES)

man: setup  ## the manual in build/man: pktlb(1), and one page for each command
	COLUMNS=80 $(BIN)/python -m deb.manual build/man

docs: setup  ## write the help of commands and the tables of options into docs/ anew
	COLUMNS=80 $(BIN)/python -m deb.commands docs/commands.md
	$(BIN)/python -m deb.options docs/configuration.md

deb: setup  ## the Debian package in build/deb
	@$(BIN)/python -m deb.build build/deb

# Not of `make test`: it builds the package twice.
test-deb: setup  ## build the package, and try it as installed (root)
	@missing=; for tool in lintian mandoc; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -x /usr/bin/python3 || missing="$$missing python3"; \
	test -z "$$missing" || { echo "installing$$missing"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }
	$(BIN)/pytest -q --timeout 600 deb

clean:  ## delete .venv, build/ and caches
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
