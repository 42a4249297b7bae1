# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd unit that restores an interface's programs as soon as the interface appears. systemd.unit(5)"""

from __future__ import annotations

import os
import re
import subprocess
import typing as t

from ..errors import FleetError
from ..state.places import MANIFESTS, RUNNER

RUNS = "/run/systemd/system"  # sd_booted(3)
FOLDER = "/etc/systemd/system"
UNIT = f"{FOLDER}/ebpf-fleet@.service"
START_SECONDS = 60  # network-online.target waits for it no longer than this

_UNIT = """\
# Written and removed by xdp_program of the Ansible collection ebpf.fleet (option persist).
[Unit]
Description=XDP programs on %I, deployed by ebpf.fleet
DefaultDependencies=no
RequiresMountsFor={folder}
BindsTo=sys-subsystem-net-devices-%i.device
After=sys-subsystem-net-devices-%i.device
Before=network-online.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec={seconds}
ExecStart=/bin/sh {runner} %I

[Install]
WantedBy=sys-subsystem-net-devices-%i.device
"""


def is_running() -> bool:
    """Whether this host has the init system that can restore programs; an interface may still have an obstacle."""
    return os.path.isdir(RUNS)


def unit_file() -> bytes:
    return _UNIT.format(folder=MANIFESTS, seconds=START_SECONDS, runner=RUNNER).encode()


def _escaped(name: str) -> str:
    """As systemd-escape(1) writes it."""
    escaped = re.sub(r"[^A-Za-z0-9:_.]", lambda found: "".join(f"\\x{c:02x}" for c in found.group().encode()), name)
    return "\\x2e" + escaped[1:] if escaped.startswith(".") else escaped


def unit_of(interface: str) -> str:
    return f"ebpf-fleet@{_escaped(interface)}.service"


def enabled(interface: str) -> str:
    """The symlink that starts a unit with its device, as `systemctl enable` creates it."""
    return f"{FOLDER}/sys-subsystem-net-devices-{_escaped(interface)}.device.wants/{unit_of(interface)}"


def reload_units(interfaces: t.Iterable[str]) -> None:
    """Once for all interfaces whose units changed: systemd reads all units again. Raises FleetError with its words."""
    if not is_running():
        return
    done = systemctl("daemon-reload")
    if done.returncode:
        raise FleetError(f"systemctl daemon-reload failed: {done.stderr.strip() or done.stdout.strip()}")
    gone = [unit_of(each) for each in interfaces if not os.path.lexists(enabled(each))]
    if gone:
        systemctl("stop", *gone)
    # systemd remembers that a unit failed, and counts the whole host as degraded.
    systemctl("reset-failed", *(unit_of(each) for each in interfaces))


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
