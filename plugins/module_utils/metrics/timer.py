# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd timer that writes the metrics, and its service. systemd.timer(5), systemd.exec(5)"""

from __future__ import annotations

from ..persist.systemd import FOLDER, systemctl
from ..state.places import MANIFESTS

RUNNER = f"{MANIFESTS}/metrics.pyz"
NAME = "ebpf-fleet-metrics"
SERVICE = f"{FOLDER}/{NAME}.service"
TIMER = f"{FOLDER}/{NAME}.timer"
ENABLED = f"{FOLDER}/timers.target.wants/{NAME}.timer"

_WRITTEN_BY = "# Written and removed by xdp_metrics of the Ansible collection ebpf.fleet.\n"

# Idle I/O and a low weight: on a busy host the packets come first. A run that hangs is ended before it piles up.
_SERVICE = """\
[Unit]
Description=Metrics of XDP programs, for node_exporter

[Service]
Type=oneshot
ExecStart=/bin/sh {runner}
Nice=10
TimeoutStartSec={seconds}
SyslogLevel=warning
LogLevelMax=warning
"""
_TIMER = """\
[Unit]
Description=Write metrics of XDP programs every {interval} s

[Timer]
OnActiveSec=0
OnUnitActiveSec={interval}
AccuracySec=100ms

[Install]
WantedBy=timers.target
"""


def service_file(interval: int) -> bytes:
    return (_WRITTEN_BY + _SERVICE.format(runner=RUNNER, seconds=max(interval, 60))).encode()


def timer_file(interval: int) -> bytes:
    return (_WRITTEN_BY + _TIMER.format(interval=interval)).encode()


def is_active() -> bool:
    """Whether systemd runs it as its file says. A run that was killed may not have told systemd of a new file."""
    shown = systemctl("show", "--property=ActiveState,NeedDaemonReload", f"{NAME}.timer", f"{NAME}.service").stdout
    return "ActiveState=active" in shown and "NeedDaemonReload=yes" not in shown
