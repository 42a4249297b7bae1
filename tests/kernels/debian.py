# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels and userlands from Debian's suites; kept under a hash of their sources."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import tempfile
import typing as t

from machines import MACHINES, Machine
from processes import Failed, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = "base-files bpftool coreutils dash iproute2 kmod mount python3 util-linux".split()
LIBBPF = {"bullseye": "libbpf0"}  # of a suite; libbpf1 of all later ones
WITHOUT_XDP_TOOLS = ("bullseye",)  # which has none
NOT_NEEDED = ["./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*"]


class Kernel(t.NamedTuple):
    image: pathlib.Path
    modules: pathlib.Path  # a cpio archive: /modules/NN-NAME.ko, in the order in which they must be loaded


class Debian:
    """Debian's mirrors, as configured on this machine, and a folder for downloads."""

    def __init__(self, cache: pathlib.Path) -> None:
        self.cache = cache
        self._mirrors = _mirrors()

    def mirror(self, suite: str) -> str:
        return self._mirrors["security" if suite.endswith("-security") else "main"]

    def kernel(self, suite: str, arch: str, machine: Machine) -> Kernel:
        """The newest kernel of a suite for a machine. Asks the mirror each time. Raises Failed."""
        apt, image = self._apt(suite, arch), machine.kernel
        run("apt-get", *apt, "update")
        depends = run("apt-cache", *apt, "depends", image)
        found = re.search(r" Depends: linux-image-(\S+)", depends)
        if not found:
            raise Failed(f"{suite} has no {image}")
        version = found.group(1)
        # From 7.0 on, the image is a package without files that depends on these packages.
        split = [f"linux-binary-{version}", f"linux-modules-{version}"]
        known = set(run("apt-cache", *apt, "pkgnames", "linux-").split())
        packages = split if known.issuperset(split) else [f"linux-image-{version}"]
        uris = run("apt-get", *apt, "download", "--print-uris", *packages)
        files = [line.split(" ", 1)[1] for line in uris.splitlines() if line.startswith("'")]
        kept = f"kernel-{suite}-{image}"
        folder = self.cache / f"{kept}-{key(*files, *machine.modules)}"
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=self.cache) as work:
                self._unpack_kernel(apt, packages, version, machine.modules, pathlib.Path(work))
                self.keep(f"{kept}-{'?' * 12}", pathlib.Path(work, "kept"), folder)
        return Kernel(folder / "vmlinuz", folder / "modules.cpio")

    def _apt(self, suite: str, arch: str) -> t.List[str]:
        """Options that restrict apt to this suite, and keep it from the machine's own lists and packages."""
        folder = self.cache / f"apt-{suite}-{arch}"
        for each in ("lists/partial", "cache/archives/partial"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {self.mirror(suite)} {suite} main\n")
        settings = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Sandbox::User": "root",  # the user _apt may not enter the folder
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Etc::sourcelist": f"{folder}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": str(folder),
            "Dir::State::lists": f"{folder}/lists",
            "Dir::State::status": f"{folder}/status",
        }
        return ["--quiet=2", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]

    @staticmethod
    def _unpack_kernel(
        apt: t.Sequence[str], packages: t.Sequence[str], version: str, modules: t.Sequence[str], work: pathlib.Path
    ) -> None:
        run("apt-get", *apt, "download", *packages, cwd=work)
        for package in work.glob("*.deb"):
            run("dpkg-deb", "--extract", package, work / "root")
        root, kept = work / "root", work / "kept"
        (kept / "modules").mkdir(parents=True)
        next(root.rglob("vmlinuz*")).rename(kept / "vmlinuz")
        if not (root / "lib").exists():
            (root / "lib").symlink_to("usr/lib")  # where depmod looks
        run("depmod", "-b", root, version)
        order: t.List[str] = []
        for module in modules:
            shown = run("modprobe", "-d", root, "-S", version, "--show-depends", module)
            order += [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
        for number, path in enumerate(dict.fromkeys(order)):
            shutil.copy(path, kept / "modules" / f"{number:02}-{os.path.basename(path)}")
        archive(kept / "modules.cpio", "-C", kept, "modules")

    def keep(self, old: str, made: pathlib.Path, kept: pathlib.Path) -> None:
        """Store it, and remove older files that match the pattern `old`."""
        for path in self.cache.glob(old):
            run("rm", "-r", path)
        made.rename(kept)

    def userland(self, suite: str, arch: str) -> pathlib.Path:
        """A suite's Python, libbpf, iproute2 and bpftool, unpacked and not installed. Raises Failed."""
        packages = [*PACKAGES, LIBBPF.get(suite, "libbpf1"), *MACHINES[arch].packages]
        packages += [] if suite in WITHOUT_XDP_TOOLS else ["xdp-tools"]
        made = self.cache / f"userland-{suite}-{arch}-{key(suite, arch, *packages)}.cpio"
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=self.cache) as work:
                tar = pathlib.Path(work, "userland.tar")
                self.mmdebstrap(suite, tar, packages, "--variant=extract", arch=arch)
                cpio = pathlib.Path(work, "userland.cpio")
                archive(cpio, *(f"--exclude={pattern}" for pattern in NOT_NEEDED), f"@{tar}")
                self.keep(f"userland-{suite}-{arch}-*", cpio, made)
        return made

    def mmdebstrap(
        self, suite: str, made: pathlib.Path, packages: t.Sequence[str], *options: str, arch: str = "amd64"
    ) -> None:
        """Packages of a suite with their dependencies: an archive, or without a suffix a folder. Raises Failed."""
        # unshare: if it is killed, its mounts go too.
        run(
            *f"unshare --mount mmdebstrap --quiet --mode=root --architectures={arch}".split(),
            f"--keyring={KEYRING}",
            f"--include={','.join(packages)}",
            *_aged(),
            *options,
            *(suite, made, self.mirror(suite)),
            env={**os.environ, "TMPDIR": str(made.parent)},
        )


def _aged() -> t.List[str]:
    """Whether this machine's own apt, whose settings mmdebstrap does not read, takes a suite that has expired."""
    settings = re.findall(r"^(Acquire::Check-(?:Valid-Until|Date) .*);$", run("apt-config", "dump"), re.MULTILINE)
    return [f"--aptopt={each}" for each in settings]


def archive(made: pathlib.Path, *what: t.Any) -> None:
    """A cpio archive for the kernel; several of them, concatenated, make an initramfs."""
    run("bsdtar", "--create", "--format=newc", f"--file={made}", *what)


def key(*parts: str) -> str:
    """A hash of these and of this file, which makes what is kept."""
    text = "\n".join([*parts, pathlib.Path(__file__).read_text()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _mirrors() -> t.Dict[str, str]:
    """The mirrors of this machine's apt; DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR override them."""
    listed = run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Identifier: Packages")
    by_suite = dict(line.split(" ", 1) for line in reversed(listed.splitlines()))
    suite = next((name for name in by_suite if f"{name}-security" in by_suite), "")
    found = {
        "main": os.environ.get("DEBIAN_MIRROR") or by_suite.get(suite, ""),
        "security": os.environ.get("DEBIAN_SECURITY_MIRROR") or by_suite.get(f"{suite}-security", ""),
    }
    if not all(found.values()):
        raise Failed("apt's sources name no Debian mirror here; set DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR")
    return found
