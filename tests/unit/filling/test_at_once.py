# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bpf_map with replace: at_once returns, and refuses."""

from __future__ import annotations

import contextlib
import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.declared import Filling
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.planned import Plan
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted, check_rollback_after
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.results import Outcome
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.steps import Keep
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.difference import Declared
from ansible_collections.ebpf.fleet.plugins.module_utils.entries.typed import typed
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.filling import at_once
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.kinds import MapShape
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import ObjectMap
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import ObjectFacts
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place

SHAPE = MapShape("hash", 4, 1, 8, 0)
PLACE = Place("/nowhere", "filter", "eth0")


def test_what_is_done_beside_the_entries_is_a_change() -> None:
    filling = Filling("block", Declared({b"\1\0\0\0": b"\1"}), 1, typed(None, SHAPE, 0, 0), at_once=True)
    wanted = Wanted("loaded", "filter", ObjectFacts("/f.o", "", (), (ObjectMap("block", SHAPE, False),)))
    seen: t.Any = types.SimpleNamespace(
        entries={"block": dict(filling.declared.values)}, maps={}, interface="eth0", place=PLACE
    )
    plan = Plan(seen, (Keep("block", dict(filling.declared.values)),), {}, {})
    result = at_once._result(wanted._replace(fillings=(filling,)), Outcome((plan,), (plan,), [], {}, False))
    assert result["changed"] and result["steps"] == ["eth0: restore 1 entries of block after a reboot"]
    assert (result["added"], result["entries"]) == (0, 1)


def test_entries_are_not_restored_without_their_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "deployed_places", lambda *_arguments: [PLACE])
    options = {"map": "block", "persist": "true"}
    with pytest.raises(FleetError, match=r"filter is not restored on eth0 after a reboot.*set persist in"):
        at_once.replace_at_once(t.cast(t.Any, None), options, True, print, lambda _path: None, lambda: b"")


@pytest.mark.parametrize("check", [False, True])
def test_what_is_deployed_is_read_under_the_lock(monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    """Else it would deploy again what a different run has replaced, or rolled back, while this one waited."""
    happened: t.List[str] = []

    def same(_places: t.Any) -> t.Any:
        happened.append("looked")
        raise FleetError("enough")

    def lock(*_arguments: t.Any) -> t.Any:
        happened.append("locked")
        return contextlib.nullcontext()

    monkeypatch.setattr(at_once, "deployed_places", lambda *_arguments: [PLACE])
    monkeypatch.setattr(at_once, "_same", same)
    monkeypatch.setattr(at_once, "lock", lock)
    options = {"map": "block", "persist": None, "rollback_after": 0}
    with pytest.raises(FleetError, match="enough"):
        at_once.replace_at_once(t.cast(t.Any, None), options, check, print, lambda _path: None, lambda: b"")
    assert happened == (["looked"] if check else ["locked", "looked"])


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_a_change_is_not_held_for_ever(seconds: int) -> None:
    with pytest.raises(FleetError, match=f"rollback_after is {seconds}: give a number of seconds from 0 to 3600"):
        check_rollback_after(seconds)
