# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook ebpf.fleet.inspect on three hosts, and bpf_object_info, which was added with it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import typing as t

import pytest
from commands import bpftool, sh
from fleet import Fleet, recap
from host import Host

Compiled = t.Callable[..., str]


@pytest.fixture
def host_names() -> t.Sequence[str]:
    return ("one", "two", "three")


def test_inspect_names_the_host_that_differs(fleet: Fleet) -> None:
    older = json.dumps({"xdp_counter_cflags": ["-mcpu=v2"]})
    fleet.play("deploy", "--limit", "one,two", "-e", "xdp_counter_build=controller")
    fleet.play("deploy", "--limit", "three", "-e", older, "-e", "xdp_counter_build=controller")
    one = fleet.hosts[0]
    one.send("eth0", 7)
    folder = fleet.folder / "inspection"

    predicted = fleet.play("inspect", "--check")
    assert not folder.exists()
    text = fleet.play("inspect")
    tags = [bpftool("prog", "show", "pinned", host.pin("eth0", "program"))["tag"] for host in fleet.hosts]
    assert tags[0] == tags[1] != tags[2]
    most = "one eth0, one eth0.10, two eth0, two eth0.10"
    difference = f"tag of packet_count: {tags[2]} on three eth0, three eth0.10, but {tags[0]} on {most}"
    assert difference in text and difference in predicted
    found = (folder / "differences.txt").read_text()
    assert found.splitlines()[1:] == [difference]
    assert re.fullmatch(
        rf"object: sha256 \w{{64}} on three eth0, three eth0.10, but sha256 \w{{64}} on {most}", found.splitlines()[0]
    )
    assert [each["what"] for each in json.loads((folder / "differences.json").read_text())] == ["object", "tag"]

    # The text contains no ids or addresses: hosts that run the same program differ only in counts and folder.
    differ = {name.split("/", 1)[1] for name in differing(folder, "one", "two")}
    assert differ == {"counters.txt", "object.txt", "programs.txt"}
    for name in ("object.txt", "programs.txt"):
        texts = [(folder / host / name).read_text().replace(f"/{host}/", "/HOST/") for host in ("one", "two")]
        assert texts[0] == texts[1]
    assert {"three/eth0/xlated.txt", "three/eth0/jited.txt"} <= differing(folder, "one", "three")
    assert (folder / "one/counters.txt").read_text() == "eth0 packets 7 bytes 448\neth0.10 packets 0 bytes 0\n"
    assert "program packet_count, section xdp" in (folder / "two/object.txt").read_text()
    whole = json.loads((folder / "one.json").read_text())
    assert whole["programs"][0]["xlated"] and whole["programs"][0]["jited"] and whole["objects"][0]["disassembly"]
    assert whole["bpf"]["kernel"] == os.uname().release

    again = fleet.play("inspect", "--diff")
    assert not re.search(r"^[+-]", again, re.M), again  # only the JSON changes, because it contains the time
    assert recap(again) == [("one", 1, 0), ("three", 0, 0), ("two", 0, 0)]

    # A different mode, a host without a program, and files of programs that are gone.
    generic = json.dumps({"xdp_counter_mode": "generic", "xdp_counter_interfaces": ["eth0"]})
    fleet.play("remove", "--limit", "two,three")
    inexact = "in generic mode on a veth, TCP segments of up to 64 kB are one packet"
    fleet.play("deploy", "--limit", "two", "-e", "xdp_counter_build=controller", "-e", generic, warns=inexact)
    text = fleet.play("inspect")
    assert "mode: generic on two eth0, but native on one eth0, one eth0.10" in text
    assert "interfaces: none on three, but some on one, two" in text
    assert not (folder / "two/eth0.10").exists() and (folder / "two/eth0").exists()
    assert not (folder / "three/eth0").exists()
    fleet.play("remove")


def differing(folder: pathlib.Path, one: str, other: str) -> t.Set[str]:
    """Files in the folder of `other` that differ from those of `one`."""
    files = {str(path.relative_to(folder)) for path in (folder / other).rglob("*") if path.is_file()}
    return {name for name in files if (folder / name).read_text() != (folder / one / name.split("/", 1)[1]).read_text()}


def test_object_info(host: Host, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    path = compiled("walkthrough")
    built = host.ok("bpf_object_info", path=path, disassemble=True)["objects"][0]
    assert built["file_type"] == sh("file", "--brief", path).strip()
    assert built["checksum"] == sh("sha256sum", path).split()[0]
    assert (built["license"], built["has_btf"], built["problems"]) == ("Dual BSD/GPL", True, [])
    assert [program["name"] for program in built["programs"]] == ["packet_count"]
    listing = sh("llvm-objdump", "-S", os.path.basename(path), cwd=os.path.dirname(path))
    assert built["disassembly"] == listing.strip("\n").splitlines()
    both = host.ok("bpf_object_info", path=[f"{tmp_path}/none.bpf.o", path])["objects"]
    assert both[0] == {"path": f"{tmp_path}/none.bpf.o", "exists": False}
    assert both[1] == {key: value for key, value in built.items() if key != "disassembly"}
    (tmp_path / "broken.bpf.o").write_bytes(b"no object")
    assert "broken.bpf.o is not an ELF file" in host.refused("bpf_object_info", path=f"{tmp_path}/broken.bpf.o")
    assert "not the absolute path of a file" in host.refused("bpf_object_info", path="walkthrough.bpf.o")


def test_report_of_data_that_was_not_collected(host: Host, tmp_path: pathlib.Path) -> None:
    nothing: t.Dict[str, t.Any] = {"bpf": {}, "counters": {}, "programs": {}, "objects": {}}
    message = host.refused("inspection_report", dest=str(tmp_path), **{**nothing, "bpf": {"web1": {"kernel": "6.1"}}})
    assert "web1 did not answer as bpf_facts does: bpf is a dictionary of 1, not one that has architecture" in message
    assert "not an absolute path" in host.refused("inspection_report", dest="here", **nothing)
