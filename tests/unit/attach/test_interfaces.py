# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface names: which can exist, and what a user's list becomes."""

from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import interfaces
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "x" * 128, "é" * 64, "a%d", "\udcff"])
def test_interfaces_that_cannot_exist(name: str) -> None:
    with pytest.raises(FleetError, match="cannot exist"):
        interfaces.check_interface_name(name)


@pytest.mark.parametrize("name", ["eth0", "eth0.10", "x" * 15, "x" * 127, "wlp2s0", "a-b_c@x"])
def test_interfaces_that_can(name: str) -> None:
    assert interfaces.check_interface_name(name) == name


def test_names_that_a_user_gives() -> None:
    assert interfaces.resolve(["lo", "none0", "lo"]) == ["lo", "none0"]
    with pytest.raises(FleetError, match="cannot exist"):
        interfaces.resolve(["lo", "a/b"])
    with pytest.raises(FleetError, match=r"there is no interface 'x+' on this host: a name of more than 15 characters"):
        interfaces.resolve(["x" * 16])


@pytest.mark.parametrize(
    ("name", "printed"), [("eth0", "eth0"), ("é", "é"), ("\udcff\udcfe", "\\xff\\xfe"), ("a\udcc3b", "a\\xc3b")]
)
def test_names_for_json(name: str, printed: str) -> None:
    assert interfaces.printable(name) == printed


def test_an_interface_whose_name_in_the_kernel_is_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "find_interface", lambda name: ("\udcff", 7))
    with pytest.raises(FleetError, match=r"in the kernel, \\xff, is not UTF-8.* `ip link set dev if7 name NAME`"):
        interfaces.resolve(["uplink"])
