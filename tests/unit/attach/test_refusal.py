# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to type, by the sentences of drivers that are not on this machine."""

from __future__ import annotations

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.attach import refusal
from ansible_collections.ebpf.fleet.plugins.module_utils.attach.refusal import remedy


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("veth: Peer MTU is too large to set XDP", "ip link set dev PEER mtu 1500"),
        ("veth: XDP expects number of rx queues not less than peer tx queues", "ethtool -L eth0 rx N"),
        ("virtio_net: MTU too large to enable XDP without frags", "ip link set dev eth0 mtu 1500"),
        ("virtio_net: Too few free TX rings available", "ethtool -L eth0 combined N"),
        (
            "virtio_net: Can't set XDP while host is implementing GRO_HW/CSUM, disable GRO_HW/CSUM first",
            "ethtool -K eth0 rx-gro-hw off rx off",
        ),
        (
            "virtio_net: Can't set XDP while host is implementing LRO/CSUM, disable LRO/CSUM first",
            "ethtool -K eth0 lro off rx off",
        ),
        ("XDP: not support LRO", "ethtool -K eth0 lro off"),
        ("MTU larger than 3498 w/o XDP frag support", "ip link set dev eth0 mtu 1500"),
        ("bnxt_en: ethtool rx/tx channels must be combined to support XDP.", "ethtool -L eth0 combined N"),
        ("Failed to set xdp program, the Rx/Tx channel count should be at most half of the maximum", "combined N"),
        ("No native XDP support for the current bonding mode", "ip link set dev eth0 type bond mode MODE"),
        ("Slave device does not support XDP", "ip -d link show master eth0"),
        ("Cannot attach when an upper device already has a program", "detach the program of the interface above eth0"),
        ("Underlying driver does not support XDP in native mode", ""),
        ("", ""),
    ],
)
def test_each_sentence_has_its_remedy(said: str, typed: str) -> None:
    assert typed in remedy(said, "eth0") if typed else remedy(said, "eth0") == ""


@pytest.mark.parametrize("frags", [True, False])
def test_frags_are_advised_only_where_the_kernel_has_them(monkeypatch: pytest.MonkeyPatch, frags: bool) -> None:
    monkeypatch.setattr(refusal, "kernel_has", lambda _function: frags)
    for said in ("veth: Peer MTU is too large to set XDP", "MTU larger than 3498 w/o XDP frag support"):
        words = remedy(said, "eth0")
        assert words.startswith("lower the MTU") and ("xdp.frags" in words) == frags


def test_frags_are_not_advised_where_the_driver_has_no_word_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """virtio_net before 6.3 refuses packet_count_frags in this sentence."""
    monkeypatch.setattr(refusal, "kernel_has", lambda _function: True)
    said = remedy("virtio_net: MTU too large to enable XDP", "eth0")
    assert said == "lower the MTU (`ip link set dev eth0 mtu 1500`)"


def test_no_remedy_that_the_driver_refuses() -> None:
    """virtio_net without CTRL_GUEST_OFFLOADS refuses ethtool -K as well."""
    said = "virtio_net: Can't set XDP while host is implementing GRO_HW/CSUM, disable GRO_HW/CSUM first"
    assert remedy(said, "eth0", ["rx-gro-hw"]).startswith(
        "its driver cannot turn rx-gro-hw off: turn it off in the hyperv"
    )
    assert "ethtool -L" in remedy("need more XDP queues", "eth0", ["rx-gro-hw"])
