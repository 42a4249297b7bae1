#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# init.sh: pid 1 of the guest. From the kernel's command line: $checks, what runs here; $output, where that prints, another
# serial line than the kernel's if there are two.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
for module in /modules/*; do
	insmod "$module"
done
: "${output:?}" "${checks:?}"
stty -F "$output" raw
python3 "/tests/$checks" >"$output"
echo o >/proc/sysrq-trigger # off; if init returned, the kernel would panic
sleep 60
