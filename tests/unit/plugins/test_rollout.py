# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that a rollout has for each batch."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.filter.rollout_progress import rollout_progress
from ansible_collections.ebpf.fleet.plugins.plugin_utils.rollout import batch_ends, progress, seconds_left

HOSTS = [f"web{number}" for number in range(100)]


@pytest.mark.parametrize(
    ("serial", "ends"),
    [
        ([1, "10%", "100%"], [1, 11, 100]),
        ([1, "40%"], [1, 41, 81, 100]),
        ([30], [30, 60, 90, 100]),
        (["30"], [30, 60, 90, 100]),
        ([0], [100]),
        (["0%", 0], [1, 100]),
        ([500], [100]),
    ],
)
def test_batches_as_ansible_makes_them(serial: t.List[t.Union[int, str]], ends: t.List[int]) -> None:
    assert batch_ends(100, serial) == ends


def test_time_left_by_turns_of_forks() -> None:
    """One host takes as long as five at once."""
    assert seconds_left([1, 11, 100], 0, forks=5, seconds=6) == (2 + 18) * 6
    assert seconds_left([1, 11, 100], 1, forks=5, seconds=18) == 18 * 6
    assert seconds_left([1, 11, 100], 2, forks=5, seconds=126) == 0


@pytest.mark.parametrize(
    ("batch", "failed", "seconds", "said"),
    [
        (HOSTS[:1], [], 6, "1 of 100 hosts done, 0 failed, 99 to come, about 2 min left"),
        (HOSTS[1:11], ["web4"], 18, "10 of 100 hosts done, 1 failed, 89 to come, about 2 min left"),
        (HOSTS[1:10], ["web10"], 9, "10 of 100 hosts done, 1 failed, 89 to come, about 54 s left"),
        (HOSTS[11:99], ["web4", "web99"], 126, "98 of 100 hosts done, 2 failed, in 2 min"),
        (HOSTS[11:], [], 7200, "100 of 100 hosts done, 0 failed, in 2.0 h"),
        (HOSTS[1:11], ["web0"], 0.01, "10 of 100 hosts done, 1 failed, 89 to come, about 1 s left"),
    ],
)
def test_the_line(batch: t.List[str], failed: t.List[str], seconds: float, said: str) -> None:
    assert progress(HOSTS, batch, failed, [1, "10%", "100%"], 5, 20, seconds) == said


@pytest.mark.parametrize(
    ("batch", "failed", "most_fail", "stops"),
    [
        (HOSTS[1:11], ["web4"], 0, True),
        (HOSTS[1:11], ["web4"], 10, False),  # beyond it, not at it
        (HOSTS[1:11], ["web4", "web5"], 10, True),
        (HOSTS[1:10], ["web10"], 0, False),  # could not be reached
        (HOSTS[1:11], ["web0"], 0, False),  # of a batch before
        (HOSTS[1:11], HOSTS[1:11], 100, True),
        (HOSTS[10:11], HOSTS[1:11], 100, True),
    ],
)
def test_whether_another_batch_begins(batch: t.List[str], failed: t.List[str], most_fail: float, stops: bool) -> None:
    said = progress(HOSTS, batch, failed, [1, "10%", "100%"], 5, most_fail, 18)
    assert (f"{len(failed)} failed, stopped, 89 not touched" in said) is stops
    assert ("89 to come, about" in said) is not stops


@pytest.mark.parametrize("serial", [1, "1", [1], ("1%", 1)])
def test_serial_in_each_form_that_ansible_takes(serial: t.Any) -> None:
    assert rollout_progress(HOSTS[:3], ["web1"], [], serial, 5).startswith("2 of 3 hosts done, 0 failed, 1 to come")


@pytest.mark.parametrize(
    ("most_fail", "words"), [(0, "stopped"), ("0%", "stopped"), ("50", "1 to come"), (50.0, "1 to")]
)
def test_most_failures_in_each_form_that_ansible_takes(most_fail: t.Any, words: str) -> None:
    assert f"1 failed, {words}" in rollout_progress(HOSTS[:3], HOSTS[:2], ["web1"], 2, 5, most_fail)
