#!/usr/bin/env bash
# The demo: create a fleet on this machine, deploy, count, and remove it again. Needs root; `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")"
bin=../build/venv/bin
export PATH=$bin:$PATH:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1

lock=/run/ebpf-demo.lock # not in /run/lock, where every user can write
before=$(umask)
umask 077 # who can open it can lock it
exec 9>>$lock
umask "$before"
flock --nonblock 9 || { echo "Another demo is running on this machine: wait for it to end." >&2; exit 1; }

work=$(mktemp -d)
ending() {
	trap - EXIT
	trap '' INT TERM HUP
	./fleet.sh down
	rm -rf "$work" "$lock"
}
trap ending EXIT
trap 'exit 130' INT TERM HUP

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then # https://no-color.org; Ansible honours it too
	bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
	say "\$ $*"
	"$@" 9>&-
}

say "A fleet of three hosts, as network namespaces of this machine"
./fleet.sh up 9>&-
ip netns list | grep ebpf-demo-

show ansible-playbook ebpf.fleet.deploy
show ansible-playbook ebpf.fleet.deploy

say "Traffic: a known number of packets to each interface"
while read -r port host interface packets size; do
	sent=$(nsenter --net=/run/netns/ebpf-demo-hub python send.py "$port" "$packets" "$size" 9>&-)
	echo "$host $interface $sent" | tee -a "$work/sent"
done <<-'END'
	p1 edge1 eth0 10000 64
	p2 edge2 eth0 12345 1500
	p3 edge2 eth0.10 999 128
	p4 edge3 eth0 1 64
	p5 edge3 jumbo0 5000 9000
END

show ansible-playbook ebpf.fleet.facts -e xdp_counter_report="$work/counts.json"

show ansible-playbook ebpf.fleet.remove
left=$(find /sys/fs/bpf /run/ebpf_fleet /run/ebpf-demo-* -path '*ebpf-demo*' 2>/dev/null || true)
[ -z "$left" ] || { printf 'Left behind:\n%s\n' "$left" >&2; exit 1; }

say "Sent beside counted. Nothing of it is left on this machine; for your own hosts see the README."
python table.py "$work/counts.json" "$work/sent"
