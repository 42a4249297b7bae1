#!/bin/sh
# systemd.sh FOLDER NETNS...: become systemd, on this machine's files. systemd.py calls it as pid 1 in new namespaces.
# What it could write to is private: FOLDER/etc and FOLDER/var last, as on a disk; /run and bpffs are new at each boot.
# The named network namespaces stay accessible; the first is the host's own.
set -eu
identity=$(realpath "${0%/*}/../../plugins/module_utils/state/identity.py")
folder=$1
shift

mount -n --make-rprivate /
mkdir -p "$folder/etc" "$folder/var" "$folder/run"
mount -n -t tmpfs -o mode=755 run "$folder/run"
mkdir -p "$folder/run/${folder#/run/}" "$folder/run/netns" "$folder/run/udev/data" "$folder/run/udev/tags/systemd"
for netns in "$@"; do
	: >"$folder/run/netns/$netns"
	mount -n --bind "/run/netns/$netns" "$folder/run/netns/$netns"
done
mount -n --bind "$folder" "$folder/run/${folder#/run/}"
mount -n --bind "$folder/etc" /etc/systemd/system
mount -n --bind "$folder/var" /var/lib
# It stands for a machine. What tells a machine's own network namespace from others, a new one cannot have: so it is
# that of pid 1, and all else in the file is as it is.
{
	cat "$identity"
	printf '\n\ndef _is_the_machines_own(cookie):\n    return bool(_is_that_of_pid_1())\n'
} >"$folder/run/identity.py"
mount -n --bind "$folder/run/identity.py" "$identity"
mount -n -t tmpfs -o ro generators /usr/lib/systemd/system-generators # they make units for this machine's disks
mount -n -o remount,bind,ro /
mount -n --move "$folder/run" /run
mount -n -t proc proc /proc
umount -n -R -l /sys # the machine's bpffs must not be seen below the new one
mount -n -t sysfs sysfs /sys
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
mount -n -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -n -t tracefs tracefs /sys/kernel/tracing

# What udev's own rule (99-systemd.rules) notes about an interface; udev itself would handle this machine's devices.
for each in /sys/class/net/eth*; do
	index=$(cat "$each/ifindex")
	printf 'I:1\nE:SYSTEMD_ALIAS=/sys/subsystem/net/devices/%s\nG:systemd\nQ:systemd\nV:1\n' "${each##*/}" >"/run/udev/data/n$index"
	: >"/run/udev/tags/systemd/n$index"
done

# The only unit that is started, besides those of the devices: none of this machine's.
mkdir -p /run/systemd/system/ebpf-fleet@.service.d
printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/only.target
printf '[Service]\nStandardOutput=append:/run/restored\nStandardError=append:/run/restored\n' \
	>/run/systemd/system/ebpf-fleet@.service.d/output.conf
# By default a timer and its service need the units that start a machine.
for each in metrics.timer metrics.service pull.timer pull.service; do
	mkdir -p "/run/systemd/system/ebpf-fleet-$each.d"
	printf '[Unit]\nDefaultDependencies=no\n' >"/run/systemd/system/ebpf-fleet-$each.d/alone.conf"
done
ln -s /dev/null /run/systemd/system/network-online.target # this machine's own waits for its network
printf '[Service]\nStandardError=append:/run/metrics.log\n' >/run/systemd/system/ebpf-fleet-metrics.service.d/output.conf
printf '[Service]\nStandardOutput=append:/run/pull.log\nStandardError=append:/run/pull.log\n' \
	>/run/systemd/system/ebpf-fleet-pull.service.d/output.conf
exec env -i "PATH=$PATH" container=ebpf-kill /lib/systemd/systemd --system --unit=only.target --log-target=null --show-status=no
