#!/usr/bin/env bash
# setup.sh demo|test|molecule|bench|kernels|reboot|pins: install what these need: system packages, a virtual environment in
# build/venv, and build/collections, where Ansible finds this checkout as ebpf.fleet.
set -euo pipefail
umask go-w # root will run what is installed
cd "$(dirname "$0")/.."
what=$1
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

fail() {
	echo "setup: $*" >&2
	exit 1
}

quietly() { # its output matters only if it fails
	local said
	said=$("$@" 2>&1) || fail "$* failed:
$said"
}

[ "$(uname -s)" = Linux ] || fail "XDP is a part of Linux; this is $(uname -s)."
[ ${#sudo[@]} = 0 ] || command -v sudo >/dev/null || fail "run this as root, or install sudo."
[ -r /sys/kernel/btf/vmlinux ] || fail "this kernel has no BTF (/sys/kernel/btf/vmlinux); boot one with CONFIG_DEBUG_INFO_BTF=y."

# dnf: package names from Fedora's lists, not tested.
if command -v apt-get >/dev/null; then
	packages=(clang libbpf-dev iproute2 util-linux python3-venv)
	case $what in
		test) packages+=(llvm bpftool iputils-ping file strace systemd) ;;
		molecule) packages+=(iputils-ping mmdebstrap openssh-client podman runc) ;;
		kernels) packages+=(debian-archive-keyring kmod libarchive-tools mmdebstrap qemu-system-arm qemu-system-misc qemu-system-x86) ;;
		reboot) packages+=(debian-archive-keyring e2fsprogs mmdebstrap openssh-client qemu-system-x86) ;;
	esac
	if [ "$what" = bench ]; then
		packages+=(bpftool openssh-client)
		# If systemd runs, the package would start a server that the world can reach; the benchmark then runs without SSH.
		[ -d /run/systemd/system ] || packages+=(openssh-server)
	fi
	missing=()
	for package in "${packages[@]}"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	if [ ${#missing[@]} -gt 0 ]; then
		echo "Installing ${missing[*]}"
		quietly "${sudo[@]}" apt-get update
		quietly "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
	fi
elif command -v dnf >/dev/null; then
	packages=(clang libbpf-devel iproute util-linux python3)
	case $what in
		test) packages+=(llvm bpftool iputils file strace systemd) ;;
		bench) packages+=(bpftool openssh-clients) ;;
		molecule) fail "the scenarios make their images with Debian's mmdebstrap; run them on Debian or Ubuntu." ;;
		kernels | reboot) fail "the kernels and their userlands come from Debian's suites with apt and mmdebstrap; run them on Debian or Ubuntu." ;;
	esac
	rpm -q "${packages[@]}" >/dev/null || quietly "${sudo[@]}" dnf install -y "${packages[@]}"
else
	fail "neither apt-get nor dnf is here; install clang, libbpf's headers, iproute2 and Python's venv by other means, and build/venv with tools/requirements-$what.txt."
fi

for python in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
	if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		break
	fi
	python=
done
[ -n "$python" ] || fail "no Python 3.11 or later with venv and ensurepip is here; install one."

requirements=tools/requirements-$what.txt
stamp=build/venv/.$what.$(cat tools/requirements-*.txt | sha256sum | cut -c1-12)
if [ ! -e "$stamp" ]; then
	echo "Installing the Python packages of $requirements into build/venv"
	[ -x build/venv/bin/python ] || "$python" -m venv build/venv
	quietly build/venv/bin/python -m pip install --disable-pip-version-check \
		--require-hashes --only-binary :all: -r "$requirements"
	touch "$stamp"
fi

mkdir -p build/collections/ansible_collections/ebpf
ln -sfn ../../../.. build/collections/ansible_collections/ebpf/fleet
