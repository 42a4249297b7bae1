# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that is read in slices: the same rows and the same page as in one run, and what is wrong with slices."""

from __future__ import annotations

import json
import pathlib
import random
import types
import typing as t

import pytest
from ansible.errors import AnsibleActionFail, AnsibleFilterError
from ansible_collections.ebpf.fleet.plugins.action.slices_joined import ActionModule
from ansible_collections.ebpf.fleet.plugins.filter.counter_rows import counter_rows
from ansible_collections.ebpf.fleet.plugins.filter.deployed_versions import deployed_versions
from ansible_collections.ebpf.fleet.plugins.filter.fleet_report import fleet_report
from ansible_collections.ebpf.fleet.plugins.filter.preflight import preflight
from ansible_collections.ebpf.fleet.plugins.filter.slice_of import slice_of
from ansible_collections.ebpf.fleet.plugins.plugin_utils.fleet_rows import as_json
from ansible_collections.ebpf.fleet.plugins.plugin_utils.slices import joined
from answers import Answer, answers, counter

Fleet = t.Dict[str, Answer]


def fleet(hosts: int) -> Fleet:
    """Each seventh host was not read."""
    found: Fleet = {}
    for number in range(hosts):
        answer: Answer = {"failed": True, "unreachable": True, "msg": f"no route to {number}\n\x1b[2J"}
        if number % 7:
            answer = answers()["xdp_counter_facts"]
            answer["invocation"] = {"module_args": {}}
            answer["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"] = counter(number)
        found[f"web{number}"] = answer
    return found


def cut(whole: Fleet, slices: int) -> t.Dict[str, str]:
    """The files of the slices. Hosts are dealt out, as AWX does it."""
    names = list(whole)
    return {f"{n}.json": slice_of({name: whole[name] for name in names[n::slices]}) for n in range(slices)}


@pytest.mark.parametrize("slices", [1, 2, 4, 50])
def test_slices_are_what_one_run_is(slices: int) -> None:
    whole = fleet(50)
    texts = list(cut(whole, slices).items())
    random.Random(slices).shuffle(texts)
    found = joined(dict(texts), list(whole))
    assert found.problems == [] and list(found.counters) == list(whole)
    assert as_json(found.counters) == as_json(whole)
    assert fleet_report(found.counters) == fleet_report(whole)
    rows = json.loads(as_json(whole))
    assert [row for row in rows if row["interface"]] == counter_rows(whole)
    assert [row["host"] for row in rows if not row["interface"]] == [f"web{number}" for number in range(0, 50, 7)]
    assert rows[-1]["error"] == "no route to 49 \\x1b[2J"


def test_a_host_that_no_slice_has() -> None:
    whole = fleet(9)
    found = joined({"a.json": slice_of({"web1": whole["web1"]})}, ["web0", "web1"])
    assert found.problems == [] and found.counters["web0"] == {"msg": "no slice has this host"}
    assert list(joined({"a.json": slice_of(whole)}, []).counters) == list(whole), "without an inventory"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            {"a.json": slice_of(fleet(3)), "b.json": slice_of(fleet(2))},
            "a.json and b.json both have web0, web1: remove",
        ),
        ({"a.json": slice_of({"\x1b[2J": {}})}, r"the inventory does not have \x1b[2J"),
        ({"a.json": slice_of(fleet(30))}, "web18, web19 and 10 more"),
        ({"a.json": "{"}, "a.json was not written by a slice: it is not JSON"),
        ({"a.json": "[]"}, "it has no hosts in format 1"),
        ({"a.json": '{"format": 2, "hosts": {}}'}, "it has no hosts in format 1"),
        ({"a.json": '{"format": 1, "hosts": {}, "of": "news"}'}, "it is of none of counters, preflight, versions"),
        ({"a.json": '{"format": 1, "hosts": {"web1": 7}, "of": "counters"}'}, "what it says of a host is not what"),
        (
            {"a.json": '{"format": 1, "hosts": {"web1": [["eth0"]]}, "of": "versions"}'},
            "what it says of a host is not what",
        ),
        (
            {"a.json": '{"format": 1, "hosts": {"web1": {"answer": {}, "intended": [{}]}}, "of": "preflight"}'},
            "what it says of a host is not what",
        ),
    ],
)
def test_what_is_wrong_with_slices(texts: t.Dict[str, str], words: str) -> None:
    found = joined(texts, [f"web{number}" for number in range(10)])
    assert words in "; ".join(found.problems), found.problems


def test_a_slice_that_lies() -> None:
    """It may come from another machine: its answers are checked as those of hosts."""
    whole = fleet(3)
    whole["web1"]["ansible_facts"]["xdp_counter"]["interfaces"]["eth0"]["packets"] = "<script>"
    found = joined(cut(whole, 2), list(whole))
    rows = {(row["host"], row["interface"]): row for row in json.loads(as_json(found.counters))}
    assert "did not answer as xdp_counter_facts does" in rows["web1", None]["error"]
    assert rows["web2", "eth0"]["packets"] == 2 and "<script>\n" not in fleet_report(found.counters)


def run(folder: pathlib.Path, options: t.Mapping[str, t.Any], check: bool = False) -> Answer:
    action = object.__new__(ActionModule)
    action._task = types.SimpleNamespace(check_mode=check, diff=False, async_val=0)
    action._task.args = {"folder": str(folder / "rows"), **options}
    action._connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None))
    return action.run()


def test_the_module(tmp_path: pathlib.Path) -> None:
    whole = {name: answer for name, answer in fleet(9).items() if "failed" not in answer}
    (tmp_path / "rows").mkdir()
    for name, text in cut(whole, 3).items():
        (tmp_path / "rows" / name).write_text(text)
    (tmp_path / "rows/notes.txt").write_text("not a slice")
    paths = {"page": str(tmp_path / "fleet.html"), "rows": str(tmp_path / "rows.json")}
    assert run(tmp_path, paths, check=True)["changed"] and not (tmp_path / "fleet.html").exists()
    done = run(tmp_path, {**paths, "expected": list(whole)})
    assert (done["changed"], done["slices"], done["hosts"], done["problems"]) == (True, 3, len(whole), [])
    assert (tmp_path / "fleet.html").read_text() == fleet_report(whole)
    assert (tmp_path / "rows.json").read_text() == as_json(whole)
    assert not run(tmp_path, {**paths, "expected": list(whole)}).get("changed")
    done = run(tmp_path, {**paths, "expected": [*whole, "web99"]})
    assert done["problems"] == [f"1 of {len(whole) + 1} hosts in no slice: web99"] and not done.get("failed")
    (tmp_path / "rows/2.json").write_text("half a sl")
    with pytest.raises(AnsibleActionFail, match=r"nothing was written: 2\.json was not written by a slice"):
        run(tmp_path, paths)
    for path in (tmp_path / "rows").glob("*.json"):
        path.unlink()
    with pytest.raises(AnsibleActionFail, match=r"has no file of a slice: run ebpf.fleet.facts for each slice"):
        run(tmp_path, {})


def deployed(hosts: int) -> t.Dict[str, t.Dict[str, t.Any]]:
    """The variables of hosts; each fifth has failed."""
    found: t.Dict[str, t.Dict[str, t.Any]] = {}
    for number in range(hosts):
        found[f"web{number}"] = (
            {"ansible_failed_result": {}}
            if number % 5 == 4
            else {"xdp_attached": {"attachments": [{"interface": "eth0", "tag": f"aa{number % 2}"}]}}
        )
    return found


def test_versions_of_slices(tmp_path: pathlib.Path) -> None:
    whole = deployed(20)
    names = list(whole)
    (tmp_path / "rows").mkdir()
    for number in range(3):
        mine = names[number::3]
        (tmp_path / f"rows/{number}.json").write_text(slice_of(whole, "versions", mine, mine))
    done = run(tmp_path, {"page": str(tmp_path / "fleet.html"), "expected": names})
    assert done["lines"] == deployed_versions(whole, names, names)
    assert done["problems"] == ["4 of 20 hosts failed: web4, web9, web14, web19"]
    assert not (tmp_path / "fleet.html").exists(), "there are no counters"
    (tmp_path / "rows/2.json").unlink()
    done = run(tmp_path, {"expected": names})
    assert done["lines"][-1].startswith("no slice has this host  web2, web5, ") and "web2" in done["not_read"]
    assert done["problems"][0] == "6 of 20 hosts in no slice: web2, web5, web8, web11, web14, web17"


def found_out(hosts: int) -> t.Dict[str, t.Dict[str, t.Any]]:
    """The variables of hosts. Each fifth cannot be read, and each third has no interface eth7."""
    found: t.Dict[str, t.Dict[str, t.Any]] = {}
    for number in range(hosts):
        answer: Answer = {"failed": True, "msg": f"no route to {number}.example.org"}
        if number % 5:
            answer = {"ansible_facts": answers()["bpf_facts"]["ansible_facts"], "invocation": {}}
            answer["ansible_facts"]["bpf"]["obstacles"] = []
        interfaces = ["eth7"] if number % 3 == 0 else ["eth0"]
        found[f"web{number}"] = {
            "found": answer,
            "xdp_counter_interfaces": interfaces,
            "ansible_host": f"{number}.example.org",
        }
    return found


def test_preflight_of_slices(tmp_path: pathlib.Path) -> None:
    whole = found_out(20)
    names = list(whole)
    (tmp_path / "rows").mkdir()
    for number in range(3):
        text = slice_of(whole, "preflight", names[number::3], register="found")
        (tmp_path / f"rows/{number}.json").write_text(text)
    done = run(tmp_path, {"preflight": str(tmp_path / "preflight.json"), "expected": names})
    one = preflight(whole, names, "found")
    assert done["lines"] == one.pop("lines") and "  no route to HOST" in done["lines"]
    assert json.loads((tmp_path / "preflight.json").read_text()) == one
    assert done["problems"] == [
        "4 of 20 hosts not read: web0, web5, web10, web15",
        "5 of 20 hosts not ready: web3, web6, web9, web12, web18",
    ]


def test_slices_of_several_playbooks(tmp_path: pathlib.Path) -> None:
    """They may have the same hosts."""
    whole = deployed(2)
    texts = {"a.json": slice_of(whole, "versions", list(whole), list(whole)), "b.json": slice_of(fleet(2))}
    found = joined(texts, list(whole))
    assert found.problems == [] and list(found.counters) == list(found.versions) == list(whole) and not found.preflight


@pytest.mark.parametrize("of", ["preflight", "versions"])
def test_what_is_no_hostvars(of: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"of={of} takes hostvars"):
        slice_of({}, of, ["web1"])


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(AnsibleFilterError, match="not of 'news'"):
        slice_of({}, "news")
