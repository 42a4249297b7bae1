#!/usr/bin/env bash
# setup.sh demo|test|browser|molecule|bench|kernels|reboot|pins: install what these need: system packages, a virtual environment in
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
	packages=(clang libbpf-dev iproute2 iputils-ping util-linux python3-venv)
	case $what in
		test) packages+=(llvm bpftool file strace systemd) ;;
		browser)
			packages+=(chromium-headless-shell)
			command -v npm >/dev/null || packages+=(npm) # a Node.js of other origin brings its own
			;;
		molecule) packages+=(curl mmdebstrap openssh-client podman runc) ;;
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
	packages=(clang libbpf-devel iproute iputils util-linux python3)
	case $what in
		test) packages+=(llvm bpftool file strace systemd) ;;
		bench) packages+=(bpftool openssh-clients) ;;
		browser) fail "the page is opened in Debian's chromium-headless-shell; run this on Debian or Ubuntu." ;;
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

# Unpacked: installed, the packages would start servers that the world can reach.
if [ "$what" = test ] && [ ! -x build/prometheus/usr/bin/promtool ]; then
	command -v apt-get >/dev/null || fail "prometheus and prometheus-node-exporter are unpacked from Debian's packages."
	echo "Unpacking prometheus and prometheus-node-exporter into build/prometheus"
	mkdir -p build/prometheus/packages
	quietly "${sudo[@]}" apt-get update
	(cd build/prometheus/packages && quietly apt-get download prometheus prometheus-node-exporter)
	for package in build/prometheus/packages/*.deb; do
		quietly dpkg-deb --extract "$package" build/prometheus
	done
	rm -r build/prometheus/packages
fi

if [ "$what" = browser ] && ! cmp --silent tests/browser/package-lock.json build/browser/node_modules/.of; then
	echo "Installing the npm packages of tests/browser/package-lock.json into build/browser"
	mkdir -p build/browser
	cp tests/browser/package.json tests/browser/package-lock.json build/browser
	(cd build/browser && quietly npm ci --ignore-scripts --no-audit --no-fund)
	cp tests/browser/package-lock.json build/browser/node_modules/.of
fi

mkdir -p build/collections/ansible_collections/ebpf
ln -sfn ../../../.. build/collections/ansible_collections/ebpf/fleet
