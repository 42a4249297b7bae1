# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role xdp, and xdp_counter as a face of it: what they make of their variables, and of what they know of a host."""

from __future__ import annotations

import functools
import importlib
import json
import pathlib
import re
import sys
import types
import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import BOOLEANS_TRUE
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.ebpf.fleet.plugins.modules.xdp_metrics import DOCUMENTATION
from paths import COLLECTIONS

ROLES = pathlib.Path(__file__).parents[2] / "roles"
ROLE, COUNTER = ROLES / "xdp", ROLES / "xdp_counter"
SOURCE = str(ROLES.parent / "examples/blocklist/blocklist.bpf.c")
PINS = "/sys/fs/bpf/ebpf_fleet"
Variables = t.Dict[str, t.Any]


def options(role: pathlib.Path) -> Variables:
    found = yaml_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    return t.cast(Variables, found)


@functools.lru_cache(maxsize=None)
def trusted(role: pathlib.Path, path: str) -> t.Any:
    return DataLoader().load_from_file(str(role / path), trusted_as_template=True)


def task(name: str, number: int = 0) -> Variables:
    return t.cast(Variables, trusted(ROLE, f"tasks/{name}.yml")[number])


def templar(extra: t.Optional[Variables] = None, **variables: t.Any) -> Templar:
    """With the variables of both roles, `extra` over these, and what Ansible knows of a host and of a run."""
    every = {
        "inventory_hostname": "web1",
        "playbook_dir": "/play",
        "role_path": str(ROLE),
        "ansible_check_mode": False,
        "ansible_playbook_python": "python3",
        "ansible_facts": {},
    }
    for role in (ROLE, COUNTER):
        every = {**every, **trusted(role, "defaults/main.yml"), **trusted(role, "vars/main.yml")}
    return Templar(DataLoader(), variables={**every, **(extra or {}), **variables})


def evaluated(expression: str, extra: t.Optional[Variables] = None, **variables: t.Any) -> t.Any:
    return templar(extra, **variables).evaluate_expression(trust_as_template(expression))


def program(number: int = 0, /, **variables: t.Any) -> Variables:
    """The variables with which a task file goes through a program of xdp_programs."""
    return {**task("main")["vars"], "xdp_part": [number, ""], **variables}


def counter(**variables: t.Any) -> Variables:
    """The variables with which a task file goes through the packet counter."""
    (imported,) = trusted(COUNTER, "tasks/main.yml")
    return {**imported["vars"], "xdp_counter_interfaces": ["eth0"], **variables}


def arguments(name: str, given: Variables) -> Variables:
    """The arguments of the only task of a file, without what it omits."""
    (only,) = trusted(ROLE, f"tasks/{name}.yml")
    (module,) = (key for key in only if "." in key)
    made = templar({**only.get("vars", {}), **given, "omit": "OMIT"}).template(only[module])
    return {key: value for key, value in made.items() if value != "OMIT"}


def attached(given: Variables, unchanged: bool = True, **of_task: t.Any) -> Variables:
    """What the task of attach.yml asks xdp_program for on the host; at last, if it asks again."""
    declared = importlib.import_module("ansible_collections.ebpf.fleet.plugins.action.xdp_declared")
    made = templar(given)
    program = {key: value for key, value in arguments("attach", given)["program"].items() if value != "OMIT"}
    task = {"args": {"program": program}, "check_mode": False, "async_val": 0, "module_defaults": [], "diff": False}
    task = {**task, "_role": None, "get_search_path": lambda: [str(ROLE)], **of_task}
    asked: t.List[Variables] = []

    class Host(declared.ActionModule):  # type: ignore[name-defined]
        def _execute_module(self, name: str, options: Variables, **_how: t.Any) -> Variables:
            assert name == "ebpf.fleet.xdp_program"
            asked.append({**options})
            answer = {"changed": False, "attachments": [], "steps": []}
            if "content_checksums" in options and not unchanged:
                answer["needs_content"] = {"byte_order": sys.byteorder, "checksum": None}
            return answer

    connection = types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None))
    how = {"play_context": types.SimpleNamespace(), "loader": DataLoader(), "shared_loader_obj": None}
    action = Host(task=types.SimpleNamespace(**task), connection=connection, templar=made, **how)
    asked.append(action.run(task_vars=made.available_variables))
    return asked[-2] if len(asked) > 1 else asked[0]


@pytest.fixture(scope="module", autouse=True)
def collections() -> t.Iterator[None]:
    """Ansible's own way to find filters and lookups, which does not know modules that others have imported."""
    ours = [name for name in sys.modules if name.split(".")[0] == "ansible_collections"]
    before, finders, hooks = {name: sys.modules.pop(name) for name in ours}, [*sys.meta_path], [*sys.path_hooks]
    init_plugin_loader([str(COLLECTIONS)])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "ansible_collections"]:
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:], sys.path_hooks[:] = finders, hooks
    sys.path_importer_cache.clear()


BLOCKLIST: Variables = {"name": "blocklist", "source": SOURCE, "interfaces": ["eth0"]}


# Options


def test_every_word_for_true() -> None:
    words = yaml_load((ROLE / "vars/main.yml").read_text())["xdp_true"]
    # A set has only one of 1, 1.0 and True.
    assert set(words) == {str(word).lower() for word in BOOLEANS_TRUE} | {"true", "1", "1.0"}


def test_every_bool_is_taken_by_its_words() -> None:
    """The string "no" is true to Jinja, and neither true nor false to a module's choices."""
    bools = {name for role in (ROLE, COUNTER) for name, option in options(role).items() if option["type"] == "bool"}
    packages, persist = {"xdp_install_packages", "xdp_counter_install_packages"}, {"xdp_persist", "xdp_counter_persist"}
    metrics = {"xdp_metrics", "xdp_counter_metrics"}
    assert bools == {"xdp_exclusive"} | packages | persist | metrics
    word: t.Any
    for word in ("no", "False", "off", "0", False):
        assert evaluated("xdp_parts | map('first')", xdp_programs=[BLOCKLIST], xdp_exclusive=word) == [0]
        assert evaluated("xdp_plain", xdp_programs=[BLOCKLIST], xdp_install_packages=word)
        assert needs(counter(xdp_counter_install_packages=word)) == []
    for word in ("yes", "Y", "TRUE", "1", 1, True):
        assert evaluated("xdp_parts | map('first')", xdp_programs=[BLOCKLIST], xdp_exclusive=word) == [-1, 0]
        assert not evaluated("xdp_plain", xdp_programs=[BLOCKLIST], xdp_install_packages=word)
        assert needs(counter(xdp_counter_install_packages=word)) == ["packages"]
    for word, state in (("no", "absent"), (False, "absent"), ("Y", "present"), (True, "present")):
        for given in (counter(xdp_counter_metrics=word), program(xdp_programs=[BLOCKLIST], xdp_metrics=word)):
            assert arguments("metrics", given)["state"] == state
    for word, passed in (("no", "false"), (False, "false"), ("Y", "true"), (True, "true")):
        for given in (
            counter(xdp_counter_persist=word),
            program(xdp_programs=[BLOCKLIST], xdp_persist=word),
            program(xdp_programs=[{**BLOCKLIST, "persist": word}], xdp_persist=not passed),
        ):
            assert attached(given)["persist"] == passed
    assert attached(counter())["persist"] == "auto"


def test_every_option_of_a_program_is_used() -> None:
    text = "".join(path.read_text() for folder in ("tasks", "vars") for path in (ROLE / folder).iterdir())
    used, known = set(re.findall(r"\bxdp_item\.(\w+)", text)), {*trusted(ROLE, "vars/main.yml")["xdp_item"]}
    assert used == known == {*counter()["xdp_item"]}
    wanted = {*arguments("attach", program(xdp_programs=[BLOCKLIST]))["program"]}
    assert {*options(ROLE)["xdp_programs"]["options"]} <= wanted
    # The counter has all but what it has no option for.
    without = {"among", "chain_call_actions", "copied", "files", "map_entries", "map_sizes", "variables"}
    assert {*arguments("attach", counter())["program"]} - {"validate"} == wanted - without
    sources = "".join(
        (ROLES.parent / f"plugins/{each}.py").read_text() for each in ("action/xdp_declared", "plugin_utils/declared")
    )
    assert {name for name in wanted if not re.search(f"""['"]{name}['"]""", sources)} == set()
    removal, metrics = trusted(COUNTER, "tasks/absent.yml")
    assert {*metrics["vars"]["xdp_metrics_item"]} == {*counter()["xdp_metrics_item"]}
    assert {*metrics["vars"]["xdp_metrics_item"]} == {*trusted(ROLE, "vars/main.yml")["xdp_metrics_item"]}
    text = (ROLE / "tasks/absent.yml").read_text()
    text += re.findall(r"^xdp_own_files:.*?(?=^# The names)", (ROLE / "vars/main.yml").read_text(), re.M | re.S)[0]
    assert set(re.findall(r"\bxdp_item\.(\w+)", text)) == {*removal["vars"]["xdp_item"]}
    assert removal["vars"]["xdp_item"].items() <= counter()["xdp_item"].items()
    common = {name[len("xdp_") :] for name in options(ROLE)} - {"programs", "exclusive"}
    assert {f"xdp_counter_{name}" for name in common} < {*options(COUNTER)}


def test_what_holds_for_a_program_that_says_nothing_else() -> None:
    given = program(xdp_programs=[BLOCKLIST], xdp_rollback_after=9, xdp_clang="clang-19", ansible_connection="local")
    made = attached(given)
    build = made.pop("build")
    assert build.pop("content") == pathlib.Path(SOURCE).read_text()
    directory = "/usr/local/lib/ebpf_fleet"
    assert build == {"src": f"{directory}/blocklist.bpf.c", "defines": {}, "cflags": [], "clang": "clang-19"}
    assert made == {
        "object": f"{directory}/blocklist.bpf.o",
        "name": "blocklist",
        "interfaces": ["eth0"],
        "rollback_after": 9,
        "check_seconds": 0,
        "persist": "auto",
        "pin_root": PINS,
    }


def test_all_that_a_program_may_say() -> None:
    said = {
        "program": "main",
        "mode": "native",
        "on_conflict": "replace",
        "dispatcher": "never",
        "priority": 20,
        "chain_call_actions": ["pass", "drop"],
        "maps": "reset",
        "variables": {"enforce": True},
        "map_sizes": {"block4": 9},
        "map_entries": [{"map": "allow4", "keys": ["192.0.2.0/24"]}],
        "rollback_after": 7,
        "check_seconds": 2,
    }
    compiling = {"defines": {"A": 1}, "cflags": ["-O1"]}
    made = attached(program(xdp_programs=[{**BLOCKLIST, **said, **compiling}]))
    assert {name: made[name] for name in said} == said
    assert {name: made["build"][name] for name in compiling} == compiling


def test_programs_of_one_interface_share_it() -> None:
    other = {**BLOCKLIST, "name": "other"}
    for beside, shared in (
        ([other], True),
        ([{**other, "interfaces": ["eth1", "eth0"]}], True),
        ([{**other, "interfaces": ["eth1"]}], False),
        ([{**other, "state": "absent"}], False),
        ([], False),
    ):
        made = attached(program(xdp_programs=[BLOCKLIST, *beside]))
        assert made.get("dispatcher") == ("always" if shared else None), beside
    made = attached(program(xdp_programs=[{**BLOCKLIST, "dispatcher": "never"}, other]))
    assert made["dispatcher"] == "never"
    assert attached(counter())["dispatcher"] == "auto"
    made = attached(counter(xdp_counter_dispatcher="always", xdp_counter_priority=7))
    assert (made["dispatcher"], made["priority"]) == ("always", 7)


@pytest.mark.parametrize(("connection", "seconds"), [("ssh", 60), ("ebpf.fleet.netns", 0)])
def test_who_may_be_locked_out(connection: str, seconds: int) -> None:
    for given in (counter(), program(xdp_programs=[BLOCKLIST])):
        assert attached({**given, "ansible_connection": connection})["rollback_after"] == seconds
    assert attached(counter(xdp_counter_rollback_after="5"))["rollback_after"] == "5"
    assert attached(program(xdp_programs=[BLOCKLIST], xdp_rollback_after=9))["rollback_after"] == 9


def test_settings_of_one_role_are_not_the_others() -> None:
    mine = {"xdp_directory": "/x", "xdp_pin_root": "/sys/fs/bpf/x", "xdp_check_seconds": 3, "xdp_build": "prebuilt"}
    made = attached(counter(**mine))
    assert (made["object"], made["pin_root"], made["check_seconds"]) == (
        "/usr/local/lib/ebpf_fleet/packet_count.bpf.o",
        PINS,
        1,
    )
    assert "packet_count" in made["build"]["content"] and "content" not in made


# What is done, and in which order


def needs(given: Variables) -> t.List[str]:
    return list(evaluated("xdp_needs[xdp_item.state] | map('trim') | select", given))


def test_what_is_done_before_a_program_is_attached() -> None:
    for build in ("target", "controller", "prebuilt"):
        assert needs(counter(xdp_counter_build=build)) == []
        assert needs(program(xdp_programs=[{**BLOCKLIST, "build": build}])) == []
    assert needs(program(xdp_programs=[{"name": "a", "object": "/a.bpf.o", "interfaces": ["lo"]}])) == []
    assert needs(program(xdp_programs=[{"name": "a", "state": "absent"}])) == ["absent"]
    assert needs(counter(xdp_counter_state="absent")) == ["absent", "metrics"]
    assert needs(counter(xdp_counter_metrics=False)) == needs(counter(xdp_counter_metrics=True)) == ["metrics"]
    copied = {**BLOCKLIST, "files": [{"src": "a", "dest": "/etc/a"}]}
    assert needs(program(xdp_programs=[copied])) == ["files"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"state": "absent"},
        {"interfaces": []},
        {"metrics": True},
        {"metrics": False},
        {"install_packages": "no"},
        {"install_packages": True},
        {"build": "controller", "install_packages": True},
        {"build": "prebuilt"},
    ],
)
def test_a_counter_that_needs_nothing_else_is_known_by_one_template(more: Variables) -> None:
    given = counter(**{f"xdp_counter_{name}": value for name, value in more.items()})
    loop = task("program")["loop"]
    assert templar(given).template(loop) == needs(given)
    if evaluated("xdp_attach_only", given):
        assert needs(given) == []
    else:
        assert more.keys() & {"state", "interfaces", "metrics", "install_packages"}


def test_a_removed_program_is_not_attached() -> None:
    for given in (counter(xdp_counter_state="absent"), program(xdp_programs=[{"name": "a", "state": "absent"}])):
        assert attached(given) == {"changed": False, "skipped": True}


def test_the_default_route_is_asked_for_once() -> None:
    everywhere = [{"name": "blocklist", "source": SOURCE}]
    known = {"default_ipv4": {}, "default_ipv6": {"interface": "eth1"}}
    assert needs(program(xdp_programs=everywhere)) == needs(counter(xdp_counter_interfaces=[])) == ["default_route"]
    assert needs(program(xdp_programs=everywhere, ansible_facts=known)) == []
    assert needs(program(xdp_programs=everywhere, ansible_facts=known, xdp_cached=True)) == ["default_route"]
    for given in (program(xdp_programs=everywhere), counter(xdp_counter_interfaces=[])):
        assert attached({**given, "ansible_facts": known})["interfaces"] == ["eth1"]
    both = {**known, "default_ipv4": {"interface": "eth0"}}
    assert evaluated("xdp_default_interface", ansible_facts=both) == "eth0"


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ({"state": "absent"}, {}),
        ({"interfaces": []}, {}),
        ({"files": [{"src": "a", "dest": "/etc/a"}]}, {}),
        ({}, {"xdp_install_packages": True}),
    ],
)
def test_a_program_that_needs_nothing_else_has_one_task(more: Variables, settings: Variables) -> None:
    files = "xdp_parts | map(attribute=1)"
    for build in ({}, {"build": "controller"}, {"source": "", "object": "/a.bpf.o"}):
        plain = [BLOCKLIST, {**BLOCKLIST, "name": "other", **build}]
        assert evaluated(files, xdp_programs=plain) == ["attach", "attach"]
    programs = [BLOCKLIST, {**BLOCKLIST, "name": "other", **more}]
    assert evaluated(files, xdp_programs=programs, **settings) == ["program", "program"]


def test_task_files_are_named_by_the_item_alone() -> None:
    """What imports tasks in such a file evaluates its name without the host, whose variables then are undefined."""
    (main,) = trusted(ROLE, "tasks/main.yml")
    assert set(re.findall(r"xdp_\w+", main["ansible.builtin.include_tasks"])) == {"xdp_part"}


def test_hosts_go_through_their_programs_in_order() -> None:
    """Ansible orders included files as the first host does; so what is not the same must not look the same."""

    def parts(programs: t.Sequence[Variables], **settings: t.Any) -> t.List[t.Tuple[t.Any, ...]]:
        return [tuple(part) for part in evaluated("xdp_parts", xdp_programs=programs, **settings)]

    one, two = BLOCKLIST, {**BLOCKLIST, "name": "other"}
    gone = {"name": "gone", "state": "absent"}
    fleets = [parts([one]), parts([two, one]), parts([gone, one]), parts([gone, two, one])]
    fleets += [parts(programs, xdp_exclusive=True) for programs in ([one], [gone, one], [])]
    fleets += [parts(programs, xdp_metrics=True) for programs in ([], [one], [two, one], [gone, one])]
    for first in fleets:
        for host in fleets:
            order = first + [part for part in host if part not in first]
            assert [part for part in order if part in host] == host
    assert parts([one])[0] == parts([two, one])[0], "hosts with different programs are done at once"


# Metrics

GONE: Variables = {"name": "gone", "state": "absent"}


@pytest.mark.parametrize(
    ("programs", "settings", "state", "removed"),
    [
        ([BLOCKLIST], {}, None, None),
        ([GONE, BLOCKLIST], {"xdp_exclusive": True}, None, None),
        ([], {}, None, None),
        ([BLOCKLIST], {"xdp_metrics": True}, "present", []),
        ([BLOCKLIST, GONE], {"xdp_metrics": False}, "absent", None),
        ([GONE], {"xdp_metrics": False}, "absent", None),
        ([GONE], {"xdp_metrics": True}, "absent", ["gone"]),
        ([GONE], {}, "absent", ["gone"]),
        ([], {"xdp_metrics": True}, "absent", []),
        ([], {"xdp_exclusive": True}, "absent", ["old"]),
        ([GONE], {"xdp_exclusive": "yes"}, "absent", ["gone", "old"]),
    ],
)
def test_metrics_go_with_the_last_program(
    programs: t.List[Variables], settings: Variables, state: t.Optional[str], removed: t.Optional[t.List[str]]
) -> None:
    """`state`: None if metrics stay as they are, without a task."""
    given = program(xdp_programs=programs, xdp_there=there(("/a.bpf.o", [f"{PINS}/old/eth0/program"])), **settings)
    parts = evaluated("xdp_parts", given)
    last = [tuple(part) for part in parts if part[1] == "metrics"]
    if state is None:
        assert last == []
        return
    assert last == [tuple(parts[-1])] and last[0][0] == len(programs)
    made = arguments("metrics", given)
    assert (made["state"], made.get("removed_programs")) == (state, removed)


def test_metrics_of_the_counter() -> None:
    given = counter(xdp_counter_metrics=True, xdp_counter_metrics_options={"interval": 5, "textfile_directory": "/x"})
    made = {"state": "present", "removed_programs": ["packet_count"], "pin_root": PINS}
    assert arguments("metrics", given) == {**made, "interval": 5, "textfile_directory": "/x"}
    gone = {**made, "state": "absent"}
    assert arguments("metrics", counter(xdp_counter_state="absent")) == gone
    assert arguments("metrics", counter(xdp_counter_state="absent", xdp_counter_metrics=True)) == gone
    removal = trusted(COUNTER, "tasks/absent.yml")[1]["vars"]
    assert arguments("metrics", removal) == gone
    del gone["removed_programs"]
    assert arguments("metrics", {**removal, "xdp_counter_metrics": False}) == gone
    assert arguments("metrics", counter(xdp_counter_metrics=False)) == gone


def test_metrics_have_the_options_of_the_module() -> None:
    module = {*yaml_load(DOCUMENTATION)["options"]} - {"state", "removed_programs"}
    for role, prefix in ((ROLE, "xdp_"), (COUNTER, "xdp_counter_")):
        given = options(role)[f"{prefix}metrics_options"]["options"]
        assert {*given} == module
    made = {"interval": 5, "textfile_directory": "/x", "maps": [{"program": "a", "map": "b"}], "series_limit": 3}
    assert made.items() <= arguments("metrics", program(xdp_programs=[BLOCKLIST], xdp_metrics_options=made)).items()


# Removing


def there(*programs: t.Tuple[t.Optional[str], t.Sequence[str]]) -> Variables:
    return {"programs": [{"object": path and {"path": path}, "pins": pins} for path, pins in programs]}


def test_what_exclusive_removes() -> None:
    found = there(
        ("/a.bpf.o", [f"{PINS}/old/eth0/program"]),
        ("/a.bpf.o", [f"{PINS}/old/eth1/program"]),
        ("/b.bpf.o", [f"{PINS}@blue/blocklist/eth0%2E10/program", f"{PINS}@%7/mine-2/lo/program"]),
        (None, [f"{PINS}/foreign/eth0/program"]),
        ("/c.bpf.o", [f"{PINS}_2/other-root/eth0/program", f"{PINS}/x/maps/counters", "/sys/fs/bpf/a/b/program"]),
        ("/d.bpf.o", []),
    )
    assert evaluated("xdp_running", xdp_there=found) == ["old", "blocklist", "mine-2"]
    assert evaluated("xdp_running", xdp_there=found, xdp_pin_root=f"{PINS}_2/") == ["other-root"]
    within = there(("/a.bpf.o", ["/sys/fs/bpf/@blue/old/eth0/program"]))
    assert evaluated("xdp_running", xdp_there=within, xdp_pin_root="/sys/fs/bpf") == ["old"]
    remove = task("exclusive", 1)
    names = evaluated(remove["loop"].strip("{} "), xdp_there=found, xdp_programs=[BLOCKLIST])
    assert sorted(names) == ["mine-2", "old"]
    removed = templar({**remove["vars"], "xdp_name": "old"}).template(task("absent")["ebpf.fleet.xdp_program"])
    assert removed == {"state": "absent", "name": "old", "pin_root": PINS}


@pytest.mark.parametrize("others", ["", "/opt/x/theirs\n"])
def test_what_is_removed_with_a_program(others: str) -> None:
    files = [{"src": "a", "dest": "/opt/x/a.txt"}, {"src": "b", "dest": "/etc/b.txt"}]
    given = program(xdp_programs=[{"name": "gone", "state": "absent", "files": files}], xdp_directory="/opt/x")
    argv = templar(given).template(task("absent", 1)["ansible.builtin.command"]["argv"])
    assert argv[:6] == ["find", "/opt/x", "-mindepth", "1", "-not", "-name"] and argv[6] == "gone.bpf.c"
    assert argv[-6:] == ["-not", "-path", "/opt/x/a.txt", "-not", "-path", "/etc/b.txt"]
    left = task("absent", 2)
    removed = templar({**left["vars"], **given, "xdp_others": {"stdout": others}}).template(left["loop"])
    if others:
        assert removed[:2] == ["/opt/x/gone.bpf.c", "/opt/x/gone.bpf.o"] and len(removed) == 6 + 2
        assert removed[-2:] == ["/opt/x/a.txt", "/etc/b.txt"] and all(each.startswith("/") for each in removed)
    else:
        assert removed == ["/opt/x", "/etc/b.txt"]


def test_check_mode_does_not_look_at_lists_that_are_not_there() -> None:
    entries = [
        {"map": "block4", "src": "/etc/a.txt"},
        {"map": "block6", "src": "/etc/b.txt"},
        {"map": "allow4", "keys": []},
    ]
    files = [{"src": "a", "dest": "/etc/a.txt"}, {"src": "b", "dest": "/etc/b.txt"}]
    copied = {"results": [{"changed": True, "item": files[0]}, {"changed": False, "item": files[1]}]}
    given = program(xdp_programs=[{**BLOCKLIST, "map_entries": entries, "files": files}], xdp_copied=copied)
    for check, maps in ((False, {"block4", "block6", "allow4"}), (True, {"block6", "allow4"})):
        made = attached(given, check_mode=check)
        assert {each["map"] for each in made["map_entries"]} == maps


def test_check_mode_does_not_compile_with_what_is_not_installed() -> None:
    for check, compiles in ((False, True), (True, False)):
        for given in (
            counter(xdp_installed={"changed": True}),
            program(xdp_programs=[BLOCKLIST], xdp_installed={"changed": True}),
        ):
            assert ("build" in attached(given, check_mode=check)) == compiles
    assert "build" in attached(counter(xdp_installed={"changed": False}), check_mode=True)


# What a host must not say, and what a user must


def says(expression: str, given: Variables) -> str:
    with pytest.raises(AnsibleError) as caught:
        json.dumps(evaluated(expression, given))
    return str(caught.value)


def refused(given: Variables) -> str:
    """What the task of attach.yml says, without having asked the host."""
    with pytest.raises(AnsibleError) as caught:
        attached(given)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted({*options(ROLE), *options(COUNTER)}))
def test_facts_are_no_settings(name: str) -> None:
    """Facts become variables that are stronger than those of the inventory."""
    facts = {"ansible_facts": {name: "forged", "xdp_counter": {}}}
    files = [{"src": "a", "dest": "/etc/a"}]
    copied = task("files")["ansible.builtin.copy"]["src"].strip("{} ")
    for given in (counter(**facts), program(xdp_programs=[{**BLOCKLIST, "object": "/x", "files": files}], **facts)):
        words = f"web1 has the facts {name}, which are settings"
        assert words in says(copied, {**given, "item": files[0]}) and words in refused(given)
    assert "web1 has the facts" in says("xdp_parts", program(xdp_programs=[BLOCKLIST], **facts))


def test_all_that_is_read_on_the_controller() -> None:
    """So that whoever adds a place guards it: lookups, tasks that run there, and tasks that copy from there."""
    vars_of = [str(value) for value in trusted(ROLE, "vars/main.yml").values() if "lookup(" in str(value)]
    assert {each for text in vars_of for each in re.findall(r"lookup\('([\w.]+)'", text)} == {"ansible.builtin.config"}
    found = {}
    for path in (ROLE / "tasks").iterdir():
        assert "lookup(" not in path.read_text()
        for each in trusted(ROLE, f"tasks/{path.name}"):
            module = next(key for key in each if "." in key)
            if "delegate_to" in each or module in ("ansible.builtin.copy", "ansible.builtin.template"):
                found[path.stem] = module
    assert found == {"files": "ansible.builtin.copy"}


def test_facts_of_the_counter_are_no_forgery() -> None:
    assert evaluated("xdp_made_up", ansible_facts={"xdp_counter": {}, "architecture": "x86_64"}) == []


def test_what_is_missing_is_named() -> None:
    said = refused(counter(xdp_counter_build="prebuilt"))
    assert "packet_count is prebuilt: set xdp_counter_object to the object file on the controller" in said
    said = refused(program(xdp_programs=[{"name": "a", "interfaces": ["lo"]}]))
    assert "a is prebuilt: set object to the object file" in said
    for build in ("target", "controller"):
        said = refused(program(xdp_programs=[{"name": "a", "interfaces": ["lo"], "build": build}]))
        assert "a is to be compiled: set its source to the C file" in said
    twice = [BLOCKLIST, {**BLOCKLIST, "interfaces": ["eth1"]}]
    assert "two programs of the same name: blocklist, blocklist" in says("xdp_parts", program(xdp_programs=twice))


def test_defaults_of_the_module() -> None:
    """module_defaults of xdp_program, as they had before this task had a module of its own."""
    defaults = [
        {"ebpf.fleet.xdp_program": {"allow_unsafe_paths": True, "mode": "generic"}, "ansible.builtin.copy": {"a": 1}}
    ]
    made = attached(counter(), module_defaults=defaults)
    assert made["allow_unsafe_paths"] is True and made["mode"] == "auto" and "a" not in made


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"state": "abscent"}, "value of xdp_counter_state must be one of: present, absent, got: abscent"),
        ({"build": "here"}, "value of xdp_counter_build must be one of: target, controller, prebuilt, got: here"),
        (
            {"check_seconds": "soon"},
            "argument 'xdp_counter_check_seconds' is of type str and we were unable to convert",
        ),
        ({"metrics": "perhaps"}, "argument 'xdp_counter_metrics' is of type"),
        ({"metrics": True, "metrics_options": {"colour": 1}}, "colour"),
        ({"install_packages": "perhaps"}, "argument 'xdp_counter_install_packages' is of type"),
        ({"defines": 7}, "argument 'xdp_counter_defines' is of type"),
    ],
)
def test_the_playbook_has_the_options_checked_without_a_task(wrong: Variables, words: str) -> None:
    """As Ansible does where the role is used otherwise. Whatever is said, no file before attach.yml fails."""
    given = counter(**{f"xdp_counter_{name}": value for name, value in wrong.items()}, xdp_counter_unchecked=True)
    assert words in refused(given)
    assert set(templar(given).template(task("program")["loop"])) <= {"metrics"}
    (play,) = trusted(ROLES.parent, "playbooks/deploy.yml")
    (imported,) = play["tasks"][0]["block"]
    assert imported["ansible.builtin.import_role"]["rolespec_validate"] is False
    assert imported["vars"] == {"xdp_counter_unchecked": True}


def test_options_that_are_right_are_taken() -> None:
    made = {"interfaces": "eth0,eth1", "check_seconds": "0.5", "persist": "no", "metrics_options": {"interval": "9"}}
    given = counter(**{f"xdp_counter_{name}": value for name, value in made.items()}, xdp_counter_unchecked=True)
    assert attached(given)["interfaces"] == "eth0,eth1"


def test_what_must_be_reachable_gives_a_change_a_minute_whatever_the_connection() -> None:
    local = counter(ansible_connection="local")
    assert {"rollback_after": 0}.items() <= attached(local).items() and "reachable" not in attached(local)
    pulls = attached({**local, "xdp_pulled": True})
    assert (pulls["reachable"], pulls["rollback_after"]) == (["gateway"], 60)
    given = attached(
        {**local, "xdp_pulled": True, "xdp_counter_reachable": ["git:22"], "xdp_counter_rollback_after": 9}
    )
    assert (given["reachable"], given["rollback_after"]) == (["git:22"], 9)
    final = attached({**local, "xdp_pulled": True, "xdp_counter_rollback_after": 0})
    assert final["rollback_after"] == 0 and "reachable" not in final
    none = attached({**local, "xdp_pulled": True, "xdp_counter_reachable": []})
    assert none["rollback_after"] == 0 and "reachable" not in none
    each = program(
        xdp_programs=[{**BLOCKLIST, "reachable": ["h:1"]}], xdp_reachable=["gateway"], ansible_connection="ssh"
    )
    assert (attached(each)["reachable"], attached(each)["rollback_after"]) == (["h:1"], 60)
