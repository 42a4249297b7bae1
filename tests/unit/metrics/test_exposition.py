# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus's text format."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.exposition import Family, text


def family(*samples: t.Tuple[t.Dict[str, str], float], words: str = "Packets.") -> Family:
    made = Family("ebpf_fleet_x_total", "counter", words, {})
    for labels, value in samples:
        made.put(value, tuple(labels.items()))
    return made


def test_a_family_is_written_with_its_help_and_type() -> None:
    assert text([family(({"program": "a", "interface": "eth0"}, 7), ({}, 0.5))]).decode().splitlines() == [
        "# HELP ebpf_fleet_x_total Packets.",
        "# TYPE ebpf_fleet_x_total counter",
        'ebpf_fleet_x_total{program="a",interface="eth0"} 7',
        "ebpf_fleet_x_total 0.5",
    ]


def test_one_without_samples_is_not_written() -> None:
    assert text([family()]) == b""


def test_the_same_labels_are_one_sample() -> None:
    assert text([family(({"key": "a"}, 1), ({"key": "a"}, 2))]).endswith(b'{key="a"} 3\n')


@pytest.mark.parametrize(
    ("content", "written"),
    [('a"b', r"a\"b"), ("a\\b", r"a\\b"), ("a\nb", r"a\nb"), ("\udc80", "?"), ("ä", "ä"), ("}", "}")],
)
def test_what_is_special_is_escaped(content: str, written: str) -> None:
    assert text([family(({"key": content}, 1))]).decode().splitlines()[-1] == f'ebpf_fleet_x_total{{key="{written}"}} 1'


def test_help_is_one_line() -> None:
    assert text([family(({}, 1), words="a\nb\\c")]).decode().splitlines()[0].endswith(r" a\nb\\c")


@pytest.mark.parametrize(
    ("value", "written"), [(2**64 - 1, "18446744073709551615"), (float("nan"), "NaN"), (float("-inf"), "-Inf")]
)
def test_numbers(value: float, written: str) -> None:
    assert text([family(({}, value))]).decode().split()[-1] == written
