# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user of a host, with no rights at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

UID = 4242  # nobody's
_AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]


class User:
    """`home` is a folder of theirs, which others may enter, below a folder that only root may write to."""

    def __init__(self) -> None:
        self._above = pathlib.Path(tempfile.mkdtemp(prefix="ebpf-security-", dir="/var/lib"))
        self._above.chmod(0o755)
        self.home = self._above / "home"
        self.home.mkdir(0o755)
        os.chown(self.home, UID, UID)

    def run(self, *command: t.Any) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, whether it fails or not."""
        words = [*_AS_USER, *map(str, command)]
        return subprocess.run(words, cwd=self.home, capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def running(self, *command: t.Any) -> t.Iterator[subprocess.Popen[str]]:
        """The same, in the background, until the end of the context."""
        started = subprocess.Popen([*_AS_USER, *map(str, command)], cwd=self.home, stdout=subprocess.PIPE, text=True)
        try:
            yield started
        finally:
            started.kill()
            started.communicate()

    def close(self) -> None:
        shutil.rmtree(self._above)
