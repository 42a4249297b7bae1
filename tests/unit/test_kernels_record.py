# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run.py --record of the kernel matrix: each guest is kept when it ends, and the others stay as they were."""

from __future__ import annotations

import json
import pathlib
import typing as t

import processes
import pytest
import record
import run
from guest import Guest, Outcome, Result

ABOUT = {"kernel": "5.10.0-46", "libbpf": "0.3", "bpftool": "5.10", "python": "3.9"}
FIRST, SECOND, *_OTHERS, LAST = (guest for guest in run.GUESTS if not guest.nics and not guest.cost)


@pytest.fixture
def kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[], t.Dict[str, str]]:
    """The commit of each guest that is recorded; all files are in a folder of the test."""
    for name in ("OUTCOMES", "DOCUMENT", "NICS", "UPGRADES"):
        monkeypatch.setattr(record, name, tmp_path / name)
    (tmp_path / "UPGRADES").write_text("{}")

    def commits() -> t.Dict[str, str]:
        return {key: each["about"]["commit"] for key, each in json.loads((tmp_path / "OUTCOMES").read_text()).items()}

    return commits


def passed(guest: Guest) -> Outcome:
    return Outcome(guest, ABOUT, {name: Result(True, "as it should") for name in guest.rows})


def test_an_interrupted_run_keeps_the_guests_that_had_ended_and_not_the_one_that_it_ends(
    kept: t.Callable[[], t.Dict[str, str]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boot(guest: Guest, *_rest: object) -> Outcome:
        if guest == SECOND:
            processes.end_all()
        elif guest == LAST:
            raise KeyboardInterrupt
        return passed(guest)

    class NoDebian:
        def __init__(self, _cache: pathlib.Path) -> None:
            self.kernel = self.userland = lambda *_which: None

    monkeypatch.setattr(run, "CACHE", tmp_path)
    monkeypatch.setattr(run, "Debian", NoDebian)
    monkeypatch.setattr(run, "make_payload", lambda *_which: None)
    monkeypatch.setattr(run, "boot", boot)
    monkeypatch.setattr(processes, "_over", False)  # and so again after the test
    with pytest.raises(KeyboardInterrupt):
        run.outcomes([FIRST, SECOND, LAST], 1, lambda outcome: record.record(outcome, run.GUESTS, "c1"))
    assert kept() == {record.key_of(FIRST): "c1"}
    assert "| run at commit | c1 |" in (tmp_path / "DOCUMENT").read_text()


def test_guests_that_were_not_run_stay_as_they_were(kept: t.Callable[[], t.Dict[str, str]]) -> None:
    for guest, commit in ((LAST, "c1"), (FIRST, "c1"), (LAST, "c2")):
        record.record(passed(guest), run.GUESTS, commit)
    assert list(kept().items()) == [(record.key_of(FIRST), "c1"), (record.key_of(LAST), "c2")]


def test_a_check_that_is_newer_than_a_guest_s_run_is_not_there_yet(
    kept: t.Callable[[], t.Dict[str, str]], tmp_path: pathlib.Path
) -> None:
    name = next(iter(FIRST.rows))
    older = passed(FIRST)
    record.record(
        older._replace(results={each: older.results[each] for each in FIRST.rows if each != name}), run.GUESTS, "c1"
    )
    document = (tmp_path / "DOCUMENT").read_text()
    assert f"| {name} | not there yet |" in document
    assert f"{len(FIRST.rows) - 1} passed, 0 failed." in document and kept()


def test_a_name_is_a_kernel_or_one_of_its_guests() -> None:
    named = run.by_name(run.GUESTS)
    assert [guest.arch for guest in named["6.12"]] == ["amd64", "amd64", "arm64"]
    assert [guest.arch for guest in named["6.12/trixie/arm64"]] == ["arm64"]
