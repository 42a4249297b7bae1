# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in slices, each by a worker of ansible-runner: the same as one controller, and a worker that is killed."""

from __future__ import annotations

import json
import typing as t

import pytest
from commands import sh
from fleet import Fleet
from paths import COLLECTIONS
from web_page import read_page
from workers import Slice

READ = "Read the counters"


@pytest.fixture
def host_names() -> t.Sequence[str]:
    return ("one", "two", "three", "four")


def slices(fleet: Fleet, number: int, name: str) -> t.List[Slice]:
    inventory = json.loads(fleet.inventory.read_text())
    env = {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_PIPELINING": "true"}
    return [Slice(fleet.folder / name, inventory, each, number, env) for each in range(number)]


def collect(fleet: Fleet, parts: t.Iterable[Slice], folder: str) -> None:
    """Put what the slices have read into a folder on the controller."""
    (fleet.folder / folder).mkdir(exist_ok=True)
    for part in parts:
        if part.rows.exists():
            (fleet.folder / folder / f"{part.name}.json").write_bytes(part.rows.read_bytes())


def without_times(text: str) -> t.List[t.Dict[str, t.Any]]:
    """Rows as they are at any time: nobody sends packets."""
    return [{key: value for key, value in row.items() if key != "collected_at"} for row in json.loads(text)]


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_give_the_rows_of_one_controller(fleet: Fleet, workers: int) -> None:
    for part in slices(fleet, workers, "deploy"):
        part.process(part.work(part.transmit("ebpf.fleet.deploy", "-e", "xdp_counter_build=controller")))
    for number, host in enumerate(fleet.hosts):
        host.send("eth0", number + 3)
    assert "changed=1" not in fleet.play("deploy", "-e", "xdp_counter_build=controller")
    fleet.play("facts", "-e", "xdp_counter_report=whole.json")
    parts = slices(fleet, workers, "facts")
    for part in parts:
        part.process(part.work(part.transmit("ebpf.fleet.facts")))
    read = [host for part in parts for task, host in part.events("runner_on_ok") if task == READ]
    assert sorted(read) == ["four", "one", "three", "two"], "each host, and none twice"
    collect(fleet, parts, "rows")
    fleet.play("report", "-e", "xdp_report_from=rows", "-e", "xdp_counter_report=joined.json")
    whole, joined = ((fleet.folder / name).read_text() for name in ("whole.json", "joined.json"))
    assert without_times(joined) == without_times(whole)
    assert [row["packets"] for row in json.loads(joined) if row["interface"] == "eth0"] == [6, 3, 5, 4]
    assert len(read_page(fleet.folder / "fleet.html").rows("all")) == 8


def test_a_worker_that_is_killed(fleet: Fleet) -> None:
    """Its slice can be run again, and the others stand."""
    fleet.play("deploy")
    one, two = slices(fleet, 2, "facts")
    one.process(one.work(one.transmit("ebpf.fleet.facts")))
    sent = two.transmit("ebpf.fleet.facts")
    two.process(two.killed(sent, fleet.folder))
    assert one.rows.exists() and not two.rows.exists()
    collect(fleet, [one, two], "rows")
    text = fleet.play("report", "-e", "xdp_report_from=rows", fails=True)
    assert "2 of 4 hosts in no slice: two, four" in text
    two.process(two.work(sent))
    collect(fleet, [two], "rows")
    fleet.play("report", "-e", "xdp_report_from=rows")


def test_deploy_and_preflight_in_slices(fleet: Fleet) -> None:
    """One result, as of one run; and a host that has failed, whose slice says so though its run has failed."""
    sh("ip", "-n", fleet.hosts[2].name, "link", "del", "eth0")
    for number, some in enumerate(("one,two", "three,four")):
        slice_of = ["-l", some, "-e", f"xdp_slice=ready{number}.json"]
        fleet.play("preflight", *slice_of, fails=number == 1)
    (fleet.folder / "ready").mkdir()
    for number in range(2):
        (fleet.folder / f"ready{number}.json").rename(fleet.folder / f"ready/{number}.json")
    said = fleet.play("report", "-e", "xdp_report_from=ready", "-e", "xdp_preflight_report=joined.json", fails=True)
    fleet.play("preflight", "-e", "xdp_preflight_report=whole.json", fails=True)
    joined, whole = (json.loads((fleet.folder / name).read_text()) for name in ("joined.json", "whole.json"))
    assert joined == whole and joined["blocked"] == ["three"]
    assert "3 of 4 hosts are ready" in said and "1 of 4 hosts not ready: three" in said
    (fleet.folder / "done").mkdir()
    for number, some in enumerate(("one,two", "three,four")):
        fleet.play("deploy", "-l", some, "-e", f"xdp_slice=done/{number}.json", fails=number == 1)
    said = fleet.play("report", "-e", "xdp_report_from=done", fails=True)
    assert "1 of 4 hosts failed: three" in said and "not yet" not in said
    assert "one eth0, one eth0.10, two eth0, two eth0.10, four eth0, four eth0.10" in said, said
    assert not (fleet.folder / "fleet.html").exists(), "there are no counters in these slices"
