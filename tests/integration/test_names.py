# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces with long alternative names, and names that are not text."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
from commands import sh
from host import Host

Compiled = t.Callable[..., str]
LONG = "a-name-of-more-than-fifteen-characters"
NOT_UTF_8 = b"\xff\xfe"


@pytest.mark.parametrize("name", ["short", LONG, "x" * 127])
def test_alternative_names(host: Host, compiled: Compiled, name: str) -> None:
    sh("ip", "-n", host.name, "link", "property", "add", "dev", "eth0", "altname", name)
    options = {"object": compiled("packet_count"), "interfaces": [name, "eth0"]}
    predicted = host.ok("xdp_program", check=True, **options)
    result = host.ok("xdp_program", **options)
    assert result["steps"] == predicted["steps"]
    (attachment,) = result["attachments"]
    assert attachment["interface"] == "eth0" and host.xdp("eth0")
    host.send("eth0", 3)
    counter = host.ok("xdp_counter_facts", interfaces=[name])["ansible_facts"]["xdp_counter"]
    assert counter["interfaces"]["eth0"]["packets"] == 3
    host.ok("xdp_program", name="packet_count", state="absent", interfaces=[name])
    assert host.xdp("eth0") is None


@pytest.fixture
def odd(host: Host) -> Host:
    """A host with an interface whose name is not UTF-8, and a program on it."""
    add = [b"ip", b"link", b"add", b"name", NOT_UTF_8, b"type", b"veth", b"peer", b"name", b"p-odd"]
    subprocess.run([b"nsenter", b"--net=/run/netns/" + host.name.encode(), *add], check=True)
    return host


def odd_index(host: Host) -> int:
    """ip prints what is no JSON when it has to name it."""
    code = "import socket; print([index for index, name in socket.if_nameindex() if not name.isascii()][0])"
    return int(host.enter(sys.executable, "-c", code))


def test_facts_of_a_host_with_a_name_that_is_not_utf_8(odd: Host, compiled: Compiled) -> None:
    index = odd_index(odd)
    facts = odd.ok("bpf_facts")["ansible_facts"]["bpf"]
    assert set(facts["interfaces"]) == {"lo", "eth0", "eth0.10", "p-odd", "\\xff\\xfe"}
    assert facts["interfaces"]["\\xff\\xfe"]["driver"] == "veth"
    (problem,) = facts["problems"]
    assert problem.startswith(f"The name of interface {index}, \\xff\\xfe, is not UTF-8")
    sh("ip", "-n", odd.name, "link", "set", "dev", f"if{index}", "name", "fine0")  # as the sentence says
    assert odd.ok("bpf_facts")["ansible_facts"]["bpf"]["problems"] == []


def test_other_modules_beside_a_name_that_is_not_utf_8(odd: Host, compiled: Compiled) -> None:
    index = odd_index(odd)
    ip = ["ip", "-n", odd.name, "link", "set", "dev", f"if{index}"]
    sh(*ip, "xdpgeneric", "obj", compiled("counter"), "sec", "xdp")
    sh(*ip, "up")
    odd.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    programs = odd.ok("bpf_program_info", name=["packet_count"])["programs"]
    names = {each["interface"] for program in programs for each in program["attachments"]}
    assert {"eth0", "\\xff\\xfe"} <= names
    assert odd.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]["interfaces"].keys() == {"eth0"}
    sh(*ip, "down")
    sh("ip", "-n", odd.name, "link", "property", "add", "dev", f"if{index}", "altname", "uplink")
    refused = odd.module("xdp_program", object=compiled("packet_count"), interfaces=["uplink"])["msg"]
    assert "the name of interface 'uplink' in the kernel, \\xff\\xfe, is not UTF-8" in refused


def test_a_pin_whose_name_is_not_utf_8(host: Host, compiled: Compiled) -> None:
    folder = f"/sys/fs/bpf/{host.name}-odd"
    os.mkdir(folder)
    try:
        sh("bpftool", "prog", "load", compiled("counter"), f"{folder}/x")
        os.rename(f"{folder}/x".encode(), folder.encode() + b"/\xff")
        pins = [pin for each in host.ok("bpf_program_info")["programs"] for pin in each["pins"]]
        assert f"{folder}/\\xff" in pins
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
