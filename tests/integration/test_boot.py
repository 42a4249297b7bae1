# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring programs at boot, without systemd: after a reboot a host has no pins and no records.

tests/reboot tests the same with systemd and a real reboot.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils import boot
from ansible_collections.ebpf.fleet.plugins.module_utils.persist import systemd
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.lists import write_list
from ansible_collections.ebpf.fleet.plugins.module_utils.persist.manifests import Manifest, packed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.deployed import Deployed
from ansible_collections.ebpf.fleet.plugins.module_utils.state.files import sha256
from ansible_collections.ebpf.fleet.plugins.module_utils.state.places import MANIFESTS, RUNNER, Place
from ansible_collections.ebpf.fleet.plugins.module_utils.state.private_files import write_private
from commands import bpftool, sh
from host import Host

Compile = t.Callable[..., str]


class Booting:
    """A host with manifests, and a simulated reboot."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def place(self, interface: str, name: str = "packet_count") -> Place:
        return Place(self.host.pins, name, interface)

    def persist(
        self,
        path: str,
        interface: str = "eth0",
        name: str = "packet_count",
        runner: t.Optional[bytes] = None,
        **manifest: t.Any,
    ) -> None:
        write_private(RUNNER, runner or boot.runner())
        content = pathlib.Path(path).read_bytes()
        fields = {"program": "packet_count", "mode": "auto", **manifest}
        more = {key: fields.pop(key) for key in ("replace", "generic") if key in fields}
        deployed = Deployed(object=path, checksum=sha256(content), **fields)
        write_private(self.place(interface, name).manifest, packed(Manifest(deployed, **more), content))

    def reboot(self) -> None:
        """Remove the pins, and with them links, programs and counts; remove the records."""
        shutil.rmtree(self.host.pins)
        shutil.rmtree("/run/ebpf_fleet/" + self.host.pins.replace("/", "%2F"))
        assert not self.host.xdp("eth0")

    def device_appears(self, interface: str) -> subprocess.CompletedProcess[str]:
        """Run what the unit runs. -S: it may need nothing but Python itself."""
        words = ["nsenter", f"--net=/run/netns/{self.host.name}", sys.executable, "-I", "-S", "-B", RUNNER]
        return subprocess.run([*words, interface], env={}, capture_output=True, text=True, check=False)

    def restores(self, interface: str) -> str:
        done = self.device_appears(interface)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        shutil.rmtree(pathlib.Path(self.place("eth0").manifest).parents[1], ignore_errors=True)
        pathlib.Path(RUNNER).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or a concurrent run has manifests in it too
            os.rmdir(MANIFESTS)


@pytest.fixture
def booting(host: Host) -> t.Iterator[Booting]:
    made = Booting(host)
    try:
        yield made
    finally:
        made.close()


def test_the_units_command_survives_its_interpreter(
    host: Host, booting: Booting, compiled: Compile, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Ansible has found /usr/bin/python3.11, or a virtual environment, and an upgrade removes it."""
    python, used = tmp_path / "a venv/python3.11", tmp_path / "used"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >>{used}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        runner = boot.runner.__wrapped__()
    booting.persist(compiled("packet_count"), runner=runner)
    (command,) = re.findall("^ExecStart=(.*)", systemd.unit_file().decode(), re.MULTILINE)
    words = ["nsenter", f"--net=/run/netns/{host.name}", *shlex.split(command.replace("%I", "eth0"))]
    for there in (True, False):
        if not there:
            python.unlink()
            used.unlink()
        assert "eth0: attach by link, mode auto" in sh(*words, env={})
        assert host.xdp("eth0") and used.exists() == there
        host.send("eth0", 7)
        assert host.counts() == (7, 448)
        booting.reboot()


def running(host: Host) -> t.Dict[str, t.Tuple[str, str]]:
    facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]
    return {name: (each["tag"], each["mode"]) for name, each in facts["interfaces"].items()}


def test_restored_as_it_was(host: Host, booting: Booting, compiled: Compile) -> None:
    both = ["eth0", "eth0.10"]
    options = {"object": compiled("packet_count"), "interfaces": both}
    host.ok("xdp_program", **options)
    before = running(host)
    for interface in both:
        booting.persist(compiled("packet_count"), interface)
    booting.reboot()
    assert "eth0: attach by link, mode auto" in booting.restores("eth0")
    assert host.xdp("eth0") and not host.xdp("eth0.10")
    booting.restores("eth0.10")
    for interface in both:
        host.send(interface, 7)
        assert host.counts(interface)[0] == 7
        link = bpftool("link", "show", "pinned", host.pin(interface, "link"))
        assert link["prog_id"] == (host.xdp(interface) or {})["prog"]["id"]
    again = host.ok("xdp_program", **options, persist="false", check=True)
    assert again["steps"] == [f"{name}: stop restoring it after a reboot" for name in both]
    assert running(host) == before
    assert booting.restores("eth0") == ""  # a second run does no harm


def test_what_was_declared_is_there_before_the_program_runs(host: Host, booting: Booting, compiled: Compile) -> None:
    declared: t.Dict[str, t.Any] = {"variables": {"enforce": False}, "sizes": {"block4": 5000}}
    booting.persist(compiled("blocklist"), name="blocklist", program="blocklist", **declared)
    place, block4 = booting.place("eth0", "blocklist"), {"name": "blocklist", "map": "block4"}
    write_list(place, "block4", {(24).to_bytes(4, sys.byteorder) + bytes([192, 0, 2, 0]): b"\1"})
    steps = booting.restores("eth0").splitlines()
    assert [step.partition(": ")[2] for step in steps] == [
        "load blocklist with enforce=false",
        "add 1 of the entries of block4",
        "attach by link, mode auto",
        "write the record",
    ]
    found = bpftool("map", "show", "pinned", host.pin("eth0", "maps/block4", "blocklist"))
    assert found["max_entries"] == 5000
    task = {"object": compiled("blocklist"), "interfaces": ["eth0"]}
    again = host.ok("xdp_program", **task, variables={"enforce": False}, map_sizes={"block4": 5000}, check=True)
    assert again["steps"] == ["eth0: restore it after a reboot"]  # there is no unit here

    done = host.ok("bpf_map", **block4, keys=["192.0.2.0/24", "10.0.0.0/8"], value=1)
    assert done["steps"][1] == "restore 2 entries of block4 after a reboot, on eth0"
    booting.reboot()
    assert "add 2 of the entries of block4" in booting.restores("eth0")
    (entries,) = host.ok("bpf_map_info", **block4)["maps"]
    assert [entry["key"] for entry in entries["entries"]] == ["10.0.0.0/8", "192.0.2.0/24"]
    assert not host.ok("bpf_map", **block4, keys=["192.0.2.0/24", "10.0.0.0/8"], value=1)["changed"]
    done = host.ok("bpf_map", **block4, keys=["192.0.2.0/24"], exclusive=True, value=1, persist="false")
    assert done["steps"][1] == "restore no entries of block4 after a reboot, on eth0"
    host.ok("xdp_program", name="blocklist", state="absent")
    assert not os.path.exists(place.lists) and not os.path.exists(place.manifest)


def test_what_is_in_slots_is_there_before_the_program_runs(host: Host, booting: Booting, compiled: Compile) -> None:
    host.ok("xdp_program", object=compiled("slots"), interfaces=["eth0"])
    booting.persist(compiled("slots"), name="slots", program="slots")
    place, keys = booting.place("eth0", "slots"), ["192.0.2.0/24", "198.51.100.7"]
    first: t.Dict[str, t.Any] = {"name": "slots", "map": "lists", "slot": 0, "value": 1}
    zone: t.Dict[str, t.Any] = {"name": "slots", "map": "zones", "slot": {"vlan": 7, "number": 1}}

    def kept() -> t.List[str]:
        return sorted(os.listdir(place.lists)) if os.path.exists(place.lists) else []

    def in_slots(name: str) -> t.List[t.Any]:
        """What is in the maps in the slots, from bpftool."""
        rows = json.loads(sh("bpftool", "--json", "map", "dump", "pinned", host.pin("eth0", f"maps/{name}", "slots")))
        numbers = [bytes(int(byte, 16) for byte in row["value"]) for row in rows if "error" not in row["value"]]
        dumps = [bpftool("map", "dump", "id", int.from_bytes(number, sys.byteorder)) for number in numbers]
        return [sorted((each["formatted"] for each in dump), key=str) for dump in dumps]

    def reboots() -> t.List[str]:
        before = in_slots("lists"), in_slots("zones")
        booting.reboot()
        steps = [line.partition(": ")[2] for line in booting.restores("eth0").splitlines()]
        assert (in_slots("lists"), in_slots("zones")) == before
        assert booting.restores("eth0") == ""  # as when the interface appears again
        return steps

    done = host.ok("bpf_map", **first, keys=keys)  # what the source puts there has a name of its own
    assert done["steps"][1] == "restore 2 entries of first after a reboot, on eth0" and kept() == ["first"]
    assert reboots()[1] == "add 2 of the entries of first"
    task = {**first, "keys": keys[:1], "exclusive": True, "replace": "at_once"}
    predicted = host.ok("bpf_map", **task, check=True)
    assert kept() == ["first"]
    done = host.ok("bpf_map", **task)
    assert done["steps"] == predicted["steps"] and done["steps"][1:] == [
        "restore no entries of first after a reboot, on eth0",
        "restore 1 entries of slot 0 of lists after a reboot, on eth0",
    ]
    host.ok("bpf_map", **zone, entries=[{"key": 5, "value": 6}], persist="true")
    assert kept() == ["lists@00000000", "zones@00070100"]
    assert reboots() == [
        "load slots",
        "add 1 of the entries of slot 0 of lists",
        'add 1 of the entries of slot {"vlan": 7, "number": 1} of zones',
        "attach by link, mode auto",
        "write the record",
    ]
    assert len(in_slots("lists")[0]) == 1 and in_slots("zones") == [[{"key": 5, "value": 6}]]
    assert not host.ok("bpf_map", **task)["changed"]
    host.ok("bpf_map", **zone, entries=[{"key": 7, "value": 8}], rollback_after=1)  # which nobody confirms
    assert not host.ok("bpf_map", **zone, entries=[{"key": 5, "value": 6}])["changed"]
    done = host.ok("bpf_map", **zone, keys=[], exclusive=True, persist="false")
    assert done["steps"][1] == 'restore no entries of slot {"vlan": 7, "number": 1} of zones after a reboot, on eth0'
    assert kept() == ["lists@00000000"]
    host.ok("xdp_program", name="slots", state="absent")
    assert not os.path.exists(place.lists) and not os.path.exists(place.manifest)


def test_a_kept_slot_that_the_object_does_not_have_is_named(host: Host, booting: Booting, compiled: Compile) -> None:
    booting.persist(compiled("slots"), name="slots", program="slots")
    place = booting.place("eth0", "slots")
    for pin, name in (("first@00000000", "slot 0x00000000 of first"), ("lists@0000", "slot 0x0000 of lists")):
        write_list(place, pin, {bytes(8): b"\1"})
        done = booting.device_appears("eth0")
        assert done.returncode == 1 and f"the kept entries of {name} do not fit the object" in done.stderr
        write_list(place, pin, None)


def test_the_current_mode_is_restored(host: Host, booting: Booting, compiled: Compile) -> None:
    """At boot a bond has no interfaces yet, so `auto` would choose native mode."""
    booting.persist(compiled("packet_count"), generic=True)
    booting.restores("eth0")
    assert (host.xdp("eth0") or {})["mode"] == 2
    unchanged = host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"], check=True)
    assert "eth0: attach" not in " ".join(unchanged["steps"])


def test_the_program_that_ran_is_restored(host: Host, booting: Booting, compiled: Compile) -> None:
    """At boot the network configuration sets the MTU later, and a program without frags might prevent that."""
    booting.persist(compiled("packet_count"), program="packet_count_frags")
    booting.restores("eth0")
    assert bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["name"].startswith("packet_count_fr")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], r"eth0\.json is damaged and cannot be read; run ebpf\.fleet\.deploy"),
        (
            lambda text: text.replace("f0VM", "f0VX", 1),
            r"eth0\.json is damaged: its object does not match its checksum",
        ),
        (lambda text: json.dumps([text]), r"eth0\.json is damaged and cannot be read"),
    ],
)
def test_a_damaged_manifest_is_named(
    host: Host, booting: Booting, compiled: Compile, damage: t.Callable[[str], str], says: str
) -> None:
    booting.persist(compiled("packet_count"))
    booting.persist(compiled("counter"), name="another")
    manifest = pathlib.Path(booting.place("eth0").manifest)
    manifest.write_text(damage(manifest.read_text()))
    done = booting.device_appears("eth0")
    assert done.returncode == 1
    assert re.search(f"^cannot restore packet_count on eth0: .*{says}", done.stderr, re.MULTILINE), done.stderr
    assert bpftool("prog", "show", "pinned", host.pin("eth0", "program", "another"))  # the others are restored
    assert host.xdp("eth0")
    facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]
    assert facts["interfaces"]["eth0"]["attached"] is False  # listed, although it does not run


def test_a_damaged_manifest_is_kept_if_persist_is_omitted(host: Host, booting: Booting, compiled: Compile) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    host.ok("xdp_program", **options)
    booting.persist(compiled("packet_count"))
    manifest = pathlib.Path(booting.place("eth0").manifest)
    manifest.write_text("{")
    for check in (True, False):
        done = host.ok("xdp_program", **options, check=check)
        assert not done["changed"] and manifest.read_text() == "{"
        (warning,) = map(str, done["warnings"])
        assert f"{manifest} is damaged" in warning and "persist is not set" in warning
        assert done["attachments"][0]["persistent"] is False
    assert not host.ok("xdp_program", **options, persist="false").get("warnings")
    assert not manifest.exists()


def test_what_a_killed_run_left_is_removed(host: Host, booting: Booting, compiled: Compile) -> None:
    """Empty folders of manifests, and the note that systemd has not read a unit."""
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    host.ok("xdp_program", **options)
    folder = pathlib.Path(booting.place("eth0").manifest).parent
    unread = pathlib.Path("/run/ebpf_fleet/unread/eth0")
    for each in (folder, unread.parent):
        each.mkdir(parents=True)
    unread.touch()
    assert not host.ok("xdp_program", **options, check=True)["changed"]
    assert folder.exists() and unread.exists()
    assert not host.ok("xdp_program", **options)["changed"]
    assert not folder.parent.exists() and not unread.parent.exists()


@pytest.mark.parametrize("state", ["absent", "detached"])
def test_what_is_removed_is_not_restored_on_an_interface_that_was_moved(
    host: Host, booting: Booting, compiled: Compile, state: str
) -> None:
    """The program is left in the other namespace. After a reboot the interface is here again."""
    booting.persist(compiled("packet_count"))
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    manifest = pathlib.Path(booting.place("eth0").manifest)
    with contextlib.closing(Host(f"{host.name}-b")) as other:
        other.unplug("eth0")
        sh("ip", "-n", host.name, "link", "set", "dev", "eth0", "netns", other.name)
        options = {"state": state, "name": "packet_count"}
        predicted = host.ok("xdp_program", check=True, **options)
        assert manifest.exists()
        done = host.ok("xdp_program", **options)
        assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
        assert done["steps"] == ["eth0: stop restoring it after a reboot"] and not manifest.exists()
        assert other.xdp("eth0") and "It is not restored after a reboot" in str(done["warnings"])
        assert not host.ok("xdp_program", **options)["changed"]
        host.ok("xdp_program", **options, interfaces=["eth0"])


def test_a_foreign_program_stays(host: Host, booting: Booting, compiled: Compile) -> None:
    host.enter("ip", "link", "set", "dev", "eth0", "xdp", "obj", compiled("counter"), "sec", "xdp")
    booting.persist(compiled("packet_count"))
    done = booting.device_appears("eth0")
    assert done.returncode == 1 and "which this collection did not attach" in done.stderr, done.stderr


def test_a_manifest_that_others_can_write_is_refused(host: Host, booting: Booting, compiled: Compile) -> None:
    booting.persist(compiled("packet_count"))
    sh("chmod", "0666", booting.place("eth0").manifest)
    done = booting.device_appears("eth0")
    assert done.returncode == 1 and "can be changed by users other than root" in done.stderr, done.stderr
    assert not host.xdp("eth0")


def test_only_root_can_access_manifests_and_runner(booting: Booting, compiled: Compile) -> None:
    booting.persist(compiled("packet_count"))
    for path in (booting.place("eth0").manifest, RUNNER, MANIFESTS):
        assert pathlib.Path(path).stat().st_mode & 0o077 == 0


def test_a_host_that_cannot_restore_says_so(host: Host, compiled: Compile) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    words = host.refused("xdp_program", **options, persist="true")
    assert re.search("cannot be restored on eth0 after a reboot: .*; set persist: auto", words), words
    (attachment,) = host.ok("xdp_program", **options, persist="auto")["attachments"]
    assert attachment["persistent"] is False
    assert not host.ok("xdp_program", **options, persist="auto")["changed"]
