# ebpf.fleet. The two commands are `make demo` and `make test`; both install what they need.
SHELL := /bin/bash
.DELETE_ON_ERROR:

demo: setup-demo
	@$(SUDO) demo/run.sh

# Both find a package manager, Python 3.11 or later, and sudo where they are not run by root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

setup-demo:
	@tools/setup.sh demo

setup-test:
	@tools/setup.sh test

clean:
	$(SUDO) demo/fleet.sh down
	rm -rf build
	$(MAKE) -C files/bpf clean

.PHONY: demo setup-demo setup-test clean
