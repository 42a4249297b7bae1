# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf_facts on a real kernel."""

from __future__ import annotations

import os
import re
import typing as t

from commands import program_ids, programs_since, sh
from host import Host


def test_facts_agree_with_other_tools(host: Host, compiled: t.Callable[..., str]) -> None:
    host.plug("jumbo0", 9000)
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    ids, namespaces = program_ids(), os.listdir("/run/netns")
    found = host.ok("bpf_facts")["ansible_facts"]["bpf"]
    assert (programs_since(ids), os.listdir("/run/netns")) == ([], namespaces)
    assert found["kernel"] == sh("uname", "-r").strip()
    assert found["architecture"] == sh("uname", "-m").strip()
    assert found["btf"] is True
    assert found["bpffs"] == "/sys/fs/bpf"
    assert found["clang"] in sh("clang", "--version")
    assert found["bpftool"] in sh("bpftool", "version")
    assert re.fullmatch(r"\d+\.\d+", found["libbpf"])
    may_share = found["features"].pop("dispatcher")  # which machines like this one may refuse
    assert isinstance(may_share, bool)
    assert found["features"] == {"xdp_link": True, "frags": True, "live_frames": True, "trace_event": True}
    assert set(found["interfaces"]) == {"lo", "eth0", "eth0.10", "jumbo0"}
    eth0 = found["interfaces"]["eth0"]
    assert (eth0["driver"], eth0["mtu"], eth0["queues"]) == ("veth", 1500, {"rx": 1, "tx": 1})
    assert found["interfaces"]["jumbo0"]["mtu"] == 9000
    (program,) = eth0["xdp"]
    assert (program["owner"], program["mode"]) == ("ebpf.fleet", "native")
    assert program["pin_path"] == host.pin("eth0", "").rstrip("/")
    assert found["interfaces"]["eth0.10"]["xdp"] == []
    assert found["problems"] == []


def test_check_mode_loads_nothing(host: Host) -> None:
    features = host.ok("bpf_facts", check=True)["ansible_facts"]["bpf"]["features"]
    assert (features["xdp_link"], features["frags"]) == (None, None)
