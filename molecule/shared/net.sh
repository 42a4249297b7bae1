#!/usr/bin/env bash
# net.sh PREFIX [HOST:INTERFACE:NUMBER:MTU]...
# Create from scratch: a network namespace PREFIX--HOST for each host, and PREFIX--hub with the other end of
# each wire, w<NUMBER>. Without wires: remove them all. Neighbours are permanent and IPv6 is off, so that
# only the tests' own packets are on a wire, and counts are exact.
set -euo pipefail
prefix=$1
shift
hub=$prefix--hub

for ns in /run/netns/"$prefix"--*; do
	[ ! -e "$ns" ] || { echo "removed ${ns##*/}"; ip netns del "${ns##*/}"; }
done

new() {
	[ ! -e "/run/netns/$1" ] || return 0
	ip netns add "$1"
	ip netns exec "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
	ip -n "$1" link set dev lo up
}

end() { # NETNS DEVICE NUMBER OWN OTHER
	ip -n "$1" link set dev "$2" address "02:00:00:00:$(printf %02x "$3"):0$4" up
	ip -n "$1" address add "10.9.$3.$4/24" dev "$2"
	ip -n "$1" neigh replace "10.9.$3.$5" lladdr "02:00:00:00:$(printf %02x "$3"):0$5" nud permanent dev "$2"
}

for wire in "$@"; do
	IFS=: read -r host interface number mtu <<<"$wire"
	new "$hub"
	new "$prefix--$host"
	ip link add name "$interface" netns "$prefix--$host" mtu "$mtu" type veth \
		peer name "w$number" netns "$hub" mtu "$mtu"
	end "$hub" "w$number" "$number" 1 2
	end "$prefix--$host" "$interface" "$number" 2 1
done
