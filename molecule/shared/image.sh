#!/usr/bin/env bash
# image.sh SUITE [full|plain|packages|pull]: build the test image of a Debian suite from packages, once; print its name.
# full has a compiler, plain does not; packages is plain, with what a user's Debian has, and apt has node_exporter and
# Prometheus in a folder, as the containers reach no mirror; pull is plain, with ansible-core and git. To use an existing image:
# MOLECULE_IMAGE_<SUITE>_<FLAVOUR>.
set -euo pipefail
suite=$1
flavour=${2:-full}
ready=MOLECULE_IMAGE_${suite^^}_${flavour^^}
if [ -n "${!ready:-}" ]; then
	echo "${!ready}"
	exit
fi

packages=python3,libbpf1,bpftool,iproute2,iputils-ping,openssh-server,systemd-sysv
case $flavour in
	full) packages+=,clang,libbpf-dev,linux-libc-dev ;;
	packages) packages+=,sudo,python3-apt ;;
	pull) packages+=,ansible-core,git,openssh-client ;;
esac
key=$({ echo "$suite $packages"; cat "$0" "${0%/*}/packages.sh"; } | sha256sum | cut -c1-12)
image=localhost/ebpf-fleet-molecule-$suite-$flavour:$key

# A lock that only root can open, in a folder that only root can write to; podman's images are those of all checkouts.
umask 077
exec 9>>"/run/molecule-image-$suite-$flavour.lock"
umask 022
flock 9
if ! podman image exists "$image"; then
	work=$(cd "$(dirname "$0")/../.." && pwd)/build/molecule
	mkdir -p "$work"
	rm -rf --one-file-system "$work/image-$suite-$flavour."* # what a killed run left behind
	TMPDIR=$(mktemp -d "$work/image-$suite-$flavour.XXXXXXXX")
	export TMPDIR
	trap 'rm -rf --one-file-system "$TMPDIR"' EXIT
	chmod 0755 "$TMPDIR" # apt's user _apt writes below it
	# pid 1: a separate cgroup2 for systemd, whatever the machine has; tracefs; a separate bpffs.
	cat >"$TMPDIR/init" <<-'EOF'
		#!/bin/sh
		umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
		mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
		mount -t bpf -o mode=0700 bpf /sys/fs/bpf
		exec "${@:-/sbin/init}"
	EOF
	chmod 0755 "$TMPDIR/init"
	# Masked: units that would write to the machine's own kernel, and units that are useless in a container.
	masked="systemd-sysctl.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
		systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service
		systemd-remount-fs.service systemd-journald-audit.socket systemd-logind.service
		getty.target console-getty.service ssh.service"
	[ "$flavour" = packages ] && hooks=(--customize-hook="$(realpath "${0%/*}/packages.sh")") || hooks=()
	# A suite whose date of expiry has passed is taken only where this machine's own apt takes it.
	mapfile -t aged < <(apt-config dump | sed -nE 's/^(Acquire::Check-(Valid-Until|Date) .*);$/--aptopt=\1/p')
	# unshare: if the build is killed, its mounts go too.
	unshare --mount mmdebstrap --quiet --variant=minbase --include="$packages" "${aged[@]}" \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--customize-hook="copy-in $TMPDIR/init /" "${hooks[@]}" \
		--customize-hook="for u in ${masked//$'\n'/ }; do ln -sf /dev/null \"\$1/etc/systemd/system/\$u\"; done" \
		"$suite" "$TMPDIR/rootfs.tar" >&2
	podman import --quiet --change 'CMD ["/init"]' --change 'STOPSIGNAL SIGRTMIN+3' \
		"$TMPDIR/rootfs.tar" "$image" >&2
fi
echo "$image"
