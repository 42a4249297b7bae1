# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs Ansible, where, and how it is set up: fact caches, become for all, users without rights or home, strings."""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
import typing as t

import pytest
from commands import sh
from fleet import Fleet, recap
from host import Host
from paths import BPF, COLLECTIONS
from web_page import read_page

Compiled = t.Callable[..., str]
Rows = t.Dict[t.Tuple[str, t.Optional[str]], t.Dict[str, t.Any]]


def edit(
    fleet: Fleet, hosts: t.Optional[t.Mapping[str, t.Any]] = None, everyone: t.Optional[t.Mapping[str, t.Any]] = None
) -> None:
    """Change the variables of hosts in the inventory, and those of the group all."""
    inventory = json.loads(fleet.inventory.read_text())
    for name, variables in (hosts or {}).items():
        inventory["fleet"]["hosts"].setdefault(name, {}).update(variables)
    if everyone is not None:
        inventory["all"] = {"vars": everyone}
    fleet.inventory.write_text(json.dumps(inventory))


# Fact caches


@pytest.fixture
def cached(fleet: Fleet) -> t.Dict[str, t.Optional[str]]:
    """The environment for a fact cache."""
    return {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fleet.folder / "cache")}


def report(fleet: Fleet, *more: t.Any, **how: t.Any) -> t.Tuple[str, Rows]:
    """What the facts playbook prints, and the rows that it writes."""
    text = fleet.play("facts", "-e", "xdp_counter_report=report.json", *more, **how)
    rows = json.loads((fleet.folder / "report.json").read_text())
    return text, {(row["host"], row["interface"]): row for row in rows}


def test_only_what_was_read_now_is_shown(fleet: Fleet, cached: t.Dict[str, t.Optional[str]]) -> None:
    fleet.play("deploy", env=cached)
    text, rows = report(fleet, env=cached)
    assert re.search(r"two +eth0 +native ", text) and len(rows) == 4
    assert list((fleet.folder / "cache").iterdir()), "the cache is in use"

    edit(fleet, {"two": {"ansible_host": "gone"}})
    fleet.hosts[0].send("eth0", 7)
    text, rows = report(fleet, env=cached, fails=True)
    assert re.search(r"one +eth0 +native +7 ", text) and not re.search(r"two +eth0", text)
    assert re.search(r"two +not read: .*there is no network namespace 'gone'", text)
    assert set(rows) == {("one", "eth0"), ("one", "eth0.10"), ("two", None)}
    assert "no network namespace 'gone'" in rows["two", None]["error"] and rows["two", None]["packets"] is None
    assert "1 of 2 hosts not read: two" in text

    text, rows = report(fleet, "--limit", "one", env=cached)
    assert "two" not in text and set(rows) == {("one", "eth0"), ("one", "eth0.10")}

    edit(fleet, {"one": {"ansible_host": "gone"}})
    text, rows = report(fleet, env=cached, fails=True)
    assert re.search(r"one +not read: ", text) and set(rows) == {("one", None), ("two", None)}
    assert "2 of 2 hosts not read: one, two" in text


def test_a_host_that_fails_is_not_read(fleet: Fleet, cached: t.Dict[str, t.Optional[str]]) -> None:
    fleet.play("deploy", env=cached)
    report(fleet, env=cached)
    edit(fleet, {"two": {"xdp_counter_pin_root": "/tmp/x"}})
    text, rows = report(fleet, env=cached, fails=True)
    assert re.search(r"two +not read: .*/tmp/x", text)
    assert set(rows) == {("one", "eth0"), ("one", "eth0.10"), ("two", None)}


def test_the_filter_leaves_out_what_was_cached(fleet: Fleet, cached: t.Dict[str, t.Optional[str]]) -> None:
    fleet.play("deploy")
    fleet.play("facts", env=cached)
    play = fleet.folder / "own.yml"
    play.write_text(
        """
- hosts: one
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "before: {{ hostvars | ebpf.fleet.counter_rows('[].host') }}"
    - ebpf.fleet.xdp_counter_facts:
    - ansible.builtin.debug:
        msg: "after: {{ hostvars | ebpf.fleet.counter_rows('[].host') }}"
"""
    )
    text = fleet.run("ansible-playbook", play, env=cached)
    assert '"before: []"' in text and "\"after: ['one', 'one']\"" in text


def test_a_cached_default_route_is_not_taken(fleet: Fleet, cached: t.Dict[str, t.Optional[str]]) -> None:
    everywhere = ["-e", '{"xdp_counter_interfaces": []}', "--limit", "one"]
    one = fleet.hosts[0]
    one.enter("ip", "address", "add", "10.9.0.1/24", "dev", "eth0.10")
    one.enter("ip", "route", "add", "default", "via", "10.9.0.254")
    fleet.play("deploy", *everywhere, env=cached)
    fleet.play("remove", env=cached)
    one.enter("ip", "address", "del", "10.9.0.1/24", "dev", "eth0.10")
    one.enter("ip", "address", "add", "10.9.0.1/24", "dev", "eth0")
    one.enter("ip", "route", "add", "default", "via", "10.9.0.254")
    fleet.play("deploy", *everywhere, env=cached)
    assert one.xdp("eth0") and not one.xdp("eth0.10")


def test_facts_that_were_read_by_a_job_are_of_this_run(fleet: Fleet, cached: t.Dict[str, t.Optional[str]]) -> None:
    """With async, Ansible fetches what a module has answered in another way."""
    fleet.play("deploy")
    play = fleet.folder / "own.yml"
    play.write_text(
        """
- hosts: fleet
  gather_facts: false
  tasks:
    - {ebpf.fleet.xdp_counter_facts: {}, async: 60, poll: 1, register: read}
    - ansible.builtin.debug:
        msg: "{{ read.finished }} {{ hostvars | ebpf.fleet.counter_rows('[].host') }}"
      run_once: true
"""
    )
    text = fleet.run("ansible-playbook", play, env=cached)
    assert "True ['one', 'one', 'two', 'two']" in text
    later = ("ansible", "one", "-m", "ansible.builtin.debug", "-a", "msg={{hostvars|ebpf.fleet.counter_rows}}")
    assert '"msg": []' in fleet.run(*later, env=cached)


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
@pytest.mark.parametrize("build", ["controller", "prebuilt"])
def test_a_play_of_ones_own_in_which_hosts_do_not_wait(
    fleet: Fleet, compiled: Compiled, strategy: str, build: str
) -> None:
    play = fleet.folder / "own.yml"
    role = {"ansible.builtin.import_role": {"name": "ebpf.fleet.xdp_counter"}}
    read: t.Dict[str, t.Any] = {"ebpf.fleet.xdp_counter_facts": {}}
    play.write_text(
        json.dumps([{"hosts": "fleet", "gather_facts": False, "strategy": strategy, "tasks": [role, read]}])
    )
    how = ("-e", f"xdp_counter_build={build}", "-e", f"xdp_counter_object={compiled('packet_count')}")
    for options, changed in (("--check", 1), ("-v", 1), ("-v", 0)):
        text = fleet.run("ansible-playbook", play, options, *how)
        assert recap(text) == [("one", changed, 0), ("two", changed, 0)]
    assert all(host.xdp("eth0.10") for host in fleet.hosts)


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_a_strategy_in_which_hosts_do_not_wait_for_each_other(fleet: Fleet, strategy: str) -> None:
    env: t.Dict[str, t.Optional[str]] = {"ANSIBLE_STRATEGY": strategy}
    deployed = fleet.play("deploy", env=env)
    assert deployed.count('"versions": [') == 1 and re.search("one eth0, one eth0.10, two eth0, two eth0.10", deployed)
    text, rows = report(fleet, env=env)
    assert text.count("HOST  ") == 1 and "hosts not read" not in text and len(rows) == 4
    assert fleet.play("preflight", env=env).count("of 2 hosts are ready") == 1
    fleet.play("report", env=env)
    assert len(read_page(fleet.folder / "fleet.html").rows("all")) == 4


# become, connection and interpreter for all hosts

SUDO = """#!/bin/sh
# A sudo that notes in which network namespace it is used.
readlink /proc/self/ns/net >>{log}
while [ "$1" != root ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.parametrize(("localhost", "build"), [("implicit", "controller"), ("in the inventory", "prebuilt")])
def test_settings_for_the_hosts_are_not_for_the_controller(
    fleet: Fleet, compiled: Compiled, localhost: str, build: str
) -> None:
    sudo, log = fleet.folder / "sudo", fleet.folder / "log"
    sudo.write_text(SUDO.format(log=log))
    sudo.chmod(0o755)
    edit(
        fleet,
        everyone={
            "ansible_become": True,
            "ansible_become_exe": str(sudo),
            "ansible_connection": "ebpf.fleet.netns",
            "ansible_python_interpreter": "/nowhere/python3",
        },
    )
    if localhost != "implicit":
        inventory = json.loads(fleet.inventory.read_text())
        inventory["ungrouped"] = {"hosts": {"localhost": {}}}
        fleet.inventory.write_text(json.dumps(inventory))
    how = ["-e", "xdp_counter_hosts=fleet", "-e", f"xdp_counter_build={build}"]
    how += ["-e", f"xdp_counter_object={compiled('packet_count')}"]
    env: t.Dict[str, t.Optional[str]] = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"}  # else root needs no sudo
    fleet.play("deploy", *how, env=env)
    report(fleet, *how, env=env)
    fleet.play("inspect", *how, "-e", "xdp_counter_inspection=inspection", env=env)
    fleet.play("preflight", *how, "-e", "xdp_preflight_report=preflight.json", env=env)
    fleet.play("report", *how, env=env)
    used = set(log.read_text().split())
    assert used == {f"net:[{os.stat(f'/run/netns/{host.name}').st_ino}]" for host in fleet.hosts}
    assert all(
        (fleet.folder / each).exists() for each in ("inspection/differences.txt", "fleet.html", "preflight.json")
    )


# Users without rights, and without a home

# Runs a module as root, so that all is imported, and again as a user who may not read what root may.
AS_NOBODY = """
import contextlib, importlib, io, json, os, sys
from ansible.module_utils import basic
module = importlib.import_module(f"ansible_collections.ebpf.fleet.plugins.modules.{sys.argv[1]}")
basic._ANSIBLE_PROFILE = "legacy"
def run(options):
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode()
    with contextlib.suppress(SystemExit):
        module.main()
options = json.loads(sys.argv[2])
with contextlib.redirect_stdout(io.StringIO()):
    run({**options, "_ansible_check_mode": True})
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
run(options)
"""


def as_nobody(module: str, **options: t.Any) -> t.Dict[str, t.Any]:
    env = {"PYTHONPATH": str(COLLECTIONS), "PATH": os.environ["PATH"]}  # no HOME
    text = sh(sys.executable, "-W", "ignore", "-c", AS_NOBODY, module, json.dumps(options), env=env, cwd="/")
    return t.cast("dict[str, t.Any]", json.loads(text))


@pytest.fixture
def public(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A folder that all users can write to. Those above it are pytest's."""
    before = [(path, path.stat().st_mode) for path in [*tmp_path.parents][:2]]
    for path, _mode in before:
        path.chmod(0o755)
    tmp_path.chmod(0o1777)
    yield tmp_path
    for path, mode in before:
        path.chmod(mode)


def test_building_on_a_controller_that_is_a_host(host: Host, compiled: Compiled, public: pathlib.Path) -> None:
    deployed = public / "counter.bpf.o"
    deployed.write_bytes(pathlib.Path(compiled("counter")).read_bytes())
    host.ok("xdp_program", object=compiled("counter"), interfaces=["eth0"], name="packet_count")
    assert os.stat("/run/ebpf_fleet").st_mode & 0o777 == 0o700
    (found,) = as_nobody("bpf_object_info", path=[str(deployed)])["objects"]
    assert found["programs"][0]["name"]
    build = {"src": f"{public}/new/c.bpf.c", "content": (BPF / "counter.bpf.c").read_text()}
    for changed in (True, False):
        built = as_nobody("bpf_object", dest=f"{public}/new/c.bpf.o", return_content=True, **build)
        assert built.get("changed") == changed and built["content"], built
    refused = as_nobody("bpf_object", dest="/sys/nowhere/c.bpf.o", **build)
    assert "uid 65534 cannot create the folder /sys/nowhere: " in refused["msg"]
    assert "xdp_counter_controller_directory" in refused["msg"]


def test_building_as_a_user_without_a_home(fleet: Fleet, public: pathlib.Path) -> None:
    """It may read everything here, as this Python may be in root's home, but write only where a user may.

    Attaching then needs root, which it has not.
    """
    play = fleet.folder / "build.yml"
    play.write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: ebpf.fleet.xdp_counter}
      vars: {xdp_counter_build: controller, xdp_counter_interfaces: [lo]}
"""
    )
    remote = public / "remote"
    remote.mkdir(mode=0o700)
    os.chown(remote, 65534, 65534)
    readable = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    text = fleet.run(
        *("ansible-playbook", play),
        wrap=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *readable),
        env={"HOME": None, "ANSIBLE_HOME": str(public / "ansible"), "ANSIBLE_REMOTE_TEMP": str(remote)},
        fails=True,
    )
    assert "needs root and this ran as uid 65534" in text
    (built,) = (public / "ansible/.cache/ebpf.fleet").glob("*/packet_count.bpf.o")
    assert built.stat().st_size > 99 and built.stat().st_uid == 65534


def test_where_the_reports_are_written(fleet: Fleet) -> None:
    """Where the command is run, also if no shell says where that is, as under cron."""
    fleet.play("deploy")
    _text, rows = report(fleet, env={"PWD": None})
    assert len(rows) == 4
    fleet.play("inspect", env={"PWD": None})
    assert (fleet.folder / "inspection/one.json").exists()
    fleet.play("report", env={"PWD": None})
    assert (fleet.folder / "fleet.html").exists()


def test_inspect_names_the_hosts_that_it_has_not_seen(fleet: Fleet) -> None:
    fleet.play("deploy")
    edit(fleet, {"two": {"ansible_host": "gone"}})
    assert "two was not inspected: unreachable or failed" in fleet.play("inspect", fails=True)


# Strings, as -e NAME=VALUE gives them


def test_values_given_as_strings(fleet: Fleet) -> None:
    words = {
        "xdp_counter_interfaces": "eth0,eth0.10",
        "xdp_counter_rollback_after": "0",
        "xdp_counter_check_seconds": "0.1",
        "xdp_counter_persist": "no",
        "xdp_counter_install_packages": "no",
        "xdp_counter_defines": "A=1",
        "xdp_counter_cflags": "-mcpu=v2,-g",
        "xdp_counter_become": "no",
        "xdp_counter_serial": "1",
        "xdp_counter_max_fail_percentage": "0",
    }
    text = fleet.play("deploy", "-e", json.dumps(words))
    assert recap(text) == [("one", 1, 0), ("two", 1, 0)] and "Install the compiler" not in text
    assert fleet.hosts[1].xdp("eth0.10")
    assert recap(fleet.play("deploy", "-e", json.dumps(words))) == [("one", 0, 0), ("two", 0, 0)]


def test_a_yes_is_taken_as_one(fleet: Fleet) -> None:
    """Here no interface can be restored after a reboot. tests/unit/test_role.py has every word for it."""
    text = fleet.play("deploy", "--check", "--limit", "one", "-e", "xdp_counter_persist=Y", fails=True)
    assert "cannot be restored on eth0 after a reboot" in text
