# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must reach: how it is given, which gateway that is, and how long it is asked."""

from __future__ import annotations

import pathlib
import struct
import sys
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.reach import gateway, waiting
from ansible_collections.ebpf.fleet.plugins.module_utils.reach.gateway import checksum, default_gateway
from ansible_collections.ebpf.fleet.plugins.module_utils.reach.targets import (
    Target,
    Unanswered,
    target_of,
    targets_of,
)

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
NOWHERE = "00000000000000000000000000000000"
GATEWAY6 = "fe800000000000000000000000000001"


def of(*address: int) -> str:
    """As the kernel prints the four bytes: as a number of the machine."""
    return f"{struct.unpack('=I', bytes(address))[0]:08X}"


def routes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, four: t.Sequence[str], six: t.Sequence[str]
) -> None:
    for name, lines in (("ROUTES", [HEAD, *four]), ("ROUTES6", six)):
        (tmp_path / name).write_text("".join(lines))
        monkeypatch.setattr(gateway, name, str(tmp_path / name))


def test_which_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    network = f"eth0 {of(192, 0, 2, 0)} {of(0, 0, 0, 0)} 0001 0 0 0 {of(255, 255, 255, 0)} 0 0 0\n"
    down = f"eth9 00000000 {of(192, 0, 2, 9)} 0002 0 0 0 00000000 0 0 0\n"
    on_link = "wg0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n"
    first = f"eth1 00000000 {of(198, 51, 100, 1)} 0003 0 0 200 00000000 0 0 0\n"
    second = f"eth0 00000000 {of(192, 0, 2, 1)} 0003 0 0 100 00000000 0 0 0\n"
    six = f"{NOWHERE} 00 {NOWHERE} 00 {GATEWAY6} 00000400 1 0 00000003 eth0\n"
    lo = f"{NOWHERE} 00 {NOWHERE} 00 {NOWHERE} ffffffff 1 0 00200200 lo\n"
    routes(monkeypatch, tmp_path, [network, down, on_link, first, second], [lo, six])
    assert default_gateway() == ("192.0.2.1", "eth0")
    routes(monkeypatch, tmp_path, [network, down, on_link], [lo, six])
    assert str(default_gateway()) == "the gateway fe80::1 on eth0"
    routes(monkeypatch, tmp_path, [network, down, on_link], [lo])
    with pytest.raises(FleetError, match="this host has no default route with a gateway; name something else"):
        default_gateway()


def test_a_kernel_without_a_protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(gateway, "ROUTES", str(tmp_path / "none"))
    monkeypatch.setattr(gateway, "ROUTES6", str(tmp_path / "none"))
    with pytest.raises(FleetError):
        default_gateway()


def test_the_checksum_of_a_message_is_zero_with_its_checksum() -> None:
    message = bytes(range(32))
    assert (
        checksum(message)
        and checksum(message[:2] + message[4:] + struct.pack("!H", checksum(message[:2] + message[4:]))) == 0
    )


@pytest.mark.parametrize(
    "text",
    [
        "gateway",
        "git.example.org:22",
        "192.0.2.1:443",
        "[2001:db8::1]:22",
        "[fe80::1%eth0]:22",
        "https://h/",
        "HTTP://h:8/x?y",
    ],
)
def test_what_can_be_given(text: str) -> None:
    assert str(target_of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gateway",
        "host",
        "host:",
        ":22",
        "host:0",
        "host:65536",
        "2001:db8::1:22",
        "ftp://h/",
        "https://",
        "http://h h/",
        "https://me:secret@h/",
    ],
)
def test_what_cannot(text: str) -> None:
    with pytest.raises(FleetError, match="give gateway, HOST:PORT, or a URL that begins with http:// or https://"):
        target_of(text)


def test_one_that_is_given_twice_is_asked_once() -> None:
    assert [str(each) for each in targets_of(["h:1", "gateway", "h:1"])] == ["h:1", "gateway"]


class Late(Target):
    """Answers when it has been asked that often."""

    def __init__(self, text: str, times: int) -> None:
        super().__init__(text)
        self._left = times

    def ask(self, seconds: float) -> str:
        assert seconds > 0
        self._left -= 1
        if self._left > 0:
            raise Unanswered("no route to it")
        return "here"


def test_each_is_asked_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0.01)
    found = waiting.await_answers([Late("a", 3), Late("b", 1)], 5)
    assert [(each["asked"], each["answer"]) for each in found] == [("a", "here"), ("b", "here")]
    assert 0.02 <= found[0]["seconds"] <= found[1]["seconds"] < 5


def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0.01)
    began = time.monotonic()
    with pytest.raises(
        waiting.Unreached, match=r"b \(reachable\) did not answer within 0.1 s after .*: no route"
    ) as one:
        waiting.await_answers([Late("a", 1), Late("b", sys.maxsize)], 0.1)
    assert time.monotonic() - began < 1
    assert [each["asked"] for each in one.value.facts] == ["a"]


def test_a_reserve_is_left_for_the_confirmation() -> None:
    assert (waiting.patience(60), waiting.patience(4), waiting.patience(1)) == (58, 2, 0.5)
