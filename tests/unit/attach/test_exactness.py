# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where counts are exact, by kind and mode: also of interfaces that this machine cannot have."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.exactness import fixed, inexact_because, panics, reason
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import ethtool, remedies
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.stacking import Stacking

NIC = Stacking("")


@pytest.mark.parametrize("mode", ["native", "offload"])
@pytest.mark.parametrize("kind", ["", "bond", "veth"])
def test_the_driver_shows_each_frame(mode: str, kind: str) -> None:
    assert reason("eth0", mode, Stacking(kind, ("eth1",))) is None


@pytest.mark.parametrize(
    ("found", "joining", "words"),
    [
        (Stacking("vlan", ("eth0",)), (), "kind vlan"),
        (Stacking("vlan", ("eth0",)), (), "count on eth0 instead"),
        (Stacking("bond", ("eth0", "eth1")), (), "count on eth0 and eth1 instead"),
        (Stacking("macvlan"), (), "(GRO)"),  # the interface below is in a different network namespace
        (Stacking("vxlan"), (), "kind vxlan"),
        (Stacking("gretap"), (), "kind gretap"),
        (Stacking("netkit"), (), "on a netkit, TCP segments of up to 64 kB are one packet"),
        (Stacking("dummy"), (), None),
        (Stacking("ifb"), (), None),
        (Stacking("netdevsim"), (), None),
        (Stacking("veth"), (), "mode: native splits them"),
        (Stacking("tun"), (), "in each mode"),
        (Stacking("loopback"), (), "loopback"),
        (NIC, ("rx-gro-hw",), "`ethtool -K eth9 rx-gro-hw off`"),
        (NIC, ("rx-gro-hw", "rx-lro"), "`ethtool -K eth9 rx-gro-hw off rx-lro off`"),
        (NIC, (), None),
    ],
)
def test_generic_mode(found: Stacking, joining: t.Sequence[str], words: t.Optional[str]) -> None:
    because = reason("eth9", "generic", found, dict.fromkeys(joining, True))
    assert (because is None) if words is None else (because and words in because)


def test_what_the_driver_cannot_turn_off() -> None:
    """As virtio_net without CTRL_GUEST_OFFLOADS: ethtool is no remedy."""
    because = str(reason("eth9", "generic", NIC, {"rx-gro-hw": False}))
    assert "in the hypervisor" in because and "WARNING" in because and "ethtool" not in because


@pytest.mark.parametrize(
    ("changeable", "panic_on_warn", "panic"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_a_panic_is_predicted(
    changeable: bool, panic_on_warn: bool, panic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ethtool, "features_on", lambda _name: {"rx-gro-hw": changeable, "rx-gro": False})
    monkeypatch.setattr(remedies, "panics_on_warn", lambda: panic_on_warn)
    because = panics("eth9")
    assert bool(because) is panic
    assert not because or "cannot turn off rx-gro-hw, so" in because
    assert fixed("eth9") == ([] if changeable else ["rx-gro-hw"])


def test_a_tap_is_not_exact_in_native_mode() -> None:
    assert "64 kB" in str(reason("tap0", "native", Stacking("tun")))


def test_an_interface_that_has_disappeared() -> None:
    assert inexact_because("none0", 2**31 - 1, "generic") is None
