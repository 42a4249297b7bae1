# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the playbook report: what is on it and in which order, for fleets of any size and names of any kind."""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ebpf.fleet.plugins.filter.fleet_report import fleet_report
from ansible_collections.ebpf.fleet.plugins.plugin_utils.fleet_page import MOST_CPUS, MOST_INTERFACES, Page, page
from answers import TAG, Answer, answers, counter
from web_page import WebPage

OTHER = "f5531e9d0f447db1"
NAMES = ['<script>alert("1")</script>', "\"'&<b>", "h" * 64, "שרת-אחד", "a\u202eb", "{{ 1 + 1 }}{% raw %}", "\ud800"]


def host(**interfaces: Answer) -> Answer:
    answer = answers()["xdp_counter_facts"]
    answer["ansible_facts"]["xdp_counter"]["interfaces"] = interfaces or {"eth0": counter()}
    return answer


def rated(packets: int, per_second: float) -> Answer:
    return {**counter(packets), "packets_per_second": per_second, "bytes_per_second": per_second * 64}


def fleet(size: int) -> t.Dict[str, Answer]:
    return {f"web{number}": host(eth0=rated(number * 1000, number), eth1=counter(7)) for number in range(size)}


def remarks(found: Page) -> t.List[t.Tuple[str, str, str]]:
    return [(each.kind, each.host, each.interface) for each in found.remarks]


@pytest.mark.parametrize("size", [0, 1, 3, 50, 1000])
def test_rows_are_the_facts(size: int) -> None:
    text = fleet_report(fleet(size))
    shown = WebPage(text)
    rows = {(row["Host"], row["Interface"]): row for row in shown.rows("all")} if size else {}
    assert len(rows) == size * 2
    for number in range(size):
        row = rows[f"web{number}", "eth0"]
        assert (row["Packets"], row["Bytes"]) == (f"{number * 1000:,}", f"{number * 64000:,}")
        if size > 1:
            assert row["Packets/s"] == str(f"{number:,}")
    assert len(text.encode()) < 20_000 + size * 3_000
    assert list(rows)[: size - 1] == [(f"web{size - 1 - each}", "eth0") for each in range(size - 1)]


def test_what_somebody_should_look_at_comes_first() -> None:
    answered: t.Dict[str, t.Any] = {
        "exact": host(eth0=rated(9, 9.0)),
        "busy": host(eth0=rated(10**6, 10.0**6)),
        "joined": host(eth0={**counter(), "exact": False, "inexact_because": "GRO: count on eth0"}),
        "old": host(eth0={**counter(), "tag": OTHER}),
        "set": host(eth0={**counter(), "variables_digest": "00"}),
        "off": host(eth0={**counter(), "attached": False, "mode": None, "exact": None, "tag": OTHER}),
        "away": host(eth0={**counter(), "attached": False, "mode": None, "exact": None, "moved": True}),
        "bare": host(eth0=counter()),
        "gone": {"unreachable": True, "msg": "ssh: no route"},
        "mute": {"failed": True},
        "liar": {"ansible_facts": {"xdp_counter": {"interfaces": 3}}},
        "none": None,
    }
    answered["bare"]["ansible_facts"]["xdp_counter"]["interfaces"] = {}
    found = page(answered)
    assert remarks(found) == [
        ("not read", "gone", ""),
        ("not read", "liar", ""),
        ("not read", "mute", ""),
        ("not read", "none", ""),
        ("not attached", "away", "eth0"),
        ("not attached", "bare", ""),
        ("not attached", "off", "eth0"),
        ("different version", "old", "eth0"),
        ("different version", "set", "eth0"),
        ("not exact", "joined", "eth0"),
    ]
    assert found.counts == [("not read", 4), ("not attached", 3), ("different version", 2), ("not exact", 1)]
    why = {each.host: each.text for each in found.remarks}
    assert why["gone"] == "ssh: no route" and "xdp_counter" in why["liar"] and why["mute"] == "it did not say why"
    assert why["old"] == f"tag {OTHER}, but {TAG} in most places" and "moved" in why["away"]
    assert why["set"] == "constants 00, but 0f343b0931126a20 in most places"
    assert [row.host for row in found.rows] == ["away", "off", "old", "set", "joined", "busy", "exact"]
    assert (found.hosts, found.read) == (12, 8)


def test_programs_of_different_names_are_not_compared() -> None:
    """A NIC with a jumbo MTU has one of its own."""
    jumbo = {**counter(), "program_name": "packet_count_fr", "tag": OTHER}
    found = page({"one": host(eth0=counter(), jumbo0=jumbo), "two": host()})
    assert found.remarks == []
    assert [(each.program, each.interfaces, each.usual) for each in found.versions] == [
        ("packet_count", 2, True),
        ("packet_count_fr", 1, True),
    ]


def test_a_program_without_counters_and_without_rates() -> None:
    own = {**counter(), "packets": None, "bytes": None, "per_cpu": []}
    shown = WebPage(fleet_report({"one": host(eth0=own), "two": host()}))
    (one, two) = sorted(shown.rows("all"), key=lambda row: row["Host"])
    assert (one["Packets"], one["Bytes"], two["Packets"]) == ("–", "–", "189") and "Packets/s" not in one


def test_bars_are_in_proportion() -> None:
    found = page({"one": host(eth0=rated(1, 200.0), eth1=rated(1, 50.0), eth2=rated(1, 0.0))})
    assert [(row.interface, row.share) for row in found.busiest] == [("eth0", 1.0), ("eth1", 0.25)]
    text = fleet_report({"one": host(eth0=rated(1, 200.0), eth1=rated(1, 50.0))})
    assert re.findall(r'<svg class="bar" width="240".*?<rect width="([0-9.]+)"', text) == ["240.0", "60.0"]


@pytest.mark.parametrize("cpus", [1, 31, 32, 33, 4096])
def test_packets_by_cpu(cpus: int) -> None:
    many = {**counter(), "per_cpu": [{"cpu": each, "packets": each + 1, "bytes": 0} for each in range(cpus)]}
    (row,) = page({"one": host(eth0=many)}).rows
    assert len(row.cpus) <= MOST_CPUS and row.cpus[-1] == 1.0 and list(row.cpus) == sorted(row.cpus)
    (row,) = page({"one": host(eth0={**counter(), "per_cpu": [{"cpu": 2**32 - 1, "packets": 1, "bytes": 0}]})}).rows
    assert len(row.cpus) <= MOST_CPUS and row.cpus[-1] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str) -> None:
    """Of a host, as the inventory has it; of an interface, and what a host says, as it says it."""
    odd = "<i>\"'&\u202e"
    text = fleet_report(
        {
            name: host(**{odd: {**counter(), "exact": False, "inexact_because": name}}),
            f"{name}2": {"unreachable": True, "msg": name},
            "plain": host(),
        }
    )
    text.encode()  # no half of a character
    shown, plain = WebPage(text), WebPage(fleet_report({"a": host(), "b": host(), "plain": host()}))
    assert {tag for tag, _given in shown.tags} == {tag for tag, _given in plain.tags}
    assert [tag for tag, _given in shown.tags].count("script") == 1
    written = name.replace("\u202e", r"\u202e").replace("\ud800", r"\ud800")
    rows = {row["Host"]: row for row in shown.rows("all")}
    assert rows[written]["Interface"] == odd.replace("\u202e", r"\u202e")
    assert {row["Why"] for row in shown.rows("remarks")} == {written}
    assert all(value is None or "\n" not in value for _tag, given in shown.tags for value in given.values())


def test_nothing_is_loaded_and_only_its_own_script_runs() -> None:
    text = fleet_report(fleet(3))
    (policy,) = (given["content"] or "" for tag, given in WebPage(text).tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for tag, given in WebPage(text).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "style", "srcset", "action"} & set(given)
        assert not any(name.startswith("on") for name in given)
    assert "http" not in text.replace("http-equiv", "") and "url(" not in text and "@import" not in text


def test_headings_and_labels() -> None:
    shown = WebPage(fleet_report(fleet(3)))
    assert all("scope" in given for tag, given in shown.tags if tag == "th")
    assert all("aria-label" in given or "aria-hidden" in given for tag, given in shown.tags if tag == "svg")
    regions = [given for _tag, given in shown.tags if given.get("role") == "region"]
    names = {given["id"] for tag, given in shown.tags if tag == "h2"}
    assert regions and {given["aria-labelledby"] for given in regions} <= names
    assert all(given["tabindex"] == "0" for given in regions)


def test_a_host_cannot_make_the_page_of_any_size() -> None:
    many = {f"v{number}": counter() for number in range(MOST_INTERFACES + 5)}
    found = page({"one": host(**many), "two": {"failed": True, "msg": "x" * 10**6}})
    assert len(found.rows) == MOST_INTERFACES
    said = {each.host: each.text for each in found.remarks}
    assert said["one"] == "5 more interfaces are not on this page" and len(said["two"]) < 1000


def test_bad_input() -> None:
    assert "it did not say why" in fleet_report({"one": None})
    with pytest.raises(AnsibleFilterError, match="by host name"):
        fleet_report(["one"])  # type: ignore[arg-type]
