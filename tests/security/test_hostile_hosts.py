# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that answer anything at all: they speak for nobody else, write nowhere, and do nothing to the terminal."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import pathlib
import tempfile
import types
import typing as t

import jinja2
import pytest
from ansible_collections.ebpf.fleet.plugins.filter import counter_rows as filter_file
from ansible_collections.ebpf.fleet.plugins.filter.counter_table import counter_table
from ansible_collections.ebpf.fleet.plugins.filter.deployed_versions import deployed_versions
from ansible_collections.ebpf.fleet.plugins.filter.fleet_report import fleet_report
from ansible_collections.ebpf.fleet.plugins.filter.preflight import preflight
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import checked, refusal
from ansible_collections.ebpf.fleet.plugins.module_utils.border.kinds import Unacceptable
from ansible_collections.ebpf.fleet.plugins.module_utils.border.text import one_line
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection import report
from answers import Answer, answers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from paths import ROOT
from web_page import WebPage

SETTINGS = settings(
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # a failure names its answer; to make it smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
INSPECTED = ("bpf_facts", "xdp_counter_facts", "bpf_program_info", "bpf_object_info")

NAMES = (
    *("..", ".", "", "../one/eth0", "../../../../../../tmp/evil", "/etc/passwd", "a/b", "programs.txt", "x" * 300),
    *(
        "eth0\none  eth0  native  7  448  -",
        "eth0\x1b[2J",
        "eth0\x9b31m",
        "a\0b",
        "eth0\u202e",
        "\ud800",
        "one eth0",
        "%s",
    ),
    *("{{ 7 * 7 }}", "eth0,one", "\u2028one", "eth0\rone", "xlated.txt", "%2E%2E", "\\xff\\xfe", "host", "interface"),
)
LEAVES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.sampled_from([1 << 31, 1 << 32, 1 << 64, 1 << 200, 1 << 2000, -1]),
    some.floats(),
    some.sampled_from(NAMES),
    some.text(alphabet=some.characters(), max_size=12),
)
VALUES = some.recursive(
    LEAVES,
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.dictionaries(some.sampled_from([*NAMES, "eth0", "tag", "error", "msg"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def places(value: t.Any, path: t.Tuple[t.Any, ...] = ()) -> t.Iterator[t.Tuple[t.Any, ...]]:
    """The paths of all values in an answer."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from places(each, (*path, key))


@some.composite
def lies(draw: t.Any, module: str) -> Answer:
    """An honest answer, in which up to four values are changed, missing, renamed or too many."""
    answer = answers()[module]
    for _change in range(draw(some.integers(1, 4))):
        if not answer:
            break
        *above, last = draw(some.sampled_from(list(places(answer))))
        parent: t.Any = answer
        for key in above:
            parent = parent[key]
        how = draw(some.sampled_from(["change", "change", "change", "remove", "rename", "add"]))
        if how == "remove":
            del parent[last]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(some.sampled_from(NAMES))] = parent.pop(last)
        elif how == "add" and isinstance(parent, dict):
            extra = draw(
                some.sampled_from(["host", "interface", "program", "failed", "unreachable", "msg", "add_host", "run"])
            )
            parent[extra] = draw(some.one_of(some.just("one"), VALUES))
        else:
            parent[last] = draw(VALUES)
    return answer


def arrived(host: str, module: str, answer: Answer) -> Answer:
    """What the action makes of an answer. Nothing but Unacceptable may come out of it."""
    try:
        return checked(module, answer)
    except Unacceptable as error:
        sentence = refusal(host, module, error)
        assert sentence.startswith(f"{host} did not answer as {module} does: ") and sentence.isprintable()
        return {"failed": True, "msg": sentence}


@functools.lru_cache(maxsize=None)
def template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["ebpf.fleet.one_line"] = one_line
    environment.filters["to_json"] = json.dumps
    return environment.from_string((ROOT / f"playbooks/templates/{name}").read_text())


def rendered(name: str, **variables: t.Any) -> t.List[str]:
    return template(name).render(variables).splitlines()


def check_lines(lines: t.Sequence[str]) -> None:
    """No line of a table can do more to a terminal than be read."""
    assert all(line.isprintable() for line in lines), lines


# The table of facts, and its JSON


@pytest.fixture(autouse=True, scope="module")
def warnings() -> t.Iterator[t.List[str]]:
    """What the filter warns of."""
    said: t.List[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(filter_file, "Display", lambda: types.SimpleNamespace(warning=said.append))
        yield said


def facts_table(hosts: t.Mapping[str, Answer]) -> t.Tuple[t.List[Answer], t.List[str], t.List[Answer]]:
    """As playbooks/facts.yml makes it: rows, lines, and rows of those that were not read."""
    rows = filter_file.counter_rows(hosts)
    not_read = {host: answer for host, answer in hosts.items() if "ansible_facts" not in answer}
    unread = json.loads("".join(rendered("not_read.json.j2", not_read=not_read)))
    return rows, counter_table(rows, not_read), unread


HONEST_TABLE = facts_table({"one": answers()["xdp_counter_facts"]})


@SETTINGS
@given(lies("xdp_counter_facts"))
def test_facts_of_a_host_that_lies(answer: Answer) -> None:
    hosts = {name: arrived(name, "xdp_counter_facts", each) for name, each in with_honest(answer)}
    rows, lines, unread = facts_table(hosts)
    assert [row for row in rows if row["host"] == "one"] == HONEST_TABLE[0]
    mine = [line.split() for line in lines if line.startswith(("one ", "HOST "))]  # the widths are those of all rows
    assert sorted(mine) == sorted(line.split() for line in HONEST_TABLE[1] if not line.startswith("TOTAL "))
    assert all(line.startswith(("one ", "HOST ", "two ", "TOTAL ")) for line in lines)
    assert {row["host"] for row in rows} <= {"one", "two"} and {row["program"] for row in rows} == {"packet_count"} | {
        row["program"] for row in rows if row["host"] == "two"
    }
    assert bool(unread) == bool(hosts["two"].get("failed")) and {row["host"] for row in unread} <= {"two"}
    check_lines(lines)
    json.dumps(rows, allow_nan=False).encode()


@functools.lru_cache(maxsize=None)
def tags(text: str) -> t.Set[str]:
    return {tag for tag, _given in WebPage(text).tags}


HONEST_PAGE = fleet_report({"one": answers()["xdp_counter_facts"], "two": {"failed": True}, "three": {"failed": True}})


@SETTINGS
@given(some.one_of(lies("xdp_counter_facts"), VALUES))
def test_the_page_of_a_host_that_lies(answer: t.Any) -> None:
    """Also of what came past the action."""
    honest = answers()["xdp_counter_facts"]
    for told in (answer, arrived("two", "xdp_counter_facts", answer) if isinstance(answer, dict) else None):
        text = fleet_report({"two": told, "one": honest})
        text.encode()
        shown = WebPage(text)
        assert {tag for tag, _given in shown.tags} <= tags(HONEST_PAGE) | {"code", "svg", "path", "rect", "ol", "li"}
        rows = [row for row in shown.rows("all") if row["Host"] == "one"]
        assert [(row["Interface"], row["Packets"]) for row in rows] == [("eth0", "189"), ("eth0.10", "7")]
        assert {row["Host"] for row in shown.rows("all")} <= {"one", "two"}


@SETTINGS
@given(some.one_of(lies("bpf_facts"), VALUES))
def test_a_host_that_lies_about_its_problems(answer: t.Any) -> None:
    """Also of what came past the action. It is ready or not, and the others are what they are."""
    honest = {"found": answers()["bpf_facts"]}
    for told in (answer, arrived("two", "bpf_facts", answer) if isinstance(answer, dict) else None):
        found = preflight({"two": {"found": told}, "one": honest}, ["two", "one"], "found")
        assert found["blocked"].count("one") == 1
        assert sorted([*found["ready"], *found["blocked"], *found["not_read"]]) == ["one", "two"]
        check_lines(found["lines"])
        assert all(line.startswith(" ") or line.split()[0].isdigit() for line in found["lines"] if line)
        json.dumps(found, allow_nan=False).encode()


@SETTINGS
@given(some.one_of(VALUES, lies("xdp_counter_facts").map(lambda answer: answer.get("ansible_facts"))))
def test_facts_that_came_past_the_action(facts: t.Any) -> None:
    """By async, or from setup: the filter checks them itself, and leaves the host out."""
    rows, lines, _unread = facts_table({"two": {"ansible_facts": facts}, "one": answers()["xdp_counter_facts"]})
    assert [row for row in rows if row["host"] == "one"] == HONEST_TABLE[0]
    assert {row["host"] for row in rows} <= {"one", "two"}
    check_lines(lines)


def with_honest(answer: Answer) -> t.List[t.Tuple[str, Answer]]:
    return [("two", answer), ("one", answers()["xdp_counter_facts"])]


@SETTINGS
@given(VALUES)
def test_a_host_that_says_why_it_failed(msg: t.Any) -> None:
    failed = arrived("two", "xdp_counter_facts", {"failed": True, "msg": msg})
    # And what ssh or a shell said, which Ansible reports itself.
    for answer in (failed, {"unreachable": True, "msg": msg}, {"failed": True}):
        _rows, lines, unread = facts_table({"two": answer})
        assert len(lines) == 2 and lines[1].startswith("two ") and len(unread) == 1
        check_lines(lines)


# The table of deploy


@SETTINGS
@given(lies("xdp_program"), some.booleans(), VALUES)
def test_the_table_of_deploy(answer: Answer, failed: bool, fact: t.Any) -> None:
    two = {"xdp_attached": arrived("two", "xdp_program", answer), "ansible_facts": {}}
    if failed:
        two["ansible_failed_result"] = two["xdp_attached"]
    honest = arrived("one", "xdp_program", answers()["xdp_program"])
    # `three` has not run the task, and has a fact of the name of its result.
    made_up = {"xdp_attached": fact, "ansible_facts": {"xdp_attached": fact}}
    hostvars = {"two": two, "one": {"xdp_attached": honest, "ansible_facts": {}}, "three": made_up}
    lines = deployed_versions(hostvars, list(hostvars), ["one"])
    said = [cell for line in lines for cell in line.rpartition("  ")[2].split(", ") if cell.startswith("one ")]
    assert sorted(said) == ["one eth0", "one eth1"], lines
    assert sum("three" in line for line in lines) == 1
    check_lines(lines)


@SETTINGS
@given(
    some.sampled_from(["xdp_confirm", "xdp_counter_check"]).flatmap(
        lambda name: some.tuples(some.just(name), lies(name))
    )
)
def test_what_follows_a_change(asked: t.Tuple[str, Answer]) -> None:
    answer = arrived("two", *asked)
    for interface, programs in answer.get("xdp", {}).items():
        assert interface.isprintable() and all(isinstance(each["program_id"], int) for each in programs)


# inspect


class Module:
    """As much of an AnsibleModule as writes files."""

    check_mode = False

    def __init__(self, **params: t.Any) -> None:
        self.params = params
        self.warnings: t.List[str] = []
        self.warn = self.warnings.append

    def selinux_enabled(self) -> bool:
        return False


def fact(answer: Answer, name: str) -> t.Any:
    facts = answer.get("ansible_facts")
    return facts.get(name) if isinstance(facts, dict) else None


def inspection(folder: pathlib.Path, hosts: t.Mapping[str, t.Mapping[str, Answer]]) -> t.Tuple[Module, Answer]:
    """What playbooks/inspect.yml passes to the report."""
    module = Module(
        dest=str(folder),
        bpf={name: fact(each["bpf_facts"], "bpf") for name, each in hosts.items()},
        counters={name: fact(each["xdp_counter_facts"], "xdp_counter") for name, each in hosts.items()},
        programs={name: each["bpf_program_info"] for name, each in hosts.items()},
        objects={name: each["bpf_object_info"] for name, each in hosts.items()},
    )
    return module, report.write(t.cast("t.Any", module))


def contents(folder: pathlib.Path) -> t.Dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def honest_host() -> t.Dict[str, Answer]:
    return {name: answers()[name] for name in INSPECTED}


@pytest.fixture(scope="module")
def honest_files(tmp_path_factory: pytest.TempPathFactory) -> t.Dict[str, bytes]:
    folder = tmp_path_factory.mktemp("honest")
    inspection(folder / "inspection", {"one": honest_host()})
    return {name: each for name, each in contents(folder / "inspection").items() if name.startswith("one")}


@pytest.fixture(scope="module")
def _no_fsync() -> t.Iterator[None]:
    """Thousands of small files."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _fd: None)
        yield


def named(name: str) -> t.Dict[str, Answer]:
    """All that a host says is honest, but for the name of its interface."""
    host = honest_host()
    for facts in (host["xdp_counter_facts"]["ansible_facts"]["xdp_counter"], host["bpf_facts"]["ansible_facts"]["bpf"]):
        facts["interfaces"][name] = facts["interfaces"].pop("eth0")
    return host


LIARS = some.one_of(
    some.sampled_from(INSPECTED).flatmap(lambda name: lies(name).map(lambda answer: {**honest_host(), name: answer})),
    some.sampled_from(NAMES).map(named),
)


@pytest.mark.usefixtures("_no_fsync")
@SETTINGS
@given(LIARS, some.booleans())
def test_inspection_of_a_host_that_lies(
    honest_files: t.Dict[str, bytes], liar: t.Dict[str, Answer], past_the_action: bool
) -> None:
    """The report checks its input itself, as it may be given what no action has checked."""
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "above/inspection"
        if not past_the_action:
            with contextlib.suppress(Unacceptable):
                liar = {name: checked(name, answer) for name, answer in liar.items()}
        module, result = inspection(folder, {"two": liar, "one": honest_host()})
        files = contents(folder)
        assert {name: each for name, each in files.items() if name.startswith("one")} == honest_files
        assert {name.partition("/")[0] for name in files} <= {
            *("one", "one.json", "two", "two.json", "differences.txt", "differences.json")
        }
        assert set(contents(pathlib.Path(work))) == {f"above/inspection/{name}" for name in files}
        assert bool(result["refused"]) != ("two.json" in files)
        assert all(sentence.startswith("two did not answer as ") for sentence in result["refused"])
        for name, content in files.items():
            check_lines(content.decode().replace("\t", " ").split("\n"))
            assert (folder / name).stat().st_mode & 0o777 == 0o600
        check_lines([*module.warnings, *result["differences"], *result["files"]])
        for each in result["diff"]:
            check_lines((each["before"] + each["after"]).replace("\t", " ").split("\n"))
            check_lines([each["before_header"], each["after_header"]])


@pytest.mark.parametrize("umask", [0, 0o77])
def test_kernel_addresses_are_for_who_runs_it(tmp_path: pathlib.Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        inspection(tmp_path / "new/inspection", {"one": honest_host()})
    finally:
        os.umask(before)
    for path in (tmp_path / "new/inspection").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "new/inspection").stat().st_mode & 0o777 == 0o700


def test_what_the_release_before_has_left_open_is_closed(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "inspection"
    inspection(folder, {"one": honest_host(), "two": honest_host()})
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    old = copy.deepcopy(contents(folder))
    module = Module(
        dest=str(folder),
        **{option: {"one": inspected(option)} for option, _check, _module in report.COLLECTED},
    )
    module.check_mode = True
    assert report.write(t.cast("t.Any", module))["changed"] and (folder / "one.json").stat().st_mode & 0o777 == 0o644
    module.check_mode = False
    assert report.write(t.cast("t.Any", module))["changed"] and contents(folder) == old
    assert not report.write(t.cast("t.Any", module))["changed"]
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in (folder / "one").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    # A folder in which there is more is not closed for others; what is the inspection's is.
    (folder / "more").write_text("")
    folder.chmod(0o755)
    report.write(t.cast("t.Any", module))
    assert folder.stat().st_mode & 0o777 == 0o755 and (folder / "one").stat().st_mode & 0o777 == 0o700


def inspected(option: str) -> t.Any:
    host = honest_host()
    return {
        "bpf": host["bpf_facts"]["ansible_facts"]["bpf"],
        "counters": host["xdp_counter_facts"]["ansible_facts"]["xdp_counter"],
        "programs": host["bpf_program_info"],
        "objects": host["bpf_object_info"],
    }[option]


def test_escape_sequences_of_the_release_before_are_not_shown(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "inspection"
    inspection(folder, {"one": honest_host()})
    (folder / "one/programs.txt").write_text("\x1b[2J\n")
    _module, result = inspection(folder, {"one": honest_host()})
    (shown,) = [each for each in result["diff"] if each["before_header"] == "one/programs.txt"]
    assert shown["before"] == "\\x1b[2J\n"


def test_a_folder_of_somebody_else(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "inspection"
    folder.mkdir()
    os.chown(folder, 4242, 4242)
    with pytest.raises(FleetError, match=r"belongs to user 4242"):
        inspection(folder, {"one": honest_host()})
