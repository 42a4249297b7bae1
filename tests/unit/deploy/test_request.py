# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to a request."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import entry
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import settings
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy.request import Wanted, with_declared
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects.image import Image, ObjectFacts
from ansible_collections.ebpf.fleet.plugins.modules import xdp_program

NOTHING: t.Any = None
DECLARED = {"variables": {"limit": 1}, "map_sizes": None, "map_entries": None}


def test_btf_that_cannot_be_read_is_not_the_fault_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> t.Any:
        raise ValueError("BTF has a kind of type that is newer")

    monkeypatch.setattr(settings, "settings_of", fail)
    request: t.Any = types.SimpleNamespace(wanted=Wanted("attached", "f"))
    with pytest.raises(FleetError, match=r"/f\.o has BTF that cannot be used: BTF has a kind"):
        with_declared(NOTHING, request, Image(ObjectFacts("/f.o", "")), {**DECLARED, "allow_unsafe_paths": False})


@pytest.mark.parametrize(("state", "warned"), [("absent", 0), ("detached", 0), ("attached", 1)])
def test_only_what_is_deployed_needs_its_object(monkeypatch: pytest.MonkeyPatch, state: str, warned: int) -> None:
    def nothing(*_arguments: t.Any) -> t.Any:
        return types.SimpleNamespace(
            image=Image(), files=(), steps=lambda _files: [], built=None, lacking=None, errors={}
        )

    for name in ("check_options", "obtain", "request_of", "change"):
        monkeypatch.setattr(xdp_program, name, nothing)
    monkeypatch.setattr(xdp_program, "result_of", lambda *_arguments: {})
    monkeypatch.setattr(entry, "require_root", nothing)
    monkeypatch.setattr(entry, "require_libbpf", nothing)
    said: t.List[str] = []
    module: t.Any = types.SimpleNamespace(params={"state": state, **DECLARED}, check_mode=True, warn=said.append)
    xdp_program.run(module)
    assert len(said) == warned
