#!/usr/bin/env bash
# look.sh runs: what runs on eth0. look.sh all: that, and what is deployed. On a host.
set -euo pipefail

ip -json link show dev eth0 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0].get("xdp"))'
[ "$1" = all ] || exit 0
find /sys/fs/bpf /run/ebpf_fleet /usr/local/lib/ebpf_fleet -mindepth 1 -not -name '*.debug' | sort
find /run/ebpf_fleet /usr/local/lib/ebpf_fleet -type f -exec sha256sum {} + | sort
