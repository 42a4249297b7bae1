#!/usr/bin/env bash
# fleet.sh up|down: the demo's three hosts, network namespaces connected to a hub. They have no IPv6 and no
# addresses, so that every packet on their wires was sent by send.py.
set -euo pipefail

prefix=ebpf-demo
pins=/sys/fs/bpf/ebpf_fleet@$prefix-
records=/run/ebpf_fleet

new() {
	ip netns add "$1"
	nsenter --net="/run/netns/$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
}

wire() { # HOST INTERFACE MTU PORT
	ip link add name "$2" netns "$prefix-$1" mtu "$3" type veth peer name "$4" netns $prefix-hub mtu "$3"
	ip -n "$prefix-$1" link set dev "$2" up
	ip -n $prefix-hub link set dev "$4" up
}

down() {
	rm -rf "$pins"* "$records"/%2Fsys%2Ffs%2Fbpf%2Febpf_fleet@$prefix-* /run/$prefix-*
	[ ! -d $records ] || rmdir --ignore-fail-on-non-empty $records
	for ns in /run/netns/"$prefix"-*; do
		[ ! -e "$ns" ] || ip netns del "${ns##*/}"
	done
}

up() {
	down # what a killed run left behind
	new $prefix-hub
	for host in edge1 edge2 edge3; do new $prefix-$host; done
	wire edge1 eth0 1500 p1
	wire edge2 eth0 1500 p2
	wire edge2 eth0.10 1500 p3
	wire edge3 eth0 1500 p4
	wire edge3 jumbo0 9000 p5
}

"$@"
