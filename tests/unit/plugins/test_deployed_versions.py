# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts have which version: a line for each. What hosts that lie make of it: tests/security."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ebpf.fleet.plugins.filter.deployed_versions import deployed_versions
from answers import Answer


def attached(*tags: str, **more: str) -> Answer:
    found = [{"interface": f"eth{n}", "state": "attached", "tag": tag} for n, tag in enumerate(tags)]
    return {"xdp_attached": {"attachments": found}, "ansible_facts": {}, **more}


def test_a_line_for_each_version() -> None:
    hosts = {
        "web1": attached("aa", "bb"),
        "web2": attached("aa"),
        "web3": attached("aa", ansible_failed_result="no packets"),
        "web4": {"ansible_failed_result": "no route"},
        "web5": {},
        "web6": attached("aa"),
        "web7": {"xdp_attached": {"attachments": [{"interface": "eth0", "state": "attached", "tag": None}]}},
        "web8": {"xdp_attached": {"attachments": [{"interface": "eth0", "state": "failed", "error": "a\nb" * 90}]}},
        "web9": {"xdp_attached": {"attachments": []}, "ansible_facts": {"xdp_attached": {}}},
    }
    there = [name for name in hosts if name != "web6"]
    lines = dict(line.split("  ", 1) for line in deployed_versions(hosts, list(hosts), there))
    found = {version: rest.strip() for version, rest in lines.items()}
    long = next(version for version in found if version.startswith("failed: "))
    assert found.pop(long) == "web8 eth0" and long.isprintable() and len(long) <= 88
    assert found == {
        "aa": "web1 eth0, web2 eth0",
        "aa (failed)": "web3 eth0, web6 eth0",
        "bb": "web1 eth1",
        "failed": "web4",
        "not yet": "web5, web9",
        "to be attached": "web7 eth0",
    }


def test_columns() -> None:
    hosts = {"web1": attached("aa"), "web2": {}}
    assert deployed_versions(hosts, list(hosts), list(hosts)) == ["aa       web1 eth0", "not yet  web2"]
    assert deployed_versions({}, [], []) == []


def test_what_is_no_hostvars() -> None:
    with pytest.raises(AnsibleFilterError, match="deployed_versions takes hostvars"):
        deployed_versions({}, ["web1"], [])
