# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook ebpf.fleet.report: its page shows what the hosts count, and first what somebody should look at."""

from __future__ import annotations

import json
import typing as t

import pytest
from fleet import Fleet
from web_page import WebPage, read_page


@pytest.fixture
def host_names() -> t.Sequence[str]:
    return ("one", "two", "three")


def test_the_page_shows_what_was_sent(fleet: Fleet) -> None:
    one, two, _three = fleet.hosts
    fleet.play("deploy")
    fleet.play("deploy", "--limit", "two", "-e", json.dumps({"xdp_counter_cflags": ["-mcpu=v2"]}))
    fleet.run(
        *("ansible", "three", "-m", "ebpf.fleet.xdp_program"),
        *("-a", "state=detached name=packet_count interfaces=eth0.10"),
    )
    one.send("eth0", 12345)
    two.send("eth0.10", 678)
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["hosts"]["<b>four"] = {"ansible_host": "gone"}
    fleet.inventory.write_text(json.dumps(inventory))

    text = fleet.play("report", "-e", "xdp_report=page.html", "-e", "xdp_counter_interval=0.2", "--diff", fails=True)
    assert "1 of 4 hosts not read: <b>four" in text and "<!doctype" not in text
    shown = read_page(fleet.folder / "page.html")
    counts = {(row["Host"], row["Interface"]): (row["Packets"], row["Bytes"]) for row in shown.rows("all")}
    assert counts == {
        ("one", "eth0"): ("12,345", "790,080"),
        ("one", "eth0.10"): ("0", "0"),
        ("two", "eth0"): ("0", "0"),
        ("two", "eth0.10"): ("678", "43,392"),
        ("three", "eth0"): ("0", "0"),
        ("three", "eth0.10"): ("0", "0"),
    }
    facts = {
        host.name: host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"] for host in fleet.hosts
    }
    usual, other = facts[one.name]["eth0"]["tag"], facts[two.name]["eth0"]["tag"]
    assert [(each["What"], each["Host"], each["Interface"]) for each in shown.rows("remarks")] == [
        ("not read", "<b>four", ""),
        ("not attached", "three", "eth0.10"),
        ("different version", "two", "eth0"),
        ("different version", "two", "eth0.10"),
    ]
    assert f"tag {other}, but {usual} in most places" in [each["Why"] for each in shown.rows("remarks")]
    assert "there is no network namespace 'gone'" in shown.rows("remarks")[0]["Why"]


def test_rates_and_a_fleet_without_remarks(fleet: Fleet) -> None:
    fleet.play("deploy")
    with fleet.hosts[0].traffic("eth0"):
        fleet.play("report", "-e", "xdp_counter_interval=1")
    shown = read_page(fleet.folder / "fleet.html")
    assert "remarks" not in shown.tables and any("Nothing: all hosts were read" in each for each in shown.text)
    rates = {(row["Host"], row["Interface"]): int(row["Packets/s"].replace(",", "")) for row in shown.rows("all")}
    assert rates.pop(("one", "eth0")) > 100 and set(rates.values()) == {0} and len(rates) == 5
    assert_no_request(shown)


def assert_no_request(shown: WebPage) -> None:
    for tag, given in shown.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "style", "srcset", "action"} & set(given), (tag, given)
