# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places whose maps a task means."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.filling import named
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import Place


def test_an_interface_that_is_gone_is_none_of_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its manifest stays, as it may come back."""
    here, gone = (Place(str(tmp_path), "filter", name) for name in ("eth0", "eth1"))
    (tmp_path / "filter/eth0").mkdir(parents=True)
    (tmp_path / "filter/eth0/program").touch()
    asked = [here, gone]
    monkeypatch.setattr(named, "places_asked", lambda *_arguments: asked)

    def places(interfaces: t.Optional[t.List[str]]) -> t.List[Place]:
        return named.deployed_places(t.cast(t.Any, None), {"name": "filter", "interfaces": interfaces}, "to fill")

    assert places(None) == [here]
    assert places(["eth0", "eth1"]) == [here, gone]  # refused by its name, when its map is opened
    asked.remove(here)
    with pytest.raises(FleetError, match="filter is on no interface of this host"):
        places(None)
