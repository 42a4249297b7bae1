# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on a fleet in which the host `two` lies. Thousands of lies, without a fleet: test_hostile_hosts.py."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import RETURNED, checked
from answers import Answer, answers, counter
from commands import sh
from fleet import Fleet, recap
from host import Host
from web_page import read_page

Compiled = t.Callable[..., str]
Lie = t.Callable[..., None]

# A Python that answers what lies in a folder, for the modules for which something does.
LIAR = """#!{python}
import pathlib, re, subprocess, sys
code = sys.stdin.buffer.read()
found = re.search(rb"ansible_collections[.]ebpf[.]fleet[.]plugins[.]modules[.](\\w+)|ansible[.]modules[.](\\w+)", code)
lie = pathlib.Path("{lies}", next(filter(None, found.groups())).decode()) if found else None
if lie and lie.exists():
    sys.stdout.write(lie.read_text())
    sys.stderr.write("\\x1b[2JFORGED\\n")
else:
    sys.exit(subprocess.run([{python!r}, *sys.argv[1:]], input=code).returncode)
"""


@pytest.fixture
def lie(fleet: Fleet) -> Lie:
    """lie(MODULE=ANSWER, …): what `two` answers from now on; None: the truth. A string is written as it is."""
    lies = fleet.folder / "lies"
    lies.mkdir()
    liar = fleet.folder / "liar"
    liar.write_text(LIAR.format(python=sys.executable, lies=lies))
    liar.chmod(0o755)
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["hosts"]["two"]["ansible_python_interpreter"] = str(liar)
    fleet.inventory.write_text(json.dumps(inventory))

    def tell(**told: t.Any) -> None:
        for module, answer in told.items():
            (lies / module).unlink(missing_ok=True)
            if answer is not None:
                (lies / module).write_text(answer if isinstance(answer, str) else json.dumps(answer))

    return tell


def facts_with(**interfaces: t.Any) -> Answer:
    """Honest facts with these interfaces."""
    answer = answers()["xdp_counter_facts"]
    answer["ansible_facts"]["xdp_counter"]["interfaces"] = interfaces
    return answer


def check_terminal(text: str) -> None:
    """Nothing on the terminal is a command to it, and no line of the host begins where those of Ansible do."""
    assert all(line.replace("\t", " ").isprintable() for line in text.split("\n")), text
    assert not re.search("^(FORGED|.*ok: .one.*FORGED)", text, re.M), text


def report_rows(fleet: Fleet) -> t.List[Answer]:
    return t.cast("list[Answer]", json.loads((fleet.folder / "report.json").read_text()))


FORGED_ROW = 'x"\none                  eth0            native                 7                448            -'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (facts_with(eth0={"packets": 7}), "xdp_counter.interfaces.eth0 is a dictionary of 1, not one that has bytes"),
        (facts_with(**{FORGED_ROW: counter()}), "not a name that Linux allows for an interface"),
        (facts_with(**{"\x1b[2J\x9b2J \u202e": counter()}), "not a name that Linux allows for an interface"),
        ({"changed": False}, "not one that has ansible_facts"),
        ({"failed": True, "msg": "\x1b[2J\nFORGED\r\nFORGED", "warnings": ["\x9b2J\nFORGED"]}, r"\x1b"),
        ({"failed": True, "msg": {"a": 1}, "exception": "\x1b[2J\nFORGED", "deprecations": [{"msg": "\nFORGED"}]}, ""),
        ('{"failed": true, "msg": "no"}\n\x1b[2J\nFORGED\n', "no"),
        ("\x1b[2J\nFORGED", ""),
    ],
)
def test_facts(fleet: Fleet, lie: Lie, compiled: Compiled, answer: t.Any, words: str) -> None:
    for host in fleet.hosts:
        host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    lie(xdp_counter_facts=answer)
    text = fleet.play("facts", "-e", "xdp_counter_report=report.json", fails=True)
    check_terminal(text)
    assert re.search(r"one +eth0 +native +0 +0", text)
    assert re.search(rf"two +not read: .*{re.escape(words)}", text), text
    assert "1 of 2 hosts not read: two" in text
    assert [(row["host"], row["interface"], row["packets"]) for row in report_rows(fleet)] == [
        ("one", "eth0", 0),
        ("two", None, None),
    ]


def test_facts_watched(fleet: Fleet, lie: Lie) -> None:
    """Nor does a host say for how long it is read."""
    answer = {"failed": True, "msg": "\x1b[2J\nFORGED\r\nFORGED", "warnings": ["\x9b2J\nFORGED"]}
    lie(xdp_counter_facts=answer)
    text = fleet.play("facts", "-e", "xdp_counter_watch=1", "-e", "xdp_counter_watch_times=2", fails=True)
    check_terminal(text)
    assert len(re.findall(r"^two +not read: \\x1b\[2J FORGED\\x0d FORGED$", text, re.M)) == 2


def test_a_host_that_speaks_for_another(fleet: Fleet, lie: Lie, compiled: Compiled) -> None:
    fleet.hosts[0].ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    answer = facts_with(eth0={**counter(), "host": "one", "interface": "eth9", "program": "other"})
    answer.update(warnings=["\x1b[2J\nFORGED"], diff={"prepared": "\x1b[2J\nFORGED"})
    answer["ansible_facts"].update(xdp_counter_report="forged.json", xdp_counter_watch=1, ansible_connection="local")
    lie(xdp_counter_facts=answer)
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["hosts"] = dict(reversed(inventory["fleet"]["hosts"].items()))  # tasks that run once run for two
    fleet.inventory.write_text(json.dumps(inventory))
    text = fleet.play("facts", "--diff", warns="\\x1b[2J FORGED")
    check_terminal(text)
    assert not (fleet.folder / "forged.json").exists()
    fleet.play("facts", "-e", "xdp_counter_report=report.json", warns="FORGED")
    assert [(row["host"], row["interface"], row["packets"], row["program"]) for row in report_rows(fleet)] == [
        ("one", "eth0", 0, "packet_count"),
        ("two", "eth0", 189, "packet_count"),
    ]


def test_report(fleet: Fleet, lie: Lie, compiled: Compiled) -> None:
    """Markup and templates of a host are text on the page, and what is no answer is not read."""
    fleet.hosts[0].ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    lie(
        xdp_counter_facts=facts_with(
            **{"<script>": {**counter(), "exact": False, "inexact_because": "{{ 1 + 1 }}</td>"}}
        )
    )
    fleet.play("report")
    page = read_page(fleet.folder / "fleet.html")
    assert [tag for tag, _attributes in page.tags].count("script") == 1
    assert [(row["Host"], row["Interface"]) for row in page.rows("all")] == [("two", "<script>"), ("one", "eth0")]
    assert "{{ 1 + 1 }}</td>" in [row["Why"] for row in page.rows("remarks")]

    lie(xdp_counter_facts={"failed": True, "msg": "\x1b[2J</table><script>"})
    assert "1 of 2 hosts not read: two" in fleet.play("report", fails=True)
    (remark,) = read_page(fleet.folder / "fleet.html").rows("remarks")
    assert (remark["Host"], remark["Why"]) == ("two", r"\x1b[2J</table><script>")


def test_preflight(fleet: Fleet, lie: Lie) -> None:
    answer = answers()["bpf_facts"]
    forged = "\x1b[2J\nFORGED\r\nFORGED {{ 1 + 1 }}"
    answer["ansible_facts"]["bpf"]["obstacles"][0].update(problem=forged, remedy=forged, stops="all")
    lie(bpf_facts=answer)
    text = fleet.play("preflight", fails=True)
    check_terminal(text)
    assert "1 of 2 hosts are ready" in text and "1 of 2 hosts are not ready: two" in text and "{{ 1 + 1 }}" in text
    del answer["ansible_facts"]["bpf"]["obstacles"]
    lie(bpf_facts=answer)
    text = fleet.play("preflight", fails=True)
    check_terminal(text)
    assert "1 host: not read" in text and "1 of 2 hosts are not ready: two" in text


@pytest.mark.parametrize("name", ["../one/eth0", "../../escaped", "x" * 300])
def test_inspect(fleet: Fleet, lie: Lie, compiled: Compiled, name: str) -> None:
    for host in fleet.hosts:
        host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    fleet.play("inspect", "--limit", "one", "-e", "xdp_counter_inspection=deep/inspection")
    folder = fleet.folder / "deep/inspection"
    before = {path: path.read_bytes() for path in (folder / "one").rglob("*.txt")}
    info = answers()["bpf_program_info"]
    info["programs"][0]["xlated"] = ["FORGED"]
    lie(xdp_counter_facts=facts_with(**{name: counter()}), bpf_program_info=info)
    text = fleet.play("inspect", "-e", "xdp_counter_inspection=deep/inspection", "--diff", fails=True)
    check_terminal(text)
    assert "two did not answer as xdp_counter_facts does" in text and "two was not inspected" in text
    assert {path: path.read_bytes() for path in (folder / "one").rglob("*.txt")} == before
    assert sorted(path.name for path in folder.iterdir()) == ["differences.json", "differences.txt", "one", "one.json"]
    assert not (fleet.folder / "escaped").exists() and [path.name for path in folder.parent.iterdir()] == ["inspection"]


def test_what_inspect_writes_and_shows(fleet: Fleet, lie: Lie, compiled: Compiled) -> None:
    fleet.hosts[0].ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    told = answers()
    (program,) = told["bpf_program_info"]["programs"]
    program["xlated"] = ["   0: \x1b[2J\nFORGED"]
    program["problems"] = ["\x9b2J\nFORGED"]
    told["bpf_facts"]["ansible_facts"]["bpf"]["bpffs"] = "\x1b]0;x\x07"
    lie(
        **{module: told[module] for module in ("bpf_facts", "xdp_counter_facts", "bpf_program_info", "bpf_object_info")}
    )
    check_terminal(fleet.play("inspect", "--diff"))
    folder = fleet.folder / "inspection"
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
        if path.is_file():
            assert all(line.replace("\t", " ").isprintable() for line in path.read_text().split("\n")), path
    assert (folder / "two/eth0/xlated.txt").read_text() == "   0: \\x1b[2J\\x0aFORGED\n"


def deployed(**changes: t.Any) -> Answer:
    answer = answers()["xdp_program"]
    del answer["provisional"]
    answer["attachments"] = [{**answer["attachments"][0], **changes}]
    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (deployed(interface="eth0\nf00df00df00df00d  one eth0"), "not a name that Linux allows"),
        (deployed(tag="f00df00df00df00d  one eth0, x"), "not a hexadecimal number"),
        (deployed(tag=None, state="x  one eth0, x"), "not one word"),
        ({"changed": True}, "not one that has attachments"),
        ({"failed": True, "msg": "\nf00df00df00df00d  one eth0\x1b[2J"}, r"\x1b"),
    ],
)
def test_deploy(fleet: Fleet, lie: Lie, compiled: Compiled, answer: t.Any, words: str) -> None:
    lie(xdp_program=answer)
    how = ("-e", "xdp_counter_build=prebuilt", "-e", f"xdp_counter_object={compiled('packet_count')}")
    text = fleet.play("deploy", *how, fails=True)
    check_terminal(text)
    assert words in text, text
    assert re.search(r'"failed +two"', text) and re.search(r'"[0-9a-f]{16} +one eth0, one eth0.10"', text)
    assert not re.search(r'^ +"f00df00df00df00d +one', text, re.M)
    assert recap(text)[0] == ("one", 1, 0)


def test_a_confirmation_that_is_none(fleet: Fleet, lie: Lie, compiled: Compiled) -> None:
    """The change of that host fails at once; it is not asked for minutes."""
    lie(xdp_program=answers()["xdp_program"], xdp_confirm={"xdp": {"eth0": [{"by": 7}]}})
    how = ("-e", "xdp_counter_build=prebuilt", "-e", f"xdp_counter_object={compiled('packet_count')}")
    text = fleet.play("deploy", *how, "-e", "xdp_counter_rollback_after=60", fails=True)
    assert "two did not answer as xdp_confirm does: xdp.eth0[] is a dictionary of 1, not one that has mode" in text
    assert fleet.hosts[0].xdp("eth0")


def test_facts_are_no_settings_of_what_is_done_on_the_controller(
    fleet: Fleet, lie: Lie, tmp_path: pathlib.Path
) -> None:
    """What a host reports as facts become variables, which are stronger than those of the inventory."""
    secret = tmp_path / "secret"
    secret.write_text("of the operator")
    play = fleet.folder / "own.yml"
    play.write_text("[{hosts: two, gather_facts: true, roles: [ebpf.fleet.xdp_counter]}]")
    for build, setting in (("prebuilt", "xdp_counter_object"), ("controller", "xdp_counter_cflags")):
        facts = {"xdp_counter_build": build, setting: str(secret) if build == "prebuilt" else ["-include", str(secret)]}
        lie(setup={"changed": False, "ansible_facts": facts})
        text = fleet.run("ansible-playbook", play, "-v", fails=True)
        assert "two has the facts " in text and setting in text and "of the operator" not in text
        assert "b2YgdGhlIG9wZXJhdG9y" not in text, "the file in base64"


def test_facts_are_no_programs(fleet: Fleet, lie: Lie, tmp_path: pathlib.Path) -> None:
    """Neither the list of the role xdp nor how an item of it is built, and so no file that is sent to the host."""
    secret = tmp_path / "secret"
    secret.write_text("of the operator")
    play = fleet.folder / "own.yml"
    play.write_text("[{hosts: two, gather_facts: true, roles: [ebpf.fleet.xdp]}]")
    asked = {"name": "x", "interfaces": ["eth0"]}
    for more in ({"source": str(secret)}, {"object": str(secret)}, {"files": [{"src": str(secret), "dest": "/tmp/x"}]}):
        lie(setup={"changed": False, "ansible_facts": {"xdp_programs": [{**asked, **more}]}})
        text = fleet.run("ansible-playbook", play, "-v", fails=True)
        assert "two has the facts xdp_programs" in text and "of the operator" not in text
        assert "b2YgdGhlIG9wZXJhdG9y" not in text, "the file in base64"


def test_a_fact_that_was_cached_is_no_path_on_the_controller(fleet: Fleet, lie: Lie) -> None:
    env = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fleet.folder / "cache")}
    inventory = json.loads(fleet.inventory.read_text())
    del inventory["fleet"]["hosts"]["one"]
    fleet.inventory.write_text(json.dumps(inventory))
    forged = str(fleet.folder / "forged")
    names = ("xdp_counter_report", "xdp_counter_inspection", "xdp_report", "xdp_preflight_report")
    lie(setup={"changed": False, "ansible_facts": dict.fromkeys(names, forged)})
    fleet.run("ansible", "two", "-m", "ansible.builtin.setup", env=env)
    assert "two has a fact xdp_counter_report" in fleet.play("facts", env=env, fails=True)
    assert "two has a fact xdp_counter_inspection" in fleet.play("inspect", env=env, fails=True)
    assert "two has a fact xdp_report" in fleet.play("report", env=env, fails=True)
    assert "two has a fact xdp_preflight_report" in fleet.play("preflight", env=env, fails=True)
    assert not (fleet.folder / "forged").exists()


def test_what_honest_hosts_answer_passes_unchanged(host: Host, compiled: Compiled) -> None:
    """All that the modules return, so that nobody adds a value to a module that then goes missing."""
    path = compiled("packet_count")
    change = host.ok("xdp_program", object=path, interfaces=["eth0"], rollback_after=60)
    confirmed = host.ok("xdp_confirm", token=change["provisional"]["token"], interfaces=["eth0"])
    counters = {"name": "packet_count", "map": "counters"}
    entries = [{"key": 0, "value": {"packets": 7}}]
    filled = host.ok("bpf_map", **counters, entries=entries, rollback_after=60)
    host.ok("xdp_confirm", token=filled["provisional"]["token"], interfaces=[])
    told = {
        "xdp_program": change,
        "xdp_confirm": confirmed,
        "bpf_map": filled,
        "bpf_map_info": host.ok("bpf_map_info", **counters),
        "xdp_counter_facts": host.ok("xdp_counter_facts", interval=0.1, trace_seconds=0.1),
        "xdp_counter_check": host.ok("xdp_counter_check", seconds=0.1),
        "bpf_facts": host.ok("bpf_facts"),
        "bpf_program_info": host.ok("bpf_program_info", dump=["xlated", "jited"]),
        "bpf_object_info": host.ok("bpf_object_info", path=[path, "/gone"], disassemble=True),
    }
    assert set(told) == set(RETURNED) - {"xdp_metrics", "xdp_pull"}, (
        "they need systemd: tests/integration/test_xdp_*.py"
    )
    for module, answer in told.items():
        assert checked(module, answer) == answer, module


def test_an_object_does_not_quote_files_of_its_reader(host: Host, tmp_path: pathlib.Path) -> None:
    """Its line table names a file that whoever made it could not read; root disassembles it."""
    secret = tmp_path / "secret"
    source = tmp_path / "p.c"
    source.write_text(
        '__attribute__((section("xdp"), used))\n'
        f'#line 1 "{secret}"\n'
        'int f(void *ctx) { return 2; }\nchar LICENSE[] __attribute__((section("license"))) = "GPL";\n'
    )
    sh("clang", "-O2", "-g", "-target", "bpf", "-c", source, "-o", tmp_path / "p.bpf.o")
    secret.write_text("root:of the operator\n")
    assert "of the operator" in sh("llvm-objdump", "-S", tmp_path / "p.bpf.o"), "that is what llvm-objdump does"
    (found,) = host.ok("bpf_object_info", path=str(tmp_path / "p.bpf.o"), disassemble=True)["objects"]
    assert found["disassembly"][0].startswith("p.bpf.o:") and "of the operator" not in str(found)
    source.write_text(source.read_text().replace(f'#line 1 "{secret}"\n', ""))
    sh("clang", "-O2", "-g", "-target", "bpf", "-c", source, "-o", tmp_path / "p.bpf.o")
    (found,) = host.ok("bpf_object_info", path=str(tmp_path / "p.bpf.o"), disassemble=True)["objects"]
    assert "; int f(void *ctx) { return 2; }" in found["disassembly"]
