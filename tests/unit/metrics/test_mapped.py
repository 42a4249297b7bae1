# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries as series."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.declared import Mapped
from ansible_collections.ebpf.fleet.plugins.module_utils.metrics.mapped import labels_of, numbers_of

MAPPED = Mapped("blocklist", "verdicts", "verdict", "Packets.", key_label="reason", key_names={"0": "passed"})


@pytest.mark.parametrize(
    ("key", "labels"),
    [
        (0, (("reason", "passed"),)),
        (7, (("reason", "7"),)),
        ("192.0.2.0/24", (("reason", "192.0.2.0/24"),)),
        ({"ethertype": 2048, "protocol": 17}, (("ethertype", "2048"), ("protocol", "17"))),
        ({"flow": {"source": "192.0.2.1"}, "ports": [1, 2]}, (("flow_source", "192.0.2.1"), ("ports", "[1, 2]"))),
        ({"interface": 3, "program": 4}, (("key_interface", "3"), ("key_program", "4"))),
    ],
)
def test_labels_of_a_key(key: t.Any, labels: t.Any) -> None:
    assert labels_of(key, MAPPED) == labels


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (5, {"": 5}),
        (True, {"": 1}),
        (0.5, {"": 0.5}),
        ("ACTION_DROP", {}),
        ({"packets": 1, "bytes": 64, "name": "x"}, {"packets": 1, "bytes": 64}),
        ({"by": {"queue": [1, 2]}}, {"by_queue_0": 1, "by_queue_1": 2}),
    ],
)
def test_numbers_of_a_value(value: t.Any, numbers: t.Any) -> None:
    assert dict(numbers_of(value)) == numbers
