# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.ebpf.fleet.plugins.module_utils.state import places


def test_names_that_bpffs_allows() -> None:
    assert places.escape("eth0.10") == "eth0%2E10"
    for name in ("eth0.10", "a%2Eb", "x", "100%", "a/b"):
        assert places.unescape(places.escape(name)) == name
        assert "." not in places.escape(name) and "/" not in places.escape(name)
    assert places.map_pin("counters") == "counters"
    assert places.map_pin("packet_c.bss") == "%2Ebss"
    assert places.map_pin(".data.trace") == "%2Edata%2Etrace"


def test_places() -> None:
    place = places.Place("/sys/fs/bpf/ebpf_fleet", "packet_count", "eth0.10")
    assert place.link == "/sys/fs/bpf/ebpf_fleet/packet_count/eth0%2E10/link"
    assert place.map("counters") == "/sys/fs/bpf/ebpf_fleet/packet_count/eth0%2E10/maps/counters"
