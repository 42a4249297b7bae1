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

NEWLINK, ERROR = 16, 2
IFNAME, MTU, XDP = 3, 4, 43
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


def answered(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> t.Optional[Interface]:
    """What interface() returns for an answer of the kernel."""

    class Kernel:
        def __enter__(self) -> t.Any:
            return self

        def __exit__(self, *exception: t.Any) -> None:
            pass

        def send(self, request: bytes) -> None:
            assert len(request) == struct.unpack_from("=I", request)[0]
            assert struct.unpack_from("=i", request, 20)[0] == 7

        def recv(self, size: int) -> bytes:
            return answer[:size]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", lambda *_: Kernel())
        return interface(7)


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
