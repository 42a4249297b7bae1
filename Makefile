# ebpf.fleet. The two main commands are `make demo` and `make test`; both install what they need.
SHELL := /usr/bin/env bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,ANSIBLE_COLLECTIONS_PATH,NO_COLOR,PYTHONPYCACHEPREFIX)

export PATH := $(CURDIR)/build/venv/bin:$(PATH):/usr/sbin:/sbin
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections
export PYTHONDONTWRITEBYTECODE := 1
unexport PYTHONUNBUFFERED # with it, a host's Python reads a module that is piped to it byte by byte
collection := build/collections/ansible_collections/ebpf/fleet
record := $(if $(RECORD),--record)
sent_to_targets := plugins/modules plugins/module_utils
reliability := build/collections:tests/support:tests/reliability

demo: setup-demo
	@$(SUDO) demo/run.sh

test: lint sanity unit browser integration security molecule

# `make test`, and the tests that take too long for it. CI runs this. What loads no program into this machine's kernel (it
# needs none, or runs in guests) runs beside the rest. All is set up before, as apt and pip cannot run twice at a time.
test-all: setup-test setup-browser setup-molecule setup-kernels setup-reboot
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target on-this-machine beside

on-this-machine:
	@$(MAKE) --no-print-directory --jobs=1 integration security molecule docs-check test-kill test-fuzz

beside:
	@$(MAKE) --no-print-directory --jobs=1 JOBS=1 SAMPLE=1 lint sanity unit browser test-reboot test-kernels

setup-demo setup-test setup-browser setup-molecule setup-bench setup-kernels setup-reboot setup-pins: setup-%:
	@tools/setup.sh $*

# Style, types, spelling and documentation; and that what is sent to targets runs on their Python.
lint: setup-test
	ruff format --check .
	ruff check .
	codespell
	vermin --quiet --no-tips --target=3.8- --violations $(sent_to_targets)
	mypy $(collection)/plugins
	mypy tests demo docs/walkthrough tools/dashboard.py
	clang-format --dry-run --Werror --style=file:files/bpf/.clang-format files/bpf/*.c examples/*/*.c tests/*/bpf/*.c
	cog --check -P -I tests/bench -I tests/kernels -I tools README.md docs/figures.md docs/scale.md
	cog --check -P -I tests/reliability docs/reliability.md
	python tools/dashboard.py --check
	cog --check -P -I tests/bench -I tools docs/metrics.md
	shellcheck demo/*.sh tools/*.sh molecule/*/*.sh tests/kernels/*.sh tests/monitoring/*/*.sh tests/support/*.sh .ci/run
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	zizmor --offline --quiet --no-progress .github/workflows
	[ -t 1 ] || export NO_COLOR=1; ansible-lint --offline # it colours its summary for a pipe as well
	cd $(collection) && antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
	antsibull-changelog lint

# Ansible's own sanity tests, with no ignore file.
sanity: setup-test
	tools/sanity.sh

# Tests that need no kernel. In a folder of their own, as pytest changes the mode of the one that all runs share.
unit: setup-test
	pytest tests/unit --basetemp=build/unit

# The page of the playbook report in Chromium.
browser: setup-browser
	pytest tests/browser --basetemp=build/browser/tests

# Renew docs/report.png, from facts that are the same each time.
screenshot: setup-browser
	PYTHONPATH=build/collections:tests/support python tests/browser/screenshot.py

# The modules, the role, the playbooks and the demo, on the kernel of this machine.
# Compiled sources are kept: a module is started a thousand times.
integration security: export PYTHONDONTWRITEBYTECODE :=
integration security: export PYTHONPYCACHEPREFIX := $(CURDIR)/build/bytecode
integration: setup-test
	$(SUDO) "$$(command -v pytest)" tests/integration

# What local users, hostile hosts and containers try.
security: setup-test
	$(SUDO) "$$(command -v pytest)" tests/security

# Hosts in containers over SSH. The images are built the first time. `make molecule SCENARIOS=default` runs one scenario.
molecule: setup-molecule
	$(SUDO) tools/molecule.sh $(SCENARIOS)

# Kill each task at its calls, and run it again; print a line for each kill: at a sample of the calls, chosen by the commit, or
# with WHOLE=1, RECORD=1 or SCENARIOS="upgrade" at all of them. With RECORD=1, this and test-fuzz save their figures, which
# `make figures` puts into docs/reliability.md.
test-kill: setup-test
	$(SUDO) env PYTHONPATH=$(reliability) "$$(command -v python)" tests/reliability/kill_matrix.py $(record) $(if $(WHOLE),--whole) $(if $(SCENARIOS),"$(SCENARIOS)")

# Feed damaged objects and senseless options to the modules: 2,000, with WHOLE=1 or RECORD=1 8,000.
test-fuzz: setup-test
	$(SUDO) env PYTHONPATH=$(reliability) "$$(command -v python)" tests/reliability/fuzz.py $(record) $(if $(WHOLE),--whole) $(if $(SEED),--seed $(SEED))

# The modules on other kernels, in qemu. `make test-kernels KERNELS="5.10 6.12/trixie/arm64 nics-6.1"` runs only these. RECORD=1 writes each
# into docs/kernels.md and docs/nics.md when it has ended; the others stay as they were. JOBS: guests at a time. SAMPLE=1: the oldest, and one with NICs, chosen by the commit.
test-kernels: setup-kernels
	@$(SUDO) env DEBIAN_MIRROR=$(DEBIAN_MIRROR) DEBIAN_SECURITY_MIRROR=$(DEBIAN_SECURITY_MIRROR) \
		"$$(command -v python)" -B tests/kernels/run.py $(record) $(if $(JOBS),--jobs=$(JOBS)) $(if $(SAMPLE),--sample) $(KERNELS)

# Deploy to a guest in qemu over SSH, and really reboot it: what is restored by itself.
test-reboot: setup-reboot
	@$(SUDO) env DEBIAN_MIRROR=$(DEBIAN_MIRROR) DEBIAN_SECURITY_MIRROR=$(DEBIAN_SECURITY_MIRROR) \
		PYTHONPATH=tests/kernels "$$(command -v python)" -B tests/reboot/reboot.py

# Measure; print tables of figures with their bars, and write tests/bench/results.json. MODE=full: larger fleets and more rounds,
# ten to thirty minutes.
# BESIDE=REVISION: only what each module costs a target, here and at another revision, in interleaved rounds.
bench: setup-bench
	$(SUDO) env PYTHONPATH=build/collections:tests/support:tests/bench "$$(command -v python)" tests/bench/bench.py \
		$(if $(filter full,$(MODE)),--full) $(if $(BESIDE),--beside $(BESIDE)) $(if $(HOSTS),--hosts $(HOSTS)) $(SECTIONS)

# Renew the figures in README.md, docs/figures.md, docs/scale.md and docs/metrics.md from tests/bench/results.json, in docs/reliability.md from
# tests/reliability/*.json.
figures: setup-test
	cog -r -P -I tests/bench -I tests/kernels -I tools README.md docs/figures.md docs/scale.md
	cog -r -P -I tests/bench -I tools docs/metrics.md
	cog -r -P -I tests/reliability docs/reliability.md

# Write the Grafana dashboard anew, and the queries in README.md and docs/metrics.md, from tools/dashboard.py.
dashboard: setup-test
	python tools/dashboard.py
	cog -r -P -I tests/bench -I tests/kernels -I tools README.md docs/metrics.md

# Run all commands of docs/walkthrough.md on the demo's fleet. `docs` puts their output into it, `docs-check` compares.
docs: setup-test
	$(SUDO) "$$(command -v cog)" -r -P -I docs/walkthrough docs/walkthrough.md

docs-check: setup-test
	$(SUDO) "$$(command -v python)" docs/walkthrough/check.py

# Renew the versions and hashes of the Python packages: tools/requirements-*.txt from the ranges in tools/requirements-*.in.
requirements: setup-pins
	tools/requirements.sh

clean:
	$(SUDO) demo/fleet.sh down
	rm -rf build
	$(MAKE) -C files/bpf clean

.PHONY: demo test test-all on-this-machine beside test-kill test-fuzz test-kernels test-reboot bench figures dashboard screenshot docs docs-check \
	requirements setup-demo setup-test setup-browser setup-molecule setup-bench setup-kernels setup-reboot setup-pins lint sanity unit browser integration security molecule clean
