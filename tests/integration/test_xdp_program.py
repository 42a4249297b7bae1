# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_program on a real kernel: each state, repairs, upgrades, and foreign programs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from commands import bpftool, program_ids, programs_since, sh
from host import Host
from paths import BPF, COLLECTIONS

Compiled = t.Callable[..., str]
BOTH = ["eth0", "eth0.10"]


@pytest.fixture
def attached(host: Host, compiled: Compiled) -> t.Dict[str, t.Any]:
    """Options of a task that has run once."""
    options = {"object": compiled("packet_count"), "interfaces": BOTH}
    assert host.ok("xdp_program", **options)["changed"]
    return options


def repaired(host: Host, options: t.Dict[str, t.Any]) -> t.List[str]:
    """Run a task; returns its steps. Check mode must predict them, and a second run must have nothing to do."""
    predicted = host.ok("xdp_program", check=True, **options)
    done = host.ok("xdp_program", **options)
    assert (done["steps"], done["diff"]) == (predicted["steps"], predicted["diff"])
    again = host.ok("xdp_program", **options)
    assert not again["changed"], again["steps"]
    assert again["diff"] == {"before": {}, "after": {}}
    return t.cast("list[str]", done["steps"])


def test_first_run_does_what_check_mode_predicted(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": BOTH}
    before, ids = host.state(), program_ids()
    predicted = host.ok("xdp_program", check=True, **options)
    assert host.state() == before
    assert programs_since(ids) == []

    done = host.ok("xdp_program", **options)
    assert done["changed"]
    assert (predicted["steps"], predicted["diff"]) == (done["steps"], done["diff"])
    for attachment in done["attachments"]:
        interface = attachment["interface"]
        link = bpftool("link", "show", "pinned", host.pin(interface, "link"))
        program = bpftool("prog", "show", "pinned", host.pin(interface, "program"))
        assert (link["id"], link["prog_id"]) == (attachment["link_id"], attachment["program_id"])
        assert (program["tag"], program["map_ids"]) == (attachment["tag"], attachment["map_ids"])
        found = host.xdp(interface)
        assert found and found["mode"] == 1 and found["prog"]["id"] == attachment["program_id"]
        assert attachment["mode"] == "native"
        assert os.stat(host.pin(interface, "")).st_mode & 0o777 == 0o700
    assert not host.ok("xdp_program", **options)["changed"]


def test_each_interface_has_its_own_counts(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.send("eth0", 1000, 64)
    host.send("eth0.10", 77, 1514)
    assert host.counts("eth0") == (1000, 64000)
    assert host.counts("eth0.10") == (77, 77 * 1514)


@pytest.mark.parametrize("defines", [{}, {"KERNEL_CONTEXT": 1}], ids=["by a call", "by the flag in its context"])
def test_jumbo_frames_are_counted_whole(host: Host, compiled: Compiled, defines: t.Dict[str, int]) -> None:
    host.plug("jumbo0", 9000)
    done = host.ok("xdp_program", object=compiled("packet_count", **defines), interfaces=["jumbo0"])
    assert done["attachments"][0]["mode"] == "native"
    code = json.dumps(bpftool("prog", "dump", "xlated", "pinned", host.pin("jumbo0", "program")))
    assert "bpf_xdp_get_buff_len" in code
    assert ("&= 1" in code) == bool(defines)
    host.send("jumbo0", 100, 64)
    host.send("jumbo0", 100, 9014)
    assert host.counts("jumbo0") == (200, 100 * (64 + 9014))


def test_deleted_pins_are_recreated_one_by_one(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.send("eth0", 10)
    os.unlink(host.pin("eth0", "program"))
    assert repaired(host, attached) == ["eth0: pin the running program again"]
    os.unlink(host.pin("eth0", "maps/counters"))
    assert repaired(host, attached) == ["eth0: pin the map counters again"]
    os.unlink(host.pin("eth0", "link"))
    assert repaired(host, attached) == ["eth0: attach by link, mode auto"]
    assert host.counts() == (10, 640)


def test_all_pins_deleted_is_a_fresh_start(host: Host, attached: t.Dict[str, t.Any]) -> None:
    shutil.rmtree(host.pins)
    steps = repaired(host, attached)
    assert [step for step in steps if step.startswith("eth0:")] == [
        "eth0: load packet_count",
        "eth0: attach by link, mode auto",
        "eth0: write the record",
    ]


def test_link_pin_deleted_while_a_process_holds_the_link(host: Host, attached: t.Dict[str, t.Any]) -> None:
    with Libbpf().get(host.pin("eth0", "link")):
        os.unlink(host.pin("eth0", "link"))
        assert repaired(host, attached) == ["eth0: pin the link again"]


def test_link_detached_by_hand(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.send("eth0", 10)
    host.enter("bpftool", "link", "detach", "pinned", host.pin("eth0", "link"))
    assert repaired(host, attached) == ["eth0: remove the dead link", "eth0: attach by link, mode auto"]
    host.send("eth0", 10)
    assert host.counts() == (20, 1280)


def test_interface_gone_and_back(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.send("eth0.10", 10)
    host.unplug("eth0.10")
    assert "there is no interface eth0.10" in host.refused("xdp_program", **attached)
    host.plug("eth0.10")
    assert repaired(host, attached) == ["eth0.10: remove the dead link", "eth0.10: attach by link, mode auto"]
    host.send("eth0.10", 5)
    assert host.counts("eth0.10") == (15, 960)


def test_object_edited_by_hand(host: Host, attached: t.Dict[str, t.Any], tmp_path: t.Any) -> None:
    edited = tmp_path / "packet_count.bpf.o"
    with open(attached["object"], "rb") as file:
        edited.write_bytes(file.read() + b"\n")
    host.send("eth0", 10)
    steps = repaired(host, {**attached, "object": str(edited)})
    assert "eth0: load packet_count, keeping the maps .data, counters" in steps
    assert "eth0: swap the program in the link" in steps
    assert host.counts() == (10, 640)


def test_leftovers_of_a_killed_run_are_removed(host: Host, attached: t.Dict[str, t.Any]) -> None:
    new = host.pin("eth0", "program%new")
    sh("bpftool", "prog", "pin", "pinned", host.pin("eth0", "program"), new)
    assert repaired(host, attached) == [f"eth0: remove {new}"]


def test_upgrade_keeps_the_link_and_the_counts(host: Host, compiled: Compiled) -> None:
    options = {"interfaces": ["eth0"]}
    first = host.ok("xdp_program", object=compiled("counter", VERSION=1), **options)["attachments"][0]
    host.send("eth0", 100)
    more = {**options, "object": compiled("counter", VERSION=2, MORE=1)}
    assert repaired(host, more) == [
        "eth0: load packet_count, keeping the maps counters",
        "eth0: swap the program in the link",
        "eth0: write the record",
    ]
    second = host.ok("xdp_program", **more)["attachments"][0]
    assert second["link_id"] == first["link_id"]
    assert second["program_id"] != first["program_id"]
    host.send("eth0", 100)
    assert host.counts() == (200, 12800)
    # A map with a name longer than the kernel keeps is found again; the pin of a map that is gone is removed.
    os.unlink(host.pin("eth0", "maps/a_map_with_a_long_name"))
    assert repaired(host, more) == ["eth0: pin the map a_map_with_a_long_name again"]
    less = {**options, "object": compiled("counter", VERSION=3)}
    assert f"eth0: remove {host.pin('eth0', 'maps/a_map_with_a_long_name')}" in repaired(host, less)
    assert host.counts() == (200, 12800)


def test_changed_map_shape_fails_before_anything_is_touched(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("counter", VERSION=1), interfaces=BOTH)
    host.send("eth0", 100)
    wide = {"object": compiled("counter", WIDE=1), "interfaces": BOTH}
    for check in (True, False):
        message = host.refused("xdp_program", check=check, **wide)
        assert "the map counters has changed its shape" in message
        assert "value 16 B" in message and "value 24 B" in message and "maps: reset" in message
    host.send("eth0", 1)
    assert host.counts() == (101, 6464)

    before = host.xdp("eth0")
    steps = host.ok("xdp_program", maps="reset", **wide)["steps"]
    assert "eth0: swap the program in the link" in steps
    after = host.xdp("eth0")
    assert before and after and before["prog"]["id"] != after["prog"]["id"]
    assert host.counts() == (0, 0)
    host.send("eth0", 3)
    assert host.counts() == (3, 192)
    assert not host.ok("xdp_program", maps="reset", **wide)["changed"]


def test_detached_keeps_counts_and_can_be_reattached(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.send("eth0", 10)
    detached = {"name": "packet_count", "state": "detached"}
    assert repaired(host, detached) == ["eth0: detach", "eth0.10: detach"]
    assert host.xdp("eth0") is None
    host.send("eth0", 10)
    assert host.counts() == (10, 640)
    facts = host.ok("xdp_counter_facts")["ansible_facts"]["xdp_counter"]
    assert facts["totals"]["packets"] == 10
    assert facts["interfaces"]["eth0"]["attached"] is False
    assert repaired(host, {**attached, "interfaces": ["eth0"]}) == ["eth0: attach by link, mode auto"]
    host.send("eth0", 10)
    assert host.counts() == (20, 1280)


def test_absent_leaves_no_trace(host: Host, attached: t.Dict[str, t.Any]) -> None:
    before = program_ids()
    ours = {bpftool("prog", "show", "pinned", host.pin(interface, "program"))["id"] for interface in BOTH}
    steps = repaired(host, {"name": "packet_count", "state": "absent"})
    assert steps[0] == "eth0: detach"
    assert host.xdp("eth0") is None
    assert not os.path.exists(host.pins)
    assert host.state()[0] == []
    assert programs_since(before - ours) == []


def test_absent_of_one_interface_leaves_the_other(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.ok("xdp_program", name="packet_count", state="absent", interfaces=["eth0"])
    assert host.xdp("eth0") is None
    assert host.xdp("eth0.10")
    assert not host.ok("xdp_program", **{**attached, "interfaces": ["eth0.10"]})["changed"]


def test_absent_of_an_interface_that_is_gone(host: Host, attached: t.Dict[str, t.Any]) -> None:
    host.unplug("eth0")
    steps = repaired(host, {"name": "packet_count", "state": "absent"})
    assert "eth0: remove the dead link" in steps
    assert not os.path.exists(host.pins)


def test_loaded_pins_and_does_not_attach(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    assert repaired(host, {**options, "state": "loaded"}) == ["eth0: load packet_count", "eth0: write the record"]
    result = host.ok("xdp_program", state="loaded", **options)
    assert result["attachments"][0]["state"] == "loaded"
    assert host.xdp("eth0") is None
    assert repaired(host, options) == ["eth0: attach by link, mode auto"]
    assert not host.ok("xdp_program", state="loaded", **options)["changed"]
    assert host.xdp("eth0")


def test_modes(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    result = host.ok("xdp_program", mode="generic", **options)
    found = host.xdp("eth0")
    assert found and found["mode"] == 2
    assert result["attachments"][0]["mode"] == "generic"
    host.send("eth0", 10)
    assert repaired(host, {**options, "mode": "native"}) == [
        "eth0: detach",
        "eth0: attach by link, mode native",
        "eth0: write the record",
    ]
    found = host.xdp("eth0")
    assert found and found["mode"] == 1
    host.send("eth0", 10)
    assert host.counts()[0] == 20


def test_auto_falls_back_to_generic_with_a_warning(host: Host, compiled: Compiled) -> None:
    host.plug("jumbo0", 9000)
    plain = {"object": compiled("counter"), "interfaces": ["jumbo0"]}  # has no twin for packets of several buffers
    result = host.ok("xdp_program", **plain)
    assert result["attachments"][0]["mode"] == "generic"
    assert "jumbo0 rejected packet_count in native mode" in str(result["warnings"])
    assert not host.ok("xdp_program", **plain)["changed"]
    message = host.refused("xdp_program", mode="native", **plain)
    assert "cannot attach by link, mode native for packet_count on jumbo0" in message
    host.send("jumbo0", 5, 9000)
    assert host.counts("jumbo0") == (5, 45000)


def test_jumbo_frames_are_counted_in_the_driver(host: Host, compiled: Compiled) -> None:
    host.plug("jumbo0", 9000)
    options = {"object": compiled("packet_count"), "interfaces": ["eth0", "jumbo0"]}
    plain, jumbo = host.ok("xdp_program", **options)["attachments"]
    assert (plain["mode"], jumbo["mode"]) == ("native", "native")
    assert plain["tag"] != jumbo["tag"]
    host.send("jumbo0", 50, 9000)
    assert host.counts("jumbo0") == (50, 450000)
    assert not host.ok("xdp_program", **options)["changed"]


def attach_by_netlink(host: Host, object_file: str, interface: str = "eth0", kind: str = "xdp") -> int:
    path = f"/sys/fs/bpf/{host.name}-foreign"
    sh("bpftool", "prog", "load", object_file, path)
    try:
        number = bpftool("prog", "show", "pinned", path)["id"]
        host.enter("bpftool", "net", "attach", kind, "id", number, "dev", interface)
        return t.cast(int, number)
    finally:
        os.unlink(path)


def attach_by_link(host: Host, object_file: str, path: str, interface: str = "eth0") -> int:
    """Attach as a different tool would: with its own link, pinned elsewhere."""
    code = (
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import info, links\n"
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf\n"
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object\n"
        "import socket, sys\n"
        "lib = Libbpf(); o = open_object(lib, open(sys.argv[1], 'rb').read(), 'other'); o.load({'packet_count'}, {})\n"
        "link = links.create(lib, o.program_fd('packet_count'), socket.if_nametoindex(sys.argv[3]), 'native')\n"
        "lib.pin(link.number, sys.argv[2]); print(info.program_info(lib, o.program_fd('packet_count')).id)"
    )
    return int(host.enter("env", f"PYTHONPATH={COLLECTIONS}", sys.executable, "-c", code, object_file, path, interface))


@pytest.mark.parametrize("how", ["netlink", "link"])
def test_a_foreign_program_is_named_and_left_alone(host: Host, compiled: Compiled, how: str) -> None:
    pin = f"/sys/fs/bpf/{host.name}-link"
    foreign = compiled("counter", VERSION=7)
    number = attach_by_netlink(host, foreign) if how == "netlink" else attach_by_link(host, foreign, pin)
    try:
        tag = bpftool("prog", "show", "id", number)["tag"]
        options = {"object": compiled("packet_count"), "interfaces": ["eth0.10", "eth0"]}
        for check in (True, False):
            message = host.refused("xdp_program", check=check, **options)
            assert f"XDP program {number} 'packet_count' (tag {tag}), attached by {how}" in message
            assert "which this collection did not attach" in message and "on_conflict: replace" in message
        assert host.xdp("eth0.10") is None

        problems = host.ok("bpf_facts")["ansible_facts"]["bpf"]["problems"]
        assert any(f"eth0 runs XDP program {number}" in problem for problem in problems)

        steps = repaired(host, {**options, "on_conflict": "replace"})
        assert any(step.startswith(f"eth0: detach foreign XDP program {number}") for step in steps)
        host.send("eth0", 4)
        assert host.counts() == (4, 256)
    finally:
        if os.path.exists(pin):
            os.unlink(pin)


def test_a_foreign_program_is_restored_if_ours_cannot_be_attached(host: Host, compiled: Compiled) -> None:
    host.plug("jumbo0", 9000)
    number = attach_by_netlink(host, compiled("counter", VERSION=7), "jumbo0", "xdpgeneric")
    options = {"object": compiled("counter", VERSION=1), "interfaces": ["eth0", "jumbo0"], "on_conflict": "replace"}
    message = host.refused("xdp_program", mode="native", **options)
    assert "cannot attach by link, mode native for packet_count on jumbo0" in message
    found = host.xdp("jumbo0")
    assert found and (found["prog"]["id"], found["mode"]) == (number, 2)
    assert host.xdp("eth0") is None


def test_detached_and_absent_leave_a_foreign_program_alone(host: Host, compiled: Compiled) -> None:
    options = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    host.ok("xdp_program", state="loaded", **options)
    number = attach_by_netlink(host, compiled("counter", VERSION=7))
    assert not host.ok("xdp_program", state="loaded", **options)["changed"]
    host.ok("xdp_program", name="packet_count", state="absent")
    found = host.xdp("eth0")
    assert found and found["prog"]["id"] == number


def test_one_bad_interface_stops_all_or_only_itself(host: Host, compiled: Compiled) -> None:
    options: t.Dict[str, t.Any] = {"object": compiled("packet_count"), "interfaces": ["eth0", "nope0", "eth0.10"]}
    assert "there is no interface nope0" in host.refused("xdp_program", **options)
    result = host.module("xdp_program", on_error="continue", **options)
    assert result["failed"] and result["changed"]
    assert "1 of 3 interfaces failed" in result["msg"]
    states = {each["interface"]: each["state"] for each in result["attachments"]}
    assert states == {"eth0": "attached", "eth0.10": "attached", "nope0": "failed"}
    assert host.xdp("eth0") and host.xdp("eth0.10")


def test_failure_half_way_rolls_back_the_first_interface(host: Host, compiled: Compiled) -> None:
    host.plug("jumbo0", 9000)
    host.ok("xdp_program", object=compiled("counter", VERSION=1), interfaces=["eth0"], mode="native")
    host.send("eth0", 10)
    before = host.xdp("eth0")
    message = host.refused(
        "xdp_program", object=compiled("counter", VERSION=2), interfaces=["eth0", "eth0.10", "jumbo0"], mode="native"
    )
    assert "jumbo0" in message
    assert host.xdp("eth0") == before
    assert host.xdp("eth0.10") is None
    host.send("eth0", 10)
    assert host.counts() == (20, 1280)


def test_two_runs_at_once_take_turns(host: Host, compiled: Compiled) -> None:
    runs = [
        host.start("xdp_program", object=compiled("counter", VERSION=version), interfaces=BOTH)
        for version in (1, 2, 3, 4)
    ]
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert '"failed"' not in out, out + err
    tags = {bpftool("prog", "show", "pinned", host.pin(interface, "program"))["tag"] for interface in BOTH}
    assert len(tags) == 1


def test_the_cost_per_interface_does_not_grow_with_their_number(
    host: Host, compiled: Compiled, tmp_path: pathlib.Path
) -> None:
    """Measured in system calls and in bytes of their answers: a router has thousands of VLANs."""
    names = [f"v{number}" for number in range(25)]
    options: t.Dict[str, t.Any] = {"object": compiled("packet_count")}

    def cost(module: str, **how: t.Any) -> t.Tuple[int, int]:
        log = tmp_path / "log"
        traced = ["strace", "-qq", "-f", "--output", str(log), "--trace=bpf,ioctl,recvfrom,recvmsg,openat"]
        assert not host.ok(module, wrap=traced, **how).get("changed")
        lines = log.read_text().splitlines()
        answers = [int(line.rsplit("= ", 1)[1].split()[0]) for line in lines if " recv" in line]
        return len(lines), sum(answers)

    costs = []
    for first, end in ((0, 5), (5, 15), (15, 25)):
        for name in names[first:end]:
            host.plug(name)
        options["interfaces"] = names[:end]
        host.ok("xdp_program", **options)
        costs.append((*cost("xdp_program", **options), *cost("xdp_counter_facts")))
    for few, some, many in zip(*costs):
        assert many - some <= 1.1 * (some - few), costs


def test_two_names_on_two_interfaces(host: Host, compiled: Compiled) -> None:
    one = {"object": compiled("packet_count"), "interfaces": ["eth0"], "name": "first"}
    two = {"object": compiled("packet_count"), "interfaces": ["eth0.10"], "name": "second"}
    host.ok("xdp_program", **one)
    host.ok("xdp_program", **two)
    host.ok("xdp_program", name="first", state="absent")
    assert host.xdp("eth0") is None and host.xdp("eth0.10")


def test_content_is_written_as_check_mode_predicts(host: Host, compiled: Compiled, tmp_path: t.Any) -> None:
    with open(compiled("packet_count"), "rb") as file:
        content = base64.b64encode(file.read()).decode()
    path = tmp_path / "new" / "packet_count.bpf.o"
    options = {"object": str(path), "content": content, "interfaces": ["eth0"], "program": "packet_count"}
    predicted = host.ok("xdp_program", check=True, **options)
    assert not path.exists()
    done = host.ok("xdp_program", **options)
    assert done["steps"] == predicted["steps"] and done["steps"][0] == f"write {path}"
    assert base64.b64encode(path.read_bytes()).decode() == content
    assert not host.ok("xdp_program", **options)["changed"]


def test_a_host_is_asked_for_an_object_by_checksum(host: Host, compiled: Compiled, tmp_path: t.Any) -> None:
    """Before it is sent: whoever has it does what it would do with it, and whoever has another one does nothing."""
    content = pathlib.Path(compiled("packet_count")).read_bytes()
    sums = ["0" * 64, hashlib.sha256(content).hexdigest().upper()]
    path = tmp_path / "packet_count.bpf.o"
    giving = {"object": str(path), "interfaces": ["eth0"], "program": "packet_count"}
    options = {**giving, "content_checksums": sums}
    for there in (None, b"older"):
        if there:
            path.write_bytes(there)
        before = host.state()
        for check in (True, False):
            done = host.ok("xdp_program", check=check, **options)
            assert not done["changed"] and host.state() == before
            checksum = hashlib.sha256(there).hexdigest() if there else None
            assert done["needs_content"] == {"byte_order": sys.byteorder, "checksum": checksum}
    path.write_bytes(content)
    predicted = host.ok("xdp_program", check=True, **options)
    done = host.ok("xdp_program", **options)
    assert done["steps"] == predicted["steps"] and "needs_content" not in done
    assert host.xdp("eth0") and not host.ok("xdp_program", **options)["changed"]
    assert not host.ok("xdp_program", content=base64.b64encode(content).decode(), **giving)["changed"]
    path.unlink()
    assert host.ok("xdp_program", **options)["needs_content"]["checksum"] is None and host.xdp("eth0")


def test_check_mode_before_the_object_is_built(host: Host, tmp_path: t.Any) -> None:
    options = {"object": str(tmp_path / "none.bpf.o"), "interfaces": ["eth0"], "name": "packet_count"}
    predicted = host.ok("xdp_program", check=True, **options)
    assert predicted["changed"]
    assert predicted["steps"] == [
        "eth0: load packet_count",
        "eth0: attach by link, mode auto",
        "eth0: write the record",
    ]


def test_global_data_survives_an_upgrade_under_any_file_name(host: Host, compiled: Compiled, tmp_path: t.Any) -> None:
    """libbpf puts the file's name into the names of the maps for global data."""
    options: t.Dict[str, t.Any] = {"name": "walk", "interfaces": ["eth0"]}
    for number, name in enumerate(("first_name.bpf.o", "x.o", "a.very.long.file.name.o")):
        path = tmp_path / name
        with open(compiled("walkthrough"), "rb") as file:
            path.write_bytes(file.read() + b"\n" * number)
        steps = repaired(host, {**options, "object": str(path)})
        assert (number == 0) == ("eth0: load packet_count" in steps)
        host.send("eth0", 5)
        value = bpftool("map", "dump", "pinned", host.pin("eth0", "maps/%2Ebss", "walk"))
        assert value[0]["formatted"]["value"][".bss"][0]["counter"] == 5 * (number + 1)


def test_a_link_with_the_same_index_in_a_different_namespace_is_left_alone(host: Host, compiled: Compiled) -> None:
    """The kernel reports a link's ifindex but not its namespace: every container has an eth0 with index 2."""
    other = Host(f"{host.name}-other")
    pin = f"/sys/fs/bpf/{host.name}-link"
    try:
        number = attach_by_link(other, compiled("counter", VERSION=7), pin)
        host.enter("bpftool", "net", "attach", "xdp", "id", number, "dev", "eth0")
        options = {"object": compiled("packet_count"), "interfaces": ["eth0"], "on_conflict": "replace"}
        host.ok("xdp_program", **options)
        found = other.xdp("eth0")
        assert found and found["prog"]["id"] == number
        host.send("eth0", 3)
        assert host.counts() == (3, 192)
    finally:
        if os.path.exists(pin):
            os.unlink(pin)
        other.close()


def test_a_pin_of_the_wrong_kind_in_our_place(host: Host, attached: t.Dict[str, t.Any]) -> None:
    for name, other in (("link", "program"), ("program", "maps/counters"), ("maps/counters", "program")):
        path = host.pin("eth0", name)
        kind = "map" if other.startswith("maps") else "prog"
        os.unlink(path)
        sh("bpftool", kind, "pin", "pinned", host.pin("eth0", other), path)
        assert f"eth0: remove {path}" in repaired(host, attached)
    host.send("eth0", 2)
    assert host.counts() == (2, 128)


def test_a_foreign_pin_in_our_folder(host: Host, attached: t.Dict[str, t.Any]) -> None:
    extra = host.pin("eth0", "extra")
    sh("bpftool", "prog", "pin", "pinned", host.pin("eth0", "program"), extra)
    assert not host.ok("xdp_program", **attached)["changed"]
    repaired(host, {"name": "packet_count", "state": "absent"})
    assert os.path.exists(extra)
    os.unlink(extra)
    host.ok("xdp_program", name="packet_count", state="absent")
    assert not os.path.exists(host.pins)


def test_a_half_written_record(host: Host, attached: t.Dict[str, t.Any]) -> None:
    record = f"/run/ebpf_fleet/{host.pins.replace('/', '%2F')}/packet_count/eth0.json"
    shutil.copy(record, record + "%new")
    repaired(host, {"name": "packet_count", "state": "absent"})
    assert host.state()[0] == []


def test_a_renamed_interface(host: Host, attached: t.Dict[str, t.Any]) -> None:
    for words in (["down"], ["name", "lan0"], ["up"]):
        sh("ip", "-n", host.name, "link", "set", "dev", "lan0" if words == ["up"] else "eth0", *words)
    renamed = {**attached, "interfaces": ["lan0"]}
    message = host.refused("xdp_program", **renamed)
    assert "which this collection pinned for eth0 (was the interface renamed?)" in message
    host.ok("xdp_program", name="packet_count", state="absent", interfaces=["eth0"])
    host.ok("xdp_program", **renamed)
    assert host.xdp("lan0")


def test_a_missing_map_gives_a_warning(host: Host, compiled: Compiled) -> None:
    host.ok("xdp_program", object=compiled("counter", MORE=1), interfaces=["eth0"])
    for check in (True, False):
        result = host.ok("xdp_program", check=check, object=compiled("counter", VERSION=2), interfaces=["eth0"])
        assert "has no map a_map_with_a_long_name: what was counted there on eth0 is gone" in str(result["warnings"])


def test_the_object_file_is_restored_if_an_interface_fails(host: Host, compiled: Compiled, tmp_path: t.Any) -> None:
    host.plug("jumbo0", 9000)
    path = tmp_path / "x.bpf.o"
    with open(compiled("counter", VERSION=2), "rb") as file:
        content = base64.b64encode(file.read()).decode()
    options = {"content": content, "interfaces": ["eth0", "jumbo0"], "mode": "native"}
    host.refused("xdp_program", object=str(path), **options)
    assert not path.exists()
    path.write_bytes(b"as it was")
    host.refused("xdp_program", object=str(path), **options)
    assert path.read_bytes() == b"as it was"
    for bad in (str(tmp_path), "x.bpf.o"):
        assert "is not the absolute path of a file" in host.refused("xdp_program", object=bad, **options)


@pytest.fixture
def building(tmp_path: pathlib.Path) -> t.Dict[str, t.Any]:
    """Options of a task that also compiles, into a folder that does not exist yet."""
    source = (BPF / "counter.bpf.c").read_text()
    folder = tmp_path / "not" / "there"
    build = {"src": f"{folder}/counter.bpf.c", "content": source, "defines": {"VERSION": 1}}
    return {"object": f"{folder}/counter.bpf.o", "build": build, "interfaces": ["eth0"], "name": "packet_count"}


def test_build_and_attach_in_one_task(host: Host, building: t.Dict[str, t.Any]) -> None:
    before, path = host.state(), pathlib.Path(building["object"])
    predicted = host.ok("xdp_program", check=True, **building)
    assert host.state() == before and not path.parent.parent.exists()
    done = host.ok("xdp_program", **building)
    assert (done["steps"], done["diff"], done["build"]) == (predicted["steps"], predicted["diff"], predicted["build"])
    source = building["build"]["src"]
    assert done["steps"][:4] == [f"compile {source}", f"write {source}", f"write {path}", "eth0: load packet_count"]
    assert done["build"]["reasons"] == ["there is no object yet"] and done["build"]["programs"][0]["section"] == "xdp"
    assert done["diff"]["before"][str(path)]["checksum"] is None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done["build"]["checksum"]

    again = host.ok("xdp_program", **building)
    assert not again["changed"] and not again["steps"] and not again["build"]["reasons"]
    as_object = {"src": source, "dest": str(path), "defines": {"VERSION": 1}}
    assert not host.ok("bpf_object", **as_object)["changed"], "it writes the record that bpf_object reads"

    host.send("eth0", 7)
    building["build"]["defines"] = {"VERSION": 2}
    steps = repaired(host, building)
    assert steps[:2] == [f"compile {source}", f"write {path}"] and "eth0: swap the program in the link" in steps
    host.send("eth0", 1)
    assert host.counts()[0] == 8


def test_a_built_object_is_rolled_back_with_the_rest(host: Host, building: t.Dict[str, t.Any]) -> None:
    """The jumbo interface fails in native mode, after eth0 has been changed."""
    host.plug("jumbo0", 9000)
    path, both = pathlib.Path(building["object"]), {**building, "interfaces": ["eth0", "jumbo0"], "mode": "native"}
    host.refused("xdp_program", **both)
    assert not path.parent.parent.exists()
    host.ok("xdp_program", **building)
    files = {each: each.read_bytes() for each in path.parent.iterdir()}
    both["build"] = {**building["build"], "content": building["build"]["content"] + "/* more */", "defines": {"X": 1}}
    host.refused("xdp_program", **both)
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == files
    assert not host.ok("xdp_program", **building)["changed"]


def test_a_refused_build_changes_nothing(host: Host, building: t.Dict[str, t.Any]) -> None:
    host.ok("xdp_program", **building)
    state, build = host.state(), building["build"]
    for wrong, words in (
        ({"build": {**build, "content": "int broken(\n"}}, "does not compile"),
        ({"build": {**build, "clang": "/none/clang"}}, "install the package clang"),
        ({"build": {**build, "src": building["object"]}}, "would overwrite its source"),
        ({"build": {**build, "src": "counter.bpf.c"}}, "not the absolute path of a file"),
        ({"build": {**build, "content": "int none;\n"}}, "has no XDP program"),
        ({"content": "AAAA"}, "mutually exclusive"),
        ({"checksum": "0" * 64}, "refused, and nothing was changed"),
    ):
        assert words in host.refused("xdp_program", **{**building, **wrong})
        assert host.state() == state


def test_what_others_can_write_is_not_compiled(
    host: Host, building: t.Dict[str, t.Any], tmp_path: pathlib.Path
) -> None:
    host.ok("xdp_program", **building)
    build, folder = building["build"], pathlib.Path(building["object"]).parent
    unsafe = "is not safe to compile and load"
    headers = tmp_path / "headers"
    headers.mkdir()
    (headers / "more.h").write_text("#define MORE_OF_IT 1\n")
    more = {**build, "content": '#include "more.h"\n' + build["content"], "include_dirs": [str(headers)]}
    os.chown(headers / "more.h", 65534, 65534)
    assert unsafe in host.refused("xdp_program", **{**building, "build": more})
    os.chown(headers, 65534, 65534)
    shutil.copy(sys.executable, headers / "clang")
    assert unsafe in host.refused("xdp_program", **{**building, "build": {**build, "clang": str(headers / "clang")}})
    record = folder / ".counter.bpf.o.build.json"
    os.chown(record, 65534, 65534)  # its owner could claim that nothing needs compiling
    assert unsafe in host.refused("xdp_program", **building)
    os.chown(record, 0, 0)
    os.chmod(folder, 0o777)
    assert unsafe in host.refused("xdp_program", **building)
    elsewhere = {**building, "object": str(tmp_path / "own" / "counter.bpf.o")}
    assert unsafe in host.refused("xdp_program", **elsewhere)
    assert not host.ok("xdp_program", allow_unsafe_paths=True, **building)["changed"]


def test_an_object_that_no_interface_can_run_is_not_written(host: Host, building: t.Dict[str, t.Any]) -> None:
    """A veth cannot offload, so on_error=continue has no interface left to continue with."""
    result = host.module("xdp_program", mode="offload", on_error="continue", **building)
    assert result["failed"] and not result["changed"] and result["steps"] == []
    assert not pathlib.Path(building["object"]).parent.parent.exists()
    host.plug("jumbo0", 9000)
    both = {**building, "interfaces": ["eth0", "jumbo0"], "mode": "native", "on_error": "continue"}
    result = host.module("xdp_program", **both)
    assert result["failed"] and result["changed"] and pathlib.Path(building["object"]).exists()
    assert host.xdp("eth0") and not host.xdp("jumbo0")


def test_a_symlink_at_the_objects_path_is_restored(
    host: Host, compiled: Compiled, building: t.Dict[str, t.Any], tmp_path: pathlib.Path
) -> None:
    host.plug("jumbo0", 9000)
    path = pathlib.Path(building["object"])
    path.parent.mkdir(parents=True)
    for there in (compiled("counter", VERSION=3), str(tmp_path / "nowhere")):
        path.symlink_to(there)
        host.refused("xdp_program", **{**building, "interfaces": ["eth0", "jumbo0"], "mode": "native"})
        assert os.readlink(path) == there
        path.unlink()


def test_an_object_that_cannot_be_written(host: Host, building: t.Dict[str, t.Any], tmp_path: pathlib.Path) -> None:
    """Its name is short enough, but not that of the temporary file beside it. The change is rolled back."""
    path = tmp_path / "a" / "b" / ("x" * 250 + ".o")
    message = host.refused("xdp_program", **{**building, "object": str(path)})
    assert "File name too long" in message and "rollback" not in message
    assert not (tmp_path / "a").exists() and not host.xdp("eth0")


def test_the_next_run_accepts_the_folders_that_were_created(host: Host, building: t.Dict[str, t.Any]) -> None:
    umask = os.umask(0o002)
    try:
        host.ok("xdp_program", **building)
        assert not host.ok("xdp_program", **building)["changed"]
    finally:
        os.umask(umask)


def test_check_mode_before_the_source_exists(host: Host, building: t.Dict[str, t.Any]) -> None:
    del building["build"]["content"]
    predicted = host.ok("xdp_program", check=True, **building)
    assert predicted["steps"][0] == "eth0: load packet_count" and "there is no source" in str(predicted["warnings"])
    assert "there is no source" in host.refused("xdp_program", **building)


def test_other_links_come_and_go_during_a_run(host: Host, compiled: Compiled, attached: t.Dict[str, t.Any]) -> None:
    """The kernel answers EAGAIN for a link that is still being created."""
    code = (
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import info, links\n"
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf\n"
        "from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.objects import open_object\n"
        "import socket, sys\n"
        "lib = Libbpf(); o = open_object(lib, open(sys.argv[1], 'rb').read(), 'x'); o.load({'packet_count'}, {})\n"
        "fd = o.program_fd('packet_count'); index = socket.if_nametoindex('busy0')\n"
        "while True:\n"
        "    try:\n"
        "        with links.create(lib, fd, index, 'generic'): pass\n"
        "    except OSError: pass"
    )
    host.plug("busy0")
    command = ["nsenter", f"--net=/run/netns/{host.name}", sys.executable, "-c", code, compiled("counter")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(COLLECTIONS)}) as busy:
        try:
            for _run in range(10):
                assert not host.ok("xdp_program", **attached)["changed"]
        finally:
            busy.kill()


def test_tail_calls_reach_the_programs_of_the_same_object(host: Host, compiled: Compiled) -> None:
    for version, expected in ((1, 1), (10, 11)):
        options = {"object": compiled("tail", VERSION=version), "program": "entry", "interfaces": ["eth0"]}
        repaired(host, options)
        host.send("eth0", 1)
        assert host.counts(name="entry")[0] == expected
