# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_counter_check: packets are counted and still arrive; otherwise it says which of the two fails."""

from __future__ import annotations

import typing as t

import pytest
from host import Host

Compiled = t.Callable[..., str]


@pytest.fixture
def traffic(host: Host) -> t.Iterator[None]:
    with host.traffic("eth0"):
        yield


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_counted_and_arrived(host: Host, compiled: Compiled, mode: str) -> None:
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0", "eth0.10"], mode=mode)
    found = host.ok("xdp_counter_check", seconds=0.5)
    eth0 = found["interfaces"]["eth0"]
    assert eth0["counted"] > 100 and 0 < eth0["arrived"] <= eth0["counted"] * 1.5
    assert found["interfaces"]["eth0.10"] == {"counted": 0, "arrived": 0}
    assert found["idle"] == ["eth0.10"] and not found["changed"]


@pytest.mark.usefixtures("traffic")
def test_counted_but_dropped(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("counter", VERSION=0), interfaces=["eth0"])
    message = host.refused("xdp_counter_check", seconds=0.5)
    assert "packet_count counted" in message and "none of them reached the network stack" in message
    assert not host.ok("xdp_counter_check", seconds=0.1, check=True)["changed"]


@pytest.mark.usefixtures("traffic")
def test_arrived_but_not_counted(host: Host, compiled: Compiled) -> None:
    """The pinned map is not the one that the program counts in."""
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0.10"], name="other")
    host.enter("mv", host.pin("eth0", "maps/counters"), host.pin("eth0", "maps/away"))
    host.enter("mv", host.pin("eth0.10", "maps/counters", "other"), host.pin("eth0", "maps/counters"))
    message = host.refused("xdp_counter_check", interfaces=["eth0"], seconds=0.5)
    assert "packets arrived on eth0, but packet_count counted none" in message


def test_nothing_to_check(host: Host, compiled: Compiled) -> None:
    assert "packet_count is not on any interface of this host" in host.refused("xdp_counter_check")
    assert "packet_count is not attached to eth0" in host.refused("xdp_counter_check", interfaces=["eth0"])
    assert "there is no interface nope0" in host.refused("xdp_counter_check", interfaces=["nope0"])
    assert "give 0 or more" in host.refused("xdp_counter_check", seconds=-1)
    host.ok("xdp_program", object=compiled("walkthrough"), interfaces=["eth0"])
    assert "packet_count has no counters on eth0" in host.refused("xdp_counter_check", seconds=0)
