# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel reports about an interface. include/uapi/linux/rtnetlink.h, if_link.h"""

from __future__ import annotations

import errno
import pathlib
import socket
import struct
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.rtnetlink import Interface, interface
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel.stacking import Device, Stacking, devices, stacking

NEWLINK, ERROR = 16, 2
IFNAME, MTU, LINK, MASTER, LINKINFO, LINK_NETNSID, XDP = 3, 4, 5, 10, 18, 37, 43
INFO_KIND, INFO_DATA, VXLAN_LINK = 1, 2, 3
XDP_ATTACHED, XDP_PROG_ID, DRV_PROG_ID, SKB_PROG_ID, HW_PROG_ID = 2, 4, 5, 6, 7
NESTED = 0x8000


def test_loopback_of_this_kernel() -> None:
    index = socket.if_nametoindex("lo")
    found = interface(index)
    assert found and (found.ifindex, found.mtu) == (index, int(pathlib.Path("/sys/class/net/lo/mtu").read_text()))


def test_an_index_that_does_not_exist() -> None:
    assert interface(2**31 - 1) is None


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute: padded to a multiple of 4 bytes, which its length does not include."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def answered(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, ask: t.Callable[[], t.Any] = lambda: interface(7)
) -> t.Any:
    """What interface() or devices() returns for an answer of the kernel."""

    class Kernel:
        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *exception: t.Any) -> None:
            pass

        def send(self, request: bytes) -> None:
            assert len(request) == struct.unpack_from("=I", request)[0]
            assert struct.unpack_from("=i", request, 20)[0] == (0 if ask is devices else 7)

        def recv(self, size: int) -> bytes:
            return answer[:size]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", lambda *_: Kernel())
        return ask()


def link(*attributes: bytes) -> bytes:
    return message(NEWLINK, struct.pack("=BxHiII", 0, 1, 7, 0, 0) + b"".join(attributes))


@pytest.mark.parametrize("flags", [0, NESTED])
def test_programs_by_mode(flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    several = attribute(XDP_ATTACHED, b"\x04") + number(DRV_PROG_ID, 41) + number(SKB_PROG_ID, 70000)
    answer = link(attribute(IFNAME, b"eth0.10\0x"), number(MTU, 9000), attribute(XDP | flags, several))
    assert answered(answer, monkeypatch) == Interface(7, 9000, {"native": 41, "generic": 70000})
    offloaded = attribute(XDP_ATTACHED, b"\x03") + number(XDP_PROG_ID, 5) + number(HW_PROG_ID, 5)
    assert answered(link(number(MTU, 1500), attribute(XDP, offloaded)), monkeypatch) == Interface(
        7, 1500, {"offload": 5}
    )


def test_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = link(number(MTU, 1500), attribute(XDP, attribute(XDP_ATTACHED, b"\0")))
    assert answered(answer, monkeypatch) == Interface(7, 1500, {})
    assert answered(link(), monkeypatch) == Interface(7, 0, {})


def test_an_attribute_of_length_zero_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = link(struct.pack("=HH", 0, 60), number(MTU, 1500))
    assert answered(answer, monkeypatch) == Interface(7, 1500, {})


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered(message(ERROR, struct.pack("=i", -errno.ENODEV)), monkeypatch) is None
    with pytest.raises(PermissionError):
        answered(message(ERROR, struct.pack("=i", -errno.EPERM)), monkeypatch)


def test_all_interfaces_of_this_kernel() -> None:
    index = socket.if_nametoindex("lo")
    assert Device(index, "lo", "", (), 0, {}) in devices()
    assert {device.ifindex: device.name for device in devices()} == dict(socket.if_nameindex())


def kind(name: bytes, *data: bytes) -> bytes:
    return attribute(LINKINFO, attribute(INFO_KIND, name + b"\0") + attribute(INFO_DATA, b"".join(data)))


@pytest.mark.parametrize(
    ("attributes", "below", "master"),
    [
        ([kind(b"vlan"), number(LINK, 2)], (2,), 0),
        ([kind(b"macvlan"), number(LINK, 2), number(MASTER, 9)], (2,), 9),
        ([kind(b"vlan"), number(LINK, 2), number(LINK_NETNSID, 0)], (), 0),  # an index of a different namespace
        ([kind(b"veth"), number(LINK, 2)], (), 0),  # its peer
        ([kind(b"netkit"), number(LINK, 2)], (), 0),
        ([kind(b"ipip"), number(LINK, 2)], (), 0),
        ([kind(b"vxlan", number(VXLAN_LINK, 3), number(1, 77))], (3,), 0),
        ([kind(b"vxlan", number(1, 77))], (), 0),
        ([kind(b"hsr", number(1, 3), number(2, 2)), number(LINK, 3)], (3, 2), 0),
        ([number(LINK, 2)], (), 0),
    ],
)
def test_what_an_interface_stands_on(
    attributes: t.List[bytes], below: t.Tuple[int, ...], master: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = link(attribute(IFNAME, b"x\xff0\0"), *attributes) + message(3, bytes(4))
    (found,) = answered(answer, monkeypatch, devices)
    assert (found.stands_on, found.master, found.name) == (below, master, "x\udcff0")
    monkeypatch.setattr(socket, "if_indextoname", "lo eth1 eth2 eth3".split().__getitem__)
    monkeypatch.delattr(socket, "if_nameindex")  # the kernel would list all interfaces, for each that is looked at
    assert answered(answer, monkeypatch, lambda: stacking(7)) == Stacking(found.kind, tuple(f"eth{i}" for i in below))


def test_an_interface_below_that_has_disappeared(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = link(kind(b"vlan"), number(LINK, 2**31 - 1))
    assert answered(answer, monkeypatch, lambda: stacking(7)) == Stacking("vlan")
