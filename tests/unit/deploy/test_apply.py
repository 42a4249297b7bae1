# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which steps are carried out. What they do to the kernel is in tests/integration."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import steps
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.apply import Applier
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.planned import Plan
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Difference
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

ADDED = Difference(added=((b"\1", b"\1"),))
UNPIN, COPY, SWAP = steps.Unpin("/x"), steps.CopyEntries("allow", 7, 1), steps.Swap()
LOAD = steps.Load("filter", {}, ("allow", "block"))
NEW, KEPT = steps.Fill("block", ADDED, fresh=True), steps.Fill("deny", ADDED)


@pytest.mark.parametrize(
    ("planned", "done"),
    [
        ([UNPIN, LOAD, COPY, NEW, KEPT, SWAP], [UNPIN, COPY, NEW, LOAD, KEPT, SWAP]),
        ([KEPT, SWAP], [KEPT, SWAP]),
    ],
)
def test_new_maps_are_pinned_when_they_are_filled(
    monkeypatch: pytest.MonkeyPatch, planned: t.List[steps.Step], done: t.List[steps.Step]
) -> None:
    """A run that is killed in between would leave half of a list, and to the next one that would be the list."""
    happened: t.List[steps.Step] = []
    seen: t.Any = types.SimpleNamespace(place=Place("/nowhere", "filter", "eth0"), interface="eth0")
    applier = Applier(t.cast(t.Any, None), Image(), print)
    for step in planned:
        monkeypatch.setattr(applier, f"_do_{type(step).__name__}", lambda _seen, step: happened.append(step))
    applier.commit(Plan(seen, tuple(planned), {}, {}))
    assert happened == done
