# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface names: which can exist, and what a user's list becomes."""

from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import interfaces
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "x" * 16, "é" * 8, "a%d"])
def test_interfaces_that_cannot_exist(name: str) -> None:
    with pytest.raises(FleetError, match="cannot exist"):
        interfaces.check_interface_name(name)


@pytest.mark.parametrize("name", ["eth0", "eth0.10", "x" * 15, "wlp2s0", "a-b_c@x"])
def test_interfaces_that_can(name: str) -> None:
    assert interfaces.check_interface_name(name) == name


def test_names_that_a_user_gives() -> None:
    assert interfaces.resolve(["lo", "none0", "lo"]) == ["lo", "none0"]
    with pytest.raises(FleetError, match="cannot exist"):
        interfaces.resolve(["lo", "a/b"])
