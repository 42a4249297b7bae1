# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's disk: Debian 12 with systemd, udev, networkd, sshd and SELinux; kept under a hash of its sources."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import typing as t

from debian import NOT_NEEDED, Debian, key
from processes import run

HERE = pathlib.Path(__file__).parent
SEND = HERE.parents[1] / "demo/send.py"
SUITE = "bookworm"
PACKAGES = """
    bpftool iproute2 linux-image-cloud-amd64 openssh-server policycoreutils python3 selinux-policy-default systemd-sysv
    tiny-initramfs udev
""".split()
MODULES = "virtio_pci virtio_blk ext4".split()  # enough to see the disk; udev loads the others
# The test does not need them, and each takes half a second or more on an emulated CPU.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service
    dev-hugepages.mount dev-mqueue.mount getty.target kmod-static-nodes.service modprobe@.service
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-debug.mount systemd-binfmt.service
    systemd-logind.service systemd-machine-id-commit.service systemd-modules-load.service systemd-random-seed.service
    systemd-sysusers.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
""".split()


class Image(t.NamedTuple):
    """What qemu and ssh need; `identity` is the private key, and `host_key` the guest's public one."""

    disk: pathlib.Path
    kernel: pathlib.Path
    initramfs: pathlib.Path
    identity: pathlib.Path
    host_key: pathlib.Path


def image(debian: Debian) -> Image:
    """Raises Failed."""
    guest = sorted(path for path in (HERE / "guest").rglob("*") if path.is_file())
    made_by = [pathlib.Path(__file__), SEND, *guest]
    folder = debian.cache / f"guest-{key(*(f'{path.name} {path.read_text()}' for path in made_by))}"
    kept = Image(*(folder / each for each in ("disk.ext4", "vmlinuz", "initrd.img", "id_ed25519", "host_key.pub")))
    if not folder.exists():
        print("reboot: making the guest's disk", flush=True)
        with tempfile.TemporaryDirectory(dir=debian.cache) as work:
            root, made = pathlib.Path(work, "root"), pathlib.Path(work, "made")
            made.mkdir()
            debian.mmdebstrap(
                SUITE,
                root,
                PACKAGES,
                "--variant=minbase",
                *(f"--dpkgopt=path-exclude={each[1:]}" for each in NOT_NEEDED),
            )
            _configure(root, made / kept.identity.name)
            (kernel,) = (root / "boot").glob("vmlinuz-*")
            version = kernel.name.partition("-")[2]
            modules = f"--include-modules={','.join(MODULES)}"
            _in(root, "mktirfs", "-o", "/initrd.img", "--auto-modules=no", "--microcode=no", modules, version)
            kernel.rename(made / kept.kernel.name)
            (root / "initrd.img").replace(made / kept.initramfs.name)
            shutil.copy(root / "etc/ssh/ssh_host_ed25519_key.pub", made / kept.host_key.name)
            _label(root)
            disk = made / kept.disk.name
            run("truncate", "--size=1G", disk)
            # Without a journal: nothing is lost that matters when the guest is killed.
            run("mkfs.ext4", "-q", "-O", "^has_journal", "-d", root, disk)
            debian.keep("guest-*", made, folder)
    return kept


def _configure(root: pathlib.Path, identity: pathlib.Path) -> None:
    shutil.copytree(HERE / "guest", root, dirs_exist_ok=True)
    shutil.copy(SEND, root / "root")
    (root / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    _in(root, "systemctl", "--quiet", "enable", "systemd-networkd", "online")
    _in(root, "systemctl", "--quiet", "mask", *MASKED)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "reboot", "-f", identity)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    identity.with_suffix(".pub").rename(root / "root/.ssh/authorized_keys")


def _label(root: pathlib.Path) -> None:
    """Give all files SELinux's labels, as mkfs.ext4 takes them over. This machine needs no SELinux."""
    contexts = "/etc/selinux/default/contexts/files/file_contexts"
    # setfiles reaches files through /proc. unshare: the mount goes with it.
    label = 'mount -t proc proc "$0/proc" && chroot "$0" setfiles -F "$1" /'
    run("unshare", "--mount", "sh", "-c", label, root, contexts)


def _in(root: pathlib.Path, *command: str) -> None:
    run("chroot", root, *command)
