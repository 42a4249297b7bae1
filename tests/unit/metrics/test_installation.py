# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xdp_metrics brings onto a host and removes from it, as it plans that."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics import installation, timer, writer
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.collected import Collected
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.declared import Declared, written
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.installation import (
    Installed,
    plan_absent,
    plan_present,
)

NOTHING = Installed({}, None, False, ())
RUNNER = b"zip"


@pytest.fixture
def declared(tmp_path: pathlib.Path) -> Declared:
    return Declared(str(tmp_path), 15, "/sys/fs/bpf/ebpf_fleet", 1000)


def installed(declared: Declared, **more: t.Any) -> Installed:
    files = {
        timer.RUNNER: RUNNER,
        writer.DECLARED: written(declared),
        timer.SERVICE: timer.service_file(declared.interval),
        timer.TIMER: timer.timer_file(declared.interval),
    }
    return Installed(files, declared, True, ())._replace(**more)


def said(steps: t.Sequence[installation.Step]) -> t.List[str]:
    return [str(each) for each in steps]


def test_all_is_written_once(declared: Declared) -> None:
    assert said(plan_present(NOTHING, declared, RUNNER)) == [
        "write /var/lib/ebpf_fleet/metrics.pyz",
        "write /var/lib/ebpf_fleet/metrics.json",
        "write /etc/systemd/system/ebpf-fleet-metrics.service",
        "write /etc/systemd/system/ebpf-fleet-metrics.timer",
        "enable the timer",
    ]
    assert plan_present(installed(declared), declared, RUNNER) == []


def test_a_different_interval_is_another_timer(declared: Declared) -> None:
    assert said(plan_present(installed(declared), declared._replace(interval=60), RUNNER)) == [
        "write /var/lib/ebpf_fleet/metrics.json",
        "write /etc/systemd/system/ebpf-fleet-metrics.timer",
    ]


def test_the_file_of_a_different_directory_is_removed(declared: Declared, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ebpf_fleet.prom").write_text("")
    steps = said(plan_present(installed(declared), declared._replace(directory="/elsewhere"), RUNNER))
    assert steps == [f"remove {tmp_path}/ebpf_fleet.prom", "write /var/lib/ebpf_fleet/metrics.json"]


def test_a_later_release_only_changes_what_runs(declared: Declared) -> None:
    assert said(plan_present(installed(declared), declared, b"other")) == ["write /var/lib/ebpf_fleet/metrics.pyz"]


def test_what_a_killed_run_left_is_removed(declared: Declared) -> None:
    left = installed(declared, leftovers=("/var/lib/ebpf_fleet/metrics.json%new",))
    assert said(plan_present(left, declared, RUNNER)) == ["remove /var/lib/ebpf_fleet/metrics.json%new"]
    assert "remove /var/lib/ebpf_fleet/metrics.json%new" in said(plan_absent(left))


@pytest.fixture
def here(declared: Declared, monkeypatch: pytest.MonkeyPatch) -> t.List[t.Any]:
    """A host with metrics and the programs one and two. Returns the arguments of all readings."""
    readings: t.List[t.Any] = []

    def collect(*arguments: t.Any) -> Collected:
        readings.append(arguments)
        return Collected(1)

    for module in (installation, writer):
        monkeypatch.setattr(module, "collect", collect)
    monkeypatch.setattr(installation, "observe", lambda: installed(declared))
    monkeypatch.setattr(installation, "lock", lambda _of: contextlib.nullcontext())
    monkeypatch.setattr(installation, "is_running", lambda: True)
    monkeypatch.setattr(installation, "check_trusted", lambda *_path: None)
    monkeypatch.setattr(installation, "_start", lambda: None)
    monkeypatch.setattr(installation, "deployed_names", lambda *_of: {"one", "two"})
    return readings


@pytest.mark.parametrize("check", [True, False])
def test_programs_are_read_once(declared: Declared, here: t.List[t.Any], check: bool) -> None:
    """Whether the file is there already or not."""
    for number, changed in ((1, True), (2, check)):
        result = installation.install(t.cast(t.Any, None), declared, RUNNER, check)
        assert (result["changed"], len(here)) == (changed, number)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("removed", "goes"),
    [(None, True), ([], False), (["one"], False), (["one", "two", "three"], True)],
)
def test_metrics_stay_for_other_programs(declared: Declared, removed: t.Optional[t.List[str]], goes: bool) -> None:
    result = installation.uninstall(removed, "/elsewhere", True)
    assert (result["changed"], result["file"]) == (goes, None if goes else declared.file)
    assert (result["diff"]["after"] == result["diff"]["before"]) is not goes


def test_nothing_is_left(declared: Declared, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ebpf_fleet.prom").write_text("")
    assert said(plan_absent(installed(declared))) == [
        "stop the timer",
        f"remove {tmp_path}/ebpf_fleet.prom",
        "remove /etc/systemd/system/ebpf-fleet-metrics.timer",
        "remove /etc/systemd/system/ebpf-fleet-metrics.service",
        "have systemd read its units again",
        "remove /var/lib/ebpf_fleet/metrics.pyz",
        "remove /var/lib/ebpf_fleet/metrics.json",
    ]
    assert plan_absent(NOTHING) == []
