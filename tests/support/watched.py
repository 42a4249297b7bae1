# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose programs are watched: with systemd, xdp_metrics and a folder for node_exporter."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
import typing as t

import pytest
from host import PINS, Host
from systemd import Systemd

Result = t.Dict[str, t.Any]
VERDICTS = {
    "program": "blocklist",
    "map": "verdicts",
    "metric": "verdict",
    "help": "Packets by verdict.",
    "key_label": "reason",
    "key_names": {"0": "passed", "1": "allowed", "2": "blocked", "3": "would be blocked", "4": "not IP"},
}


class Watched:
    """A host with systemd, on which the programs are deployed that are watched."""

    def __init__(self, host: Host, systemd: Systemd, folder: pathlib.Path) -> None:
        self.host, self.systemd, self.folder = host, systemd, folder
        self.textfiles = folder / "textfiles"
        self.textfiles.mkdir()
        self.file = self.textfiles / "ebpf_fleet.prom"

    def module(self, module: str, **options: t.Any) -> Result:
        return self.host.module(module, wrap=self.systemd.command(), **options)

    def ok(self, module: str, **options: t.Any) -> Result:
        result = self.module(module, **options)
        assert not result.get("failed"), result["msg"]
        return result

    def metrics(self, **options: t.Any) -> Result:
        return self.ok("xdp_metrics", **{"textfile_directory": str(self.textfiles), "interval": 1, **options})

    def writer(self, *wrap: t.Any) -> t.List[str]:
        """The command that the service runs, with a command to run it with."""
        enter = ("nsenter", f"--net=/run/netns/{self.host.name}")
        return [*enter, *self.systemd.command(*wrap, "sh", "/var/lib/ebpf_fleet/metrics.pyz")]

    def tick(self) -> None:
        """Let the service run once more; returns when it has."""
        self.systemd.sh("systemctl", "start", "ebpf-fleet-metrics.service")

    def detach_by_hand(self, program: str, interface: str) -> None:
        link = self.systemd.sh("bpftool", "--json", "link", "show", "pinned", f"{PINS}/{program}/{interface}/link")
        self.systemd.sh("bpftool", "link", "detach", "id", json.loads(link)["id"])

    def values(self, metric: str) -> t.Dict[str, float]:
        """Of the file, by labels as they are written."""
        found = {}
        for line in self.file.read_text().splitlines():
            name, _space, value = line.rpartition(" ")
            if name.partition("{")[0] == f"ebpf_fleet_{metric}":
                found[name.partition("{")[2].rstrip("}")] = float(value)
        return found


@pytest.fixture
def watched(host: Host) -> t.Iterator[Watched]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ebpf-metrics", dir="/run"))
    try:
        with Systemd(folder, host.name, host.hub) as systemd:
            yield Watched(host, systemd, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
