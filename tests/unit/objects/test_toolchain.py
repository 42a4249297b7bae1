# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.objects import toolchain


def test_flags() -> None:
    flags = toolchain.arguments({"B": 2, "A": "x y", "ON": True, "OFF": False, "BARE": None}, ["-Wall"], ["/inc"], "v3")
    assert flags[:5] == ["-O2", "-g", "-target", "bpf", "-mcpu=v3"]
    assert flags[5:] == ["-DA=x y", "-DB=2", "-DBARE", "-DOFF=0", "-DON=1", "-I/inc", "-Wall"]


@pytest.mark.parametrize("name", ["", "1A", "A B", "A;rm", "-x"])
def test_bad_macro_names(name: str) -> None:
    with pytest.raises(FleetError, match="is not the name of a C macro"):
        toolchain.arguments({name: 1}, [], [], "v3")


def test_no_compiler() -> None:
    with pytest.raises(FleetError, match="clang-99 is not on this host"):
        toolchain.find_compiler("clang-99")
