# ebpf.fleet. The two commands are `make demo` and `make test`; both install what they need.
SHELL := /usr/bin/env bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,ANSIBLE_COLLECTIONS_PATH)

export PATH := $(CURDIR)/build/venv/bin:$(PATH):/usr/sbin:/sbin
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections
export PYTHONDONTWRITEBYTECODE := 1
collection := build/collections/ansible_collections/ebpf/fleet
record := $(if $(RECORD),--record)
sent_to_targets := plugins/modules plugins/module_utils
reliability := build/collections:tests/support:tests/reliability

demo: setup-demo
	@$(SUDO) demo/run.sh

test: lint sanity unit integration molecule

# What takes longer than a `make test` should, and `make test` itself: what CI runs.
test-all: test docs-check test-kill test-fuzz test-reboot test-kernels

setup-demo setup-test setup-molecule setup-bench setup-kernels setup-reboot: setup-%:
	@tools/setup.sh $*

# Style, types, spelling and documentation; and that what is sent to targets runs on their Python.
lint: setup-test
	ruff format --check .
	ruff check .
	codespell
	vermin --quiet --no-tips --target=3.8- --violations $(sent_to_targets)
	mypy $(collection)/plugins
	mypy tests demo docs/walkthrough
	clang-format --dry-run --Werror --style=file:files/bpf/.clang-format files/bpf/*.c tests/*/bpf/*.c
	cog --check -P -I tests/bench -I tests/kernels README.md
	cog --check -P -I tests/reliability docs/reliability.md
	shellcheck demo/*.sh tools/*.sh molecule/*/*.sh tests/kernels/*.sh .ci/run
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	zizmor --offline --quiet --no-progress .github/workflows
	ansible-lint --offline
	cd $(collection) && antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
	antsibull-changelog lint

# Ansible's own gate, with nothing ignored.
sanity: setup-test
	tools/sanity.sh

# What is pure, without a kernel.
unit: setup-test
	pytest tests/unit

# The modules, the role, the playbooks and the demo, on the kernel of this machine.
integration: setup-test
	$(SUDO) "$$(command -v pytest)" tests/integration

# Real (containerised) hosts over SSH, from images that it makes the first time. `make molecule SCENARIOS=default` runs one.
molecule: setup-molecule
	$(SUDO) tools/molecule.sh $(SCENARIOS)

# Each task killed at each of its calls, and run again; a line for each. `make test-kill SCENARIOS="upgrade"` does one.
# With RECORD=1, this and test-fuzz keep their figures for docs/reliability.md, into which `make figures` puts them.
test-kill: setup-test
	$(SUDO) env PYTHONPATH=$(reliability) "$$(command -v python)" tests/reliability/kill_matrix.py $(record) $(if $(SCENARIOS),"$(SCENARIOS)")

# Thousands of damaged objects and senseless options.
test-fuzz: setup-test
	$(SUDO) env PYTHONPATH=$(reliability) "$$(command -v python)" tests/reliability/fuzz.py $(record) $(if $(SEED),--seed $(SEED))

# The modules on other kernels, in qemu. `make test-kernels KERNELS="5.10 6.1"` runs some. RECORD=1 writes docs/kernels.md.
test-kernels: setup-kernels
	@$(SUDO) env DEBIAN_MIRROR=$(DEBIAN_MIRROR) DEBIAN_SECURITY_MIRROR=$(DEBIAN_SECURITY_MIRROR) \
		"$$(command -v python)" -B tests/kernels/run.py $(record) $(KERNELS)

# A guest in qemu that is deployed on over SSH and really rebooted: what comes back by itself.
test-reboot: setup-reboot
	@$(SUDO) env DEBIAN_MIRROR=$(DEBIAN_MIRROR) DEBIAN_SECURITY_MIRROR=$(DEBIAN_SECURITY_MIRROR) \
		PYTHONPATH=tests/kernels "$$(command -v python)" -B tests/reboot/reboot.py

# Tables of figures, their bars, and tests/bench/results.json. MODE=full: larger fleets and more rounds, ten to thirty minutes.
bench: setup-bench
	$(SUDO) env PYTHONPATH=build/collections:tests/support:tests/bench "$$(command -v python)" tests/bench/bench.py \
		$(if $(filter full,$(MODE)),--full) $(SECTIONS)

# The README's table from tests/bench/results.json, those of docs/reliability.md from tests/reliability/*.json.
figures: setup-test
	cog -r -P -I tests/bench -I tests/kernels README.md
	cog -r -P -I tests/reliability docs/reliability.md

# Run all commands of docs/walkthrough.md on the demo's fleet, and put what they print into it; or compare it with that.
docs: setup-test
	$(SUDO) "$$(command -v cog)" -r -P -I docs/walkthrough docs/walkthrough.md

docs-check: setup-test
	$(SUDO) "$$(command -v python)" docs/walkthrough/check.py

clean:
	$(SUDO) demo/fleet.sh down
	rm -rf build
	$(MAKE) -C files/bpf clean

.PHONY: demo test test-all test-kill test-fuzz test-kernels test-reboot bench figures docs docs-check setup-demo setup-test setup-molecule setup-bench \
	setup-kernels setup-reboot lint sanity unit integration molecule clean
