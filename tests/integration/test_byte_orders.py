# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of different byte orders: objects for each, compiled here, and what a host does with a wrong one.

This machine is taken to be little-endian. A big-endian host is one that says that it is an s390x.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import sys
import typing as t

import pytest
from commands import sh
from fleet import Fleet, recap
from host import Host
from paths import ROOT

REFUSED = (
    "is big-endian eBPF, and this host (x86_64) is little-endian: give it an object compiled with clang -target bpfel"
)

# A Python for a host whose byte order is not this machine's. Only libbpf, which is this machine's, refuses the object
# that such a host would load.
PYTHON = """#!/bin/sh
PYTHONPATH={folder} exec {python} "$@"
"""
OPENED = "cannot be opened as a BPF object: libbpf says"

# With -o, as clang is also asked for its version.
NOTING = """#!/bin/sh
case " $* " in *" -o "*)
    for word; do
        [ "$last" != -target ] || echo "$word" >>{log}
        last=$word
    done
esac
exec clang "$@"
"""


@pytest.fixture
def task(tmp_path: pathlib.Path) -> t.Dict[str, t.Any]:
    shutil.copy(ROOT / "files/bpf/packet_count.bpf.c", tmp_path)
    return {"src": str(tmp_path / "packet_count.bpf.c"), "dest": str(tmp_path / "out/packet_count.bpf.o")}


def test_compiling_for_the_other_byte_order(host: Host, task: t.Dict[str, t.Any]) -> None:
    predicted = host.ok("bpf_object", check=True, byte_order="big", **task)
    built = host.ok("bpf_object", byte_order="big", disassemble=True, **task)
    assert predicted["checksum"] == built["checksum"] == sh("sha256sum", task["dest"]).split()[0]
    assert built["file_type"] == sh("file", "--brief", task["dest"]).strip()
    assert "MSB" in built["file_type"] and built["license"] == "Dual BSD/GPL" and built["has_btf"]
    assert (built["programs"], built["maps"]) == (None, None)
    assert any(line.endswith("exit") for line in built["disassembly"])
    assert not host.ok("bpf_object", byte_order="big", **task)["changed"]
    own = host.ok("bpf_object", **task)
    assert own["changed"] and own["reasons"] == ["the flags have changed"] and own["programs"]
    assert not host.ok("bpf_object", byte_order=sys.byteorder, **task)["changed"]


def test_flags_for_the_other_byte_order(host: Host, task: t.Dict[str, t.Any]) -> None:
    message = host.refused("bpf_object", cflags=["-target", "bpfeb"], **task)
    assert "for big-endian hosts, and it is to be an object for little-endian ones" in message
    assert "byte_order: big" in message and not pathlib.Path(task["dest"]).exists()
    build = {"src": task["src"], "cflags": ["-target", "bpfeb"]}
    assert "byte_order: big" in host.refused("xdp_program", object=task["dest"], build=build, interfaces=["eth0"])


def test_headers_of_the_other_byte_order(host: Host, task: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    """Those of this machine would be taken without a word, and the object would read packets wrongly."""
    source = pathlib.Path(task["src"])
    source.write_text(source.read_text().replace("#include", "#include <linux/ip.h>\n#include", 1))
    message = host.refused("bpf_object", byte_order="big", **task)
    assert "it includes /usr/include/linux/byteorder/little_endian.h" in message and "include_dirs" in message
    headers = tmp_path / "include"
    (headers / "asm").mkdir(parents=True)
    (headers / "asm/byteorder.h").write_text("#include <linux/byteorder/big_endian.h>\n")
    assert host.ok("bpf_object", byte_order="big", include_dirs=[str(headers)], **task)["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_host_refuses_the_wrong_byte_order(host: Host, task: t.Dict[str, t.Any], check: bool) -> None:
    built = host.ok("bpf_object", byte_order="big", return_content=True, **task)
    before = host.state()
    assert REFUSED in host.refused("xdp_program", check=check, object=task["dest"], interfaces=["eth0"])
    given = {"object": f"{task['dest']}.given", "content": built["content"], "interfaces": ["eth0"]}
    message = host.refused("xdp_program", check=check, **given)
    assert message.startswith(given["object"]) and REFUSED in message and "byte_order: little" in message
    assert host.state() == before and not pathlib.Path(given["object"]).exists()


def pretend(folder: pathlib.Path) -> str:
    """The path of a Python, for a host that says that it is big-endian."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.byteorder = 'big'\n")
    python = folder / "python"
    python.write_text(PYTHON.format(folder=folder, python=sys.executable))
    python.chmod(0o755)
    return str(python)


def noting(folder: pathlib.Path) -> t.Tuple[pathlib.Path, pathlib.Path]:
    """A clang that notes what it compiles for, and the file that it notes it in."""
    clang, log = folder / "clang", folder / "log"
    clang.write_text(NOTING.format(log=log))
    clang.chmod(0o755)
    return clang, log


def variables(folder: pathlib.Path, clang: pathlib.Path) -> t.Dict[str, t.Any]:
    return {
        "xdp_counter_build": "controller",
        "xdp_counter_clang": str(clang),
        "xdp_counter_controller_directory": str(folder / "objects"),
    }


def outcome(text: str, words: str = REFUSED) -> t.Dict[str, bool]:
    """Which hosts failed with these words. Ansible breaks no lines of an error."""
    failed = {host for host, said in re.findall(r"^fatal: \[(\w+)\]: (.*)$", text, re.M) if words in said}
    return {host: host in failed for host in re.findall(r"^(\w+) +: ok=", text, re.M)}


def test_the_controller_compiles_once_for_each_byte_order(tmp_path: pathlib.Path) -> None:
    """In check mode, on this machine's own lo: nothing is loaded. How the others fail shows which object they got."""
    fleet = Fleet(tmp_path, ())
    clang, log = noting(tmp_path)
    big = {"ansible_python_interpreter": pretend(tmp_path / "big")}
    everyone = {
        **variables(tmp_path, clang),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "xdp_counter_directory": str(tmp_path / "host"),
        "xdp_counter_interfaces": ["lo"],
        "xdp_counter_name": f"test-{os.getpid()}",
    }
    hosts = {"one": {}, "two": big, "three": big, "four": {}}
    fleet.inventory.write_text(json.dumps({"fleet": {"vars": everyone, "hosts": hosts}}))
    play = tmp_path / "play.yml"
    role = {"ansible.builtin.include_role": {"name": "ebpf.fleet.xdp_counter"}}
    play.write_text(json.dumps([{"hosts": "fleet", "gather_facts": False, "tasks": [role]}]))
    only = fleet.run("ansible-playbook", play, "--check", "--limit", "one")
    assert outcome(only, OPENED) == {"one": False} and log.read_text().split() == ["bpf"]
    text = fleet.run("ansible-playbook", play, "--check", fails=True)
    assert outcome(text, OPENED) == {"one": False, "two": True, "three": True, "four": False}
    assert sorted(log.read_text().split()) == ["bpf", "bpfeb"]


def test_deploying_to_both_byte_orders(fleet: Fleet) -> None:
    """One host is what it says, and the other is not."""
    clang, log = noting(fleet.folder)
    inventory = json.loads(fleet.inventory.read_text())
    inventory["fleet"]["vars"].update(variables(fleet.folder, clang))
    inventory["fleet"]["hosts"]["two"]["ansible_python_interpreter"] = pretend(fleet.folder / "big")
    fleet.inventory.write_text(json.dumps(inventory))
    before = fleet.hosts[1].state()
    text = fleet.play("deploy", fails=True)
    assert outcome(text, OPENED) == {"one": False, "two": True} and recap(text) == [("one", 1, 0), ("two", 0, 1)]
    assert fleet.hosts[0].xdp("eth0") and fleet.hosts[1].state() == before
    assert sorted(log.read_text().split()) == ["bpf", "bpfeb"]
    assert recap(fleet.play("deploy", "--limit", "one")) == [("one", 0, 0)]


def test_a_prebuilt_object_of_the_wrong_byte_order(fleet: Fleet, task: t.Dict[str, t.Any]) -> None:
    fleet.hosts[0].ok("bpf_object", byte_order="big", **task)
    prebuilt = ["-e", "xdp_counter_build=prebuilt", "-e", f"xdp_counter_object={task['dest']}"]
    before = [host.state() for host in fleet.hosts]
    for check in ([], ["--check"]):
        text = fleet.play("deploy", *prebuilt, *check, fails=True)
        assert outcome(text) == {"one": True, "two": True} and "xdp_counter_build: controller" in text
    assert [host.state() for host in fleet.hosts] == before and not (fleet.folder / "one").exists()
