# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input fails with one clear paragraph and changes nothing. Host.refused checks both."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from commands import bpftool, sh
from host import Host
from paths import COLLECTIONS, ROOT

Compiled = t.Callable[..., str]


@pytest.fixture
def attach(host: Host, compiled: Compiled) -> t.Callable[..., str]:
    """attach(OPTION=…): the paragraph with which xdp_program refuses."""
    usual = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    return lambda **options: host.refused("xdp_program", **{**usual, **options})


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ("nope0", "there is no interface nope0"),
        ("a/b", "interface 'a/b' cannot exist"),
        ("../eth0", "interface '../eth0' cannot exist"),
        (".", "interface '.' cannot exist"),
        ("..", "interface '..' cannot exist"),
        ("eth0.99", "there is no interface eth0.99"),
        ("x" * 200, "cannot exist: Linux allows 1 to 15 characters, in an alternative name 127"),
        ("x" * 127, "a name of more than 15 characters can only be an alternative name"),
        ("", "interface '' cannot exist"),
        ("eth 0", "interface 'eth 0' cannot exist"),
    ],
)
def test_interfaces(attach: t.Callable[..., str], interface: str, words: str) -> None:
    message = attach(interfaces=[interface])
    assert words in message and len(message) < 300


@pytest.mark.parametrize("name", ["a/b", "a.b", "..", "x" * 200, "", "a b", "%new"])
def test_names(host: Host, attach: t.Callable[..., str], name: str) -> None:
    if name:
        message = attach(name=name)
        assert "cannot be used: it becomes a folder in bpffs" in message and len(message) < 300
        assert "cannot be used" in host.refused("xdp_program", name=name, state="absent")
    assert "cannot be used" in host.refused("xdp_counter_facts", name=name)


def test_objects(attach: t.Callable[..., str], compiled: Compiled, tmp_path: pathlib.Path) -> None:
    with open(compiled("packet_count"), "rb") as file:
        good = file.read()

    def given(content: bytes) -> str:
        path = tmp_path / "given.bpf.o"
        path.write_bytes(content)
        return attach(object=str(path))

    assert "there is no object /nowhere/x.bpf.o on this host" in attach(object="/nowhere/x.bpf.o")
    assert "is not the absolute path of a file" in attach(object=str(tmp_path))
    assert "is not an ELF file" in given(b"")
    assert "is not an ELF file" in given(b"#!/bin/sh\n")
    assert "is truncated" in given(good[:30])
    for length in (64, 500, len(good) // 2, len(good) - 1):
        assert "is truncated or damaged" in given(good[:length])
    with open("/bin/true", "rb") as file:
        assert "is not a BPF object: it is an ELF file for machine" in given(file.read())
    assert "is not a 64-bit ELF file, as BPF objects are" in given(good[:4] + b"\x01" + good[5:])


def test_programs(attach: t.Callable[..., str], compiled: Compiled) -> None:
    none = attach(object=compiled("broken", NO_XDP=1))
    assert "has no XDP program for an interface; its programs: classify (section tc)" in none
    several = attach(object=compiled("broken", TWO=1))
    assert "has several XDP programs: first, second; say which one with program: NAME" in several
    assert "has no XDP program 'third'; it has first, second" in attach(
        object=compiled("broken", TWO=1), program="third"
    )


@pytest.mark.parametrize(
    ("program", "section"), [("egress", "xdp/devmap"), ("remote", "xdp.frags/cpumap")], ids=["devmap", "cpumap"]
)
def test_programs_for_the_entries_of_maps(
    host: Host, attach: t.Callable[..., str], compiled: Compiled, program: str, section: str
) -> None:
    both = compiled("sections", INTERFACE=1)
    refused = attach(object=both, program=program)
    assert f"program {program} is in section {section}: it is for the entries of a map" in refused
    assert refused.endswith("Programs for an interface: ingress")
    assert host.refused("xdp_program", check=True, object=both, program=program, interfaces=["eth0"]) == refused
    only = attach(object=compiled("sections"))
    assert "has no XDP program for an interface; its programs: egress (section xdp/devmap), remote" in only
    host.ok("xdp_program", object=both, interfaces=["eth0"])  # the only candidate
    found = host.xdp("eth0")
    assert found and found["prog"]["name"] == "ingress"


def test_choosing_one_of_several_programs(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("broken", TWO=1), program="second", interfaces=["eth0"])
    found = host.xdp("eth0")
    assert found and found["prog"]["name"] == "second"


def test_verifier_error_shows_the_end_of_its_log(attach: t.Callable[..., str], compiled: Compiled) -> None:
    message = attach(object=compiled("broken", REFUSED=1))
    assert "cannot load refused of" in message
    assert "Permission denied" in message or "Invalid argument" in message
    assert "invalid mem access" in message or "invalid access to packet" in message
    assert "processed" in message.splitlines()[-1], "the last line of the verifier's log"


def test_checksums(host: Host, attach: t.Callable[..., str], compiled: Compiled) -> None:
    message = attach(checksum="0" * 64)
    assert "has the checksum" in message and "refused, and nothing was changed" in message
    content = base64.b64encode(b"other").decode()
    assert "has the checksum" in attach(content=content, checksum="0" * 64)
    assert "content is not Base64" in attach(content="*")
    good = sh("sha256sum", compiled("packet_count")).split()[0]
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"], checksum=good.upper())
    for path in (compiled("packet_count"), "/none/packet_count.bpf.o"):  # there, and for check mode still to come
        options = {"object": path, "name": "packet_count", "program": "packet_count", "interfaces": ["eth0"]}
        assert not host.ok("xdp_program", check=True, checksum=good.upper(), **options)["changed"]
    foretold = host.ok(
        "xdp_program",
        check=True,
        object=compiled("packet_count"),
        interfaces=["eth0"],
        checksum="0" * 64,
        name="packet_count",
    )
    assert foretold["changed"] and "check mode assumes that an earlier task puts" in str(foretold["warnings"])


def test_objects_that_others_can_write(
    host: Host, attach: t.Callable[..., str], compiled: Compiled, tmp_path: pathlib.Path
) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    path = open_to_all / "x.bpf.o"
    path.write_bytes(pathlib.Path(compiled("packet_count")).read_bytes())
    message = attach(object=str(path))
    assert f"{path} is not safe to load: {open_to_all}" in message and "allow_unsafe_paths" in message
    open_to_all.chmod(0o755)
    os.chown(path, 12345, -1)
    assert "owner 12345" in attach(object=str(path))
    os.chown(path, 0, -1)
    open_to_all.chmod(0o777)
    link = open_to_all / "link.bpf.o"
    link.symlink_to(compiled("packet_count"))
    assert f"{link} is not safe to load: {open_to_all}" in attach(object=str(link))
    host.ok("xdp_program", object=str(path), interfaces=["eth0"], allow_unsafe_paths=True)


def test_a_pin_root_that_others_can_write(host: Host, attach: t.Callable[..., str]) -> None:
    root = pathlib.Path(f"/sys/fs/bpf/{host.name}-open")
    root.mkdir()
    try:
        root.chmod(0o777)
        assert f"{root}/pins is not safe to pin in: {root}" in attach(pin_root=f"{root}/pins")
        os.chown(root, 12345, -1)
        root.chmod(0o755)
        assert "owner 12345" in attach(pin_root=str(root))
    finally:
        root.rmdir()


def test_only_root_can_access_pins_and_records(host: Host, compiled: Compiled) -> None:
    umask = os.umask(0)
    try:
        host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"], rollback_after=30)
    finally:
        os.umask(umask)
    found = [path for top in ("/sys/fs/bpf", "/run/ebpf_fleet") for path in pathlib.Path(top).rglob("*")]
    ours = [path for path in found if host.name in str(path) or "provisional" in str(path)]
    assert {"program", "counters", "eth0.json", "provisional"} <= {path.name for path in ours}
    assert not [path for path in [*ours, pathlib.Path("/run/ebpf_fleet")] if path.stat().st_mode & 0o077]
    for path in ours:
        if path.is_socket():
            host.ok("xdp_confirm", token=path.name)


def test_paths_that_are_not_regular_files(host: Host, attach: t.Callable[..., str], tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", pathlib.Path("/dev/zero")):
        assert f"{path} is not a regular file" in attach(object=str(path), allow_unsafe_paths=True)
        assert "is not a regular file" in host.refused(
            "bpf_object", src=str(path), dest=str(tmp_path / "x.o"), allow_unsafe_paths=True
        )
    assert "is not the absolute path of a file" in attach(object="relative.o")
    nowhere = attach(object="/dev/zero/x", allow_unsafe_paths=True)
    assert "there is no object /dev/zero/x on this host" in nowhere


@pytest.mark.parametrize("bad", ["eth\0", "\u00e9\0"])
def test_null_bytes(host: Host, attach: t.Callable[..., str], bad: str) -> None:
    for options in (
        {"interfaces": [bad]},
        {"object": f"/x{bad}"},
        {"pin_root": f"/sys/fs/bpf/{bad}"},
        {"content": bad},
    ):
        attach(**options)
    host.refused("bpf_object", src=f"/x{bad}.c", dest="/x.o")


def test_options(host: Host, attach: t.Callable[..., str]) -> None:
    assert "interfaces is an empty list" in attach(interfaces=[])
    assert "one of" in attach(mode="fast")
    assert "missing" in host.refused("xdp_program", state="attached", interfaces=["eth0"])
    assert "name, program" in host.refused("xdp_program", state="absent")
    assert "check_seconds is -1.0: give 0 or more" in attach(check_seconds=-1)
    for null in ("check_seconds", "rollback_after"):
        assert f"argument '{null}' is of type NoneType" in attach(**{null: None})
    for root in ("/home/x", "sys/fs/bpf/x", "/sys/fs/bpf/a.b"):
        for module in ("xdp_counter_facts", "xdp_counter_check"):
            assert f"pin_root {root}" in host.refused(module, interfaces=["eth0"], pin_root=root)
    for options in ({"interval": -1}, {"trace_seconds": -1}, {"trace_lines": 0}, {"trace_every": 0}):
        assert " or more" in host.refused("xdp_counter_facts", **options)


def test_null_is_not_given(host: Host, attach: t.Callable[..., str]) -> None:
    """As by `name: "{{ found.name | default(none) }}"`. ansible-core takes these for given."""
    required = "are required"
    assert "state is attached but all of the following are missing: object" in attach(object=None)
    assert "missing: interfaces" in attach(interfaces=None)
    nothing = {"map": "counters", "entries": None}
    assert "one of the following is required: entries, keys, src found in map_entries" in attach(map_entries=[nothing])
    assert required in host.refused("bpf_map", name=None, map="counters", keys=[0])
    assert "one of the following is required" in host.refused("bpf_map", name="counter", map="counters", keys=None)
    assert required in host.refused("bpf_map_info", name=None, map="counters")
    assert "one of the following is required" in host.refused("bpf_map_info", id=None)


def test_pin_roots(attach: t.Callable[..., str]) -> None:
    assert "is in a file system of type" in attach(pin_root="/var/lib/pins")
    assert "must be an absolute path without '.', '..' and '//'" in attach(pin_root="/sys/fs/bpf/../x")
    assert "contains a dot" in attach(pin_root="/sys/fs/bpf/a.b")


def test_a_pin_root_that_is_the_root_of_a_bpffs(host: Host, compiled: Compiled) -> None:
    """What is beside it is in no bpffs: nothing is mounted there, over the pins of the whole host."""
    nothing = host.state()
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"], "pin_root": "/sys/fs/bpf"}
    pins = f"/sys/fs/bpf/@{host.name}"
    try:
        predicted = host.ok("xdp_program", check=True, **options)
        assert host.state() == nothing
        done = host.ok("xdp_program", **options)
        assert done["steps"] == predicted["steps"] and "mount" not in " ".join(done["steps"])
        assert done["attachments"][0]["pin_path"] == f"{pins}/packet_count/eth0"
        assert bpftool("link", "show", "pinned", f"{pins}/packet_count/eth0/link")["id"]
        assert host.state()[1] == nothing[1]  # the mounts
        facts = host.ok("xdp_counter_facts", pin_root="/sys/fs/bpf")["ansible_facts"]["xdp_counter"]
        assert facts["interfaces"]["eth0"]["attached"]
    finally:
        host.ok("xdp_program", state="absent", name="packet_count", pin_root="/sys/fs/bpf")
    assert host.state() == nothing


def test_not_root(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])

    def as_nobody(module: str, **arguments: t.Any) -> str:
        # The user nobody may be unable to read the checkout. So options come through a pipe, and late imports are done
        # before the change of user.
        code = (
            "import os, ctypes\n"
            "from ansible.module_utils.common import json\n"
            "json.get_module_decoder('legacy', json.Direction.CONTROLLER_TO_MODULE)\n"
            "json.get_module_encoder('legacy', json.Direction.MODULE_TO_CONTROLLER)\n"
            f"import ansible_collections.ebpf.fleet.plugins.modules.{module} as m\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); m.main()"
        )
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{host.name}", sys.executable, "-W", "ignore", "-c", code],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={"PYTHONPATH": str(COLLECTIONS), "PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": "/tmp"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    out = as_nobody("xdp_program", object="/x.bpf.o", interfaces=["eth0"])
    assert "needs root and this ran as uid 65534; set become: true" in out
    assert "needs root" in as_nobody("xdp_counter_facts")
    assert "inspecting BPF programs needs root" in as_nobody("bpf_program_info")
    assert "This ran without cap_bpf" in as_nobody("bpf_facts")


def test_libbpf_missing(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    """Like a host without the library: the dynamic loader finds files of these names that are not libraries."""
    for name in ("libbpf.so.1", "libbpf.so.0"):
        (tmp_path / name).write_bytes(b"not a library")
    env = {"LD_LIBRARY_PATH": str(tmp_path)}
    message = host.refused("xdp_program", env=env, object=compiled("packet_count"), interfaces=["eth0"])
    assert "libbpf (libbpf.so.1, or libbpf.so.0 from 0.3 on) cannot be used on this host" in message
    assert "libbpf1 (in Debian 11 and Ubuntu 20.04 and 22.04 libbpf0) on Debian, Ubuntu and SUSE" in message
    found = host.ok("bpf_facts", env=env)["ansible_facts"]["bpf"]
    assert found["libbpf"] is None
    assert any("libbpf.so.1" in problem for problem in found["problems"])


def test_missing_bpffs_is_mounted(host: Host, compiled: Compiled) -> None:
    """In a mount namespace without bpffs, which is that of pid 1."""
    script = """
        set -e
        mount --make-rprivate /
        while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done
        python=$1; object=$2; module=ansible_collections.ebpf.fleet.plugins.modules.xdp_program
        run() { echo "{\\"ANSIBLE_MODULE_ARGS\\": {$1}}" | "$python" -W ignore -m $module; }
        task="\\"object\\": \\"$object\\", \\"interfaces\\": [\\"eth0\\"]"
        run "$task, \\"_ansible_check_mode\\": true" | grep -q "mount bpffs on /sys/fs/bpf"
        ! mountpoint -q /sys/fs/bpf
        run '"name": "packet_count", "state": "absent"' | grep -q '"changed": false'
        ! mountpoint -q /sys/fs/bpf
        run "$task" | grep -q "mount bpffs on /sys/fs/bpf"
        mountpoint -q /sys/fs/bpf
        run "$task" | grep -q '"changed": false'
        run '"name": "packet_count", "state": "absent"' | grep -q '"changed": true'
    """
    host.enter(
        "env",
        f"PYTHONPATH={COLLECTIONS}",
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "bash",
        "-c",
        script,
        "x",
        sys.executable,
        compiled("packet_count"),
    )


def test_the_real_bpffs_is_untouched() -> None:
    assert os.path.ismount("/sys/fs/bpf")
    assert (ROOT / "galaxy.yml").exists()
