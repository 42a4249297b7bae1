# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with systemd: pid 1 in namespaces of its own, on this machine's files, of which it can change none."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import time
import typing as t

from commands import sh
from host import PINS, Host

INIT = pathlib.Path(__file__).with_name("systemd.sh")
SECONDS = 30  # to boot; one is enough on an idle machine


class Systemd:
    """A context manager, which boots it and in the end kills everything in it. Again with the same folder: a reboot.

    `folder`: below /run, and visible inside under the same path. `netns`: the host's own network namespace, `others`
    are those that stay accessible by their names.
    """

    def __init__(self, folder: pathlib.Path, netns: str, *others: str) -> None:
        self._folder = folder
        self._netns = [netns, *others]
        self._cgroup = pathlib.Path(_cgroups(), "-".join(folder.parts[2:]))

    def __enter__(self) -> Systemd:
        self._cgroup.mkdir()
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
        # setpriv and --kill-child: if this Python is killed, all of it ends.
        self._process = subprocess.Popen(
            [
                *("sh", "-c", f'echo $$ >"{self._cgroup}/cgroup.procs"; exec "$@"', "sh"),
                *("setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/run/netns/{self._netns[0]}"),
                *("unshare", *spaces, "--fork", "--kill-child=KILL", str(INIT), str(self._folder), *self._netns),
            ],
            stdin=subprocess.DEVNULL,
        )
        try:
            self._await_boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + SECONDS
        while self._cgroup.exists():
            for folder, _folders, _files in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):  # its processes are still ending
                    os.rmdir(folder)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._cgroup} still has processes")
            time.sleep(0.005)

    def command(self, *words: t.Any) -> t.List[str]:
        """The command that runs `words` inside, but in the network namespace of the caller."""
        children = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        target = f"--target={children.read_text().split()[0]}"
        return ["nsenter", target, "--mount", "--pid", "--uts", "--ipc", "--cgroup", *map(str, words)]

    def sh(self, *words: t.Any) -> str:
        return sh(*self.command(*words))

    def _await_boot(self) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(AssertionError, IndexError):  # not yet
                # A host on which a unit failed has booted too.
                said = self.sh("sh", "-c", "systemctl is-system-running --wait || :").strip()
                if said in ("running", "degraded"):
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"systemd did not start: {INIT} in {self._netns[0]}")
            time.sleep(0.01)


class Booted(Host):
    """A host that runs systemd, seen from inside. Whoever created its network namespaces closes them."""

    def __init__(self, name: str) -> None:
        self.name, self.hub, self.pins = name, f"{name}-hub", PINS

    def owns(self, path: str) -> bool:
        return True  # bpffs and /run are its own

    def close(self) -> None:
        pass


def _cgroups() -> str:
    """Where cgroup2 is mounted."""
    for point in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):  # the latter if version 1 is mounted too
        if os.path.exists(f"{point}/cgroup.procs"):
            return point
    raise AssertionError("systemd needs control groups of version 2: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
