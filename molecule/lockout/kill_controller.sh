#!/usr/bin/env bash
# Run the task TASK of xdp_program on the hosts of the scenario, and kill ansible when it has cut them all off.
# HOSTS: their network namespaces. Then wait until eth0 has its old program again, at most as long as the change is provisional.
set -euo pipefail

on_eth0() {
	for host in $HOSTS; do
		ip -json -n "$host" link show dev eth0 | grep -o '"prog":{"id":[0-9]*' || echo nothing
	done
}

until_true() { # SECONDS COMMAND...
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || { echo "still not: $*" >&2; on_eth0 >&2; exit 1; }
		sleep 0.2
	done
}
all_differ() { [ "$(paste -d= <(echo "$before") <(on_eth0) | awk -F= '$1 == $2' | wc -l)" = 0 ]; }
as_before() { [ "$(on_eth0)" = "$before" ]; }

before=$(on_eth0)
# A separate connection, not the one that the test has open.
setsid ansible molecule -i "$INVENTORY/shared/inventory" -i "$INVENTORY/lockout/inventory" \
	--ssh-extra-args='-o ControlMaster=no -o ControlPath=none' \
	-m ebpf.fleet.xdp_program -a "$TASK" >/dev/null 2>&1 </dev/null &
controller=$!
until_true 60 all_differ
kill -KILL -- "-$controller"
until_true 30 as_before
