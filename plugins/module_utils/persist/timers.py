# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A systemd timer with its service, whose unit files are written elsewhere. systemd.timer(5)"""

from __future__ import annotations

import os
import typing as t

from ..errors import FleetError
from ..state.files import make_folders
from .systemd import FOLDER, is_running, systemctl


class Timer:
    def __init__(self, name: str) -> None:
        self.name = name
        self.service_file = f"{FOLDER}/{name}.service"
        self.timer_file = f"{FOLDER}/{name}.timer"
        self.enabled = f"{FOLDER}/timers.target.wants/{name}.timer"

    @property
    def units(self) -> t.Tuple[str, str]:
        return f"{self.name}.timer", f"{self.name}.service"

    def runs(self) -> bool:
        """Enabled, and as its files say. A run that was killed may not have told systemd of a new one."""
        shown = systemctl("show", "--property=ActiveState,NeedDaemonReload", *self.units).stdout
        return os.path.islink(self.enabled) and "ActiveState=active" in shown and "NeedDaemonReload=yes" not in shown

    def enable(self) -> None:
        make_folders(os.path.dirname(self.enabled))
        if not os.path.lexists(self.enabled):
            os.symlink(self.timer_file, self.enabled)

    def start(self) -> None:
        """Raises FleetError with systemd's words."""
        self.reload()
        _systemctl("restart", self.units[0])

    def stop(self) -> None:
        systemctl("stop", *self.units)

    def reload(self) -> None:
        """Have systemd read the units again, and forget those that failed. Raises FleetError."""
        if is_running():
            _systemctl("daemon-reload")
            systemctl("reset-failed", *self.units)


def _systemctl(*words: str) -> None:
    done = systemctl(*words)
    if done.returncode:
        raise FleetError(f"systemctl {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
