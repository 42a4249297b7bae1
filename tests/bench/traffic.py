# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real traffic: the kernel injects frames into a veth as fast as it can, while our program is upgraded."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from host import Host
from packets import compiled
from report import Row
from wire import Wire

TRAFFIC = "real frames over veth (BPF_F_TEST_XDP_LIVE_FRAMES on one CPU)"
COMMAND = "make bench"


def traffic(_lib: Libbpf, folder: pathlib.Path, seconds: float, upgrades: int) -> t.List[Row]:
    host = Host(f"ebpf-bench-{os.getpid()}")
    try:
        return _traffic(host, folder, seconds, upgrades)
    finally:
        host.close()


def _traffic(host: Host, folder: pathlib.Path, seconds: float, upgrades: int) -> t.List[Row]:
    wire = Wire(host, folder, compiled(folder, "inject"))
    builds = []
    for flag in ("-mcpu=v3", "-mcpu=v2"):
        builds.append(folder / f"build{flag}.o")
        builds[-1].write_bytes(compiled(folder, "packet_count", flag))
    walkthrough = folder / "walkthrough-plain.o"
    walkthrough.write_bytes(compiled(folder, "walkthrough"))

    def deploy(path: pathlib.Path, name: str, **options: t.Any) -> t.Any:
        given = {"object": str(path), "name": name, "interfaces": ["eth0"], "allow_unsafe_paths": True, **options}
        return host.ok("xdp_program", **given)

    speeds: t.Dict[str, t.List[float]] = {"no program": [], "ours": [], "the walkthrough's": []}
    counts = delivered = 0
    for _round in range(3):
        for label, rates in speeds.items():
            if label != "no program":
                deploy(builds[0] if label == "ours" else walkthrough, "bench")
            sent = wire.run(seconds / 3)
            rates.append(sent.delivered / sent.seconds)
            if label == "ours":
                delivered += sent.delivered
                counts += host.counts(name="bench")[0]
            if label != "no program":
                host.ok("xdp_program", name="bench", state="absent")
    rows = []
    for label, rates in speeds.items():
        ordered = sorted(rates)
        rows.append(Row(TRAFFIC, label, ordered[1], "packets/s", COMMAND, ordered[0], ordered[-1]))
    ratio = counts / delivered
    rows.append(
        Row(TRAFFIC, f"ours: counted over sent, of {delivered:,}", ratio, "of 1", COMMAND)._replace(
            goal="exactly 1", met=ratio == 1, exact=True
        )
    )

    deploy(builds[0], "bench")
    before = wire.statistics("eth0", host.name)["rx"]
    injecting = wire.start()
    swaps = 0
    for number in range(upgrades):
        result = deploy(builds[(number + 1) % 2], "bench")
        swaps += any("swap the program in the link" in step for step in result["steps"])
    sent = wire.end(injecting)
    after = wire.statistics("eth0", host.name)["rx"]
    ratio = host.counts(name="bench")[0] / sent.delivered
    what = f"ours, {swaps} upgrades during traffic: counted over sent, of {sent.delivered:,}"
    rows.append(
        Row(TRAFFIC, what, ratio, "of 1", COMMAND, goal="exactly 1, all swapped", exact=True)._replace(
            met=ratio == 1 and swaps == upgrades
        )
    )
    lost = sent.delivered - (after["packets"] - before["packets"])
    rows.append(
        Row(TRAFFIC, "… and dropped by us", float(lost), "packets", COMMAND, goal="0", met=lost == 0, exact=True)
    )
    host.ok("xdp_program", name="bench", state="absent")
    return rows
