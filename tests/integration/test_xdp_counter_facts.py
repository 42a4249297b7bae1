# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_counter_facts on a real kernel: exact counts, rates, and trace lines that are not taken from other readers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf import info
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import Libbpf
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.probe import test_run as run_program
from commands import bpftool
from host import Host
from paths import BPF

Compiled = t.Callable[..., str]
INSTANCES = "/sys/kernel/tracing/instances"


@pytest.fixture
def deployed(host: Host, compiled: Compiled) -> Host:
    host.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0", "eth0.10"])
    return host


def facts(host: Host, **options: t.Any) -> t.Dict[str, t.Any]:
    result = host.ok("xdp_counter_facts", **options)
    assert {key for key in result if key not in ("invocation", "warnings")} <= {"ansible_facts", "changed"}
    assert list(result["ansible_facts"]) == ["xdp_counter"]
    return t.cast("dict[str, t.Any]", result["ansible_facts"]["xdp_counter"])


def switch(host: Host, interface: str = "eth0") -> int:
    dump = bpftool("map", "dump", "pinned", host.pin(interface, "maps/%2Edata"))
    variables = dump[0]["formatted"]["value"][".data"]
    return t.cast(int, variables[0]["trace"]["every"])


def our_instances() -> t.List[str]:
    return [name for name in os.listdir(INSTANCES) if name.startswith("ebpf_fleet")]


def until(true: t.Callable[[], t.Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def test_counts_equal_packets_sent_and_bpftools_counts(deployed: Host) -> None:
    deployed.send("eth0", 1234, 100)
    deployed.send("eth0.10", 5, 1514)
    found = facts(deployed)
    assert found["program"] == "packet_count"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["collected_at"])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert found["boot_id"] == file.read().strip()
    assert found["totals"] == {"packets": 1239, "bytes": 123400 + 7570}
    for interface in ("eth0", "eth0.10"):
        each = found["interfaces"][interface]
        program = bpftool("prog", "show", "pinned", deployed.pin(interface, "program"))
        assert (each["packets"], each["bytes"]) == deployed.counts(interface)
        assert sum(cpu["packets"] for cpu in each["per_cpu"]) == each["packets"]
        assert (each["program_id"], each["tag"], each["mode"]) == (program["id"], program["tag"], "native")
        loaded = time.mktime(time.strptime(each["loaded_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        assert abs(loaded - program["loaded_at"]) <= 1
        assert each["attached"] is True
        assert "packets_per_second" not in each
    assert "trace" not in found


def test_ten_million_packets_on_two_cpus_at_once(deployed: Host) -> None:
    each, cpus = 5_000_000, sorted(os.sched_getaffinity(0))[:2]
    lib = Libbpf()

    def run(cpu: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        with lib.get(deployed.pin("eth0", "program")) as program:
            run_program(lib, program, bytes(64), each)

    threads = [threading.Thread(target=run, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = facts(deployed, interfaces=["eth0"])["interfaces"]["eth0"]
    assert found["per_cpu"] == [{"cpu": cpu, "packets": each, "bytes": 64 * each} for cpu in cpus]
    assert found["packets"] == each * len(cpus) == deployed.counts()[0]


def test_rates(deployed: Host) -> None:
    reading = deployed.start("xdp_counter_facts", interval=1.5)
    time.sleep(0.7)
    deployed.send("eth0", 300)
    out, _err = reading.communicate(timeout=60)
    rate = float(re.findall(r'"packets_per_second": ([\d.]+)', out)[0])
    assert 0 < rate <= 300 / 1.5


def test_nothing_deployed_is_not_an_error(host: Host) -> None:
    found = facts(host)
    assert found["interfaces"] == {}
    assert found["totals"] == {"packets": None, "bytes": None}
    result = host.ok("xdp_counter_facts", interfaces=["eth0"])
    assert "packet_count is not on eth0" in str(result["warnings"])


def test_trace_lines_of_packets_sent_and_no_line_taken_from_others(deployed: Host) -> None:
    with subprocess.Popen(["cat", "/sys/kernel/tracing/trace_pipe"], stdout=subprocess.PIPE, text=True) as other:
        reading = deployed.start("xdp_counter_facts", trace_seconds=2, interfaces=["eth0"])
        until(lambda: switch(deployed))
        deployed.send("eth0", 20)
        deployed.send("eth0.10", 7)  # not asked for
        out, err = reading.communicate(timeout=60)
        other.terminate()
        seen_by_other = other.communicate()[0]
    trace = json.loads(out)["ansible_facts"]["xdp_counter"]["trace"]
    messages = [line["message"] for line in trace["lines"]]
    assert [message.split(" packets ")[1] for message in messages] == [str(number) for number in range(1, 21)], err
    assert all(set(line) == {"task", "pid", "cpu", "timestamp", "message"} for line in trace["lines"])
    assert trace["lost"] == 0
    assert 2 <= trace["seconds"] < 3
    last_tag = seen_by_other.rsplit("packet_count ", 1)[-1].split()[0]  # it also read lines of earlier tests
    assert seen_by_other.count(f"packet_count {last_tag} ") == 20
    assert switch(deployed) == 0
    assert our_instances() == []
    # The switch is off: nothing more is printed.
    deployed.send("eth0", 5)
    assert deployed.counts()[0] == 25


def test_trace_stops_at_the_requested_number_of_lines_and_prints_every_nth(deployed: Host) -> None:
    reading = deployed.start("xdp_counter_facts", trace_seconds=30, trace_lines=3, trace_every=10)
    until(lambda: switch(deployed) == 10)
    deployed.send("eth0", 40)
    start = time.monotonic()
    out, _err = reading.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert re.findall(r"packets (\d+)\"", out) == ["10", "20", "30"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_tracing_is_switched_off_when_the_module_is_killed(deployed: Host, number: int) -> None:
    reading = deployed.start("xdp_counter_facts", trace_seconds=60)
    until(lambda: switch(deployed))
    assert len(our_instances()) == 1
    reading.send_signal(number)
    reading.wait(timeout=10)
    until(lambda: switch(deployed) == 0 and our_instances() == [])


def test_tracing_is_switched_off_when_the_guard_is_killed_too(deployed: Host) -> None:
    reading = deployed.start("xdp_counter_facts", trace_seconds=2)
    until(lambda: switch(deployed))
    with open(f"/proc/{reading.pid}/task/{reading.pid}/children", encoding="ascii") as children:
        guard = int(children.read())
    os.kill(guard, signal.SIGKILL)
    reading.kill()
    reading.wait()
    time.sleep(3.5)  # until a second after the time that the module had set
    deployed.send("eth0", 1)
    assert switch(deployed) == 0
    assert len(our_instances()) == 1
    facts(deployed, trace_seconds=0.1)
    assert our_instances() == []


def test_two_readers_take_turns(deployed: Host) -> None:
    readers = [deployed.start("xdp_counter_facts", trace_seconds=1) for _time in range(2)]
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert '"seconds": 1' in out, err
    assert switch(deployed) == 0 and our_instances() == []


def test_check_mode_traces_nothing(deployed: Host) -> None:
    found = facts(deployed, check=True, trace_seconds=5)
    assert found["trace"] == {"lines": [], "lost": 0, "seconds": 0.0}


def test_the_walkthroughs_own_program(host: Host, tmp_path: t.Any) -> None:
    """Built by bpf_object, attached by xdp_program, its numbers found in the trace facts."""
    built = host.ok("bpf_object", src=str(BPF / "walkthrough.bpf.c"), dest=str(tmp_path / "walkthrough.bpf.o"))
    host.ok("xdp_program", object=built["dest"], checksum=built["checksum"], name="walkthrough", interfaces=["eth0"])
    reading = host.start("xdp_counter_facts", name="walkthrough", trace_seconds=2)
    until(our_instances)
    time.sleep(0.2)
    host.send("eth0", 12)
    out, _err = reading.communicate(timeout=60)
    found = json.loads(out)["ansible_facts"]["xdp_counter"]
    assert [line["message"] for line in found["trace"]["lines"]] == [str(number) for number in range(12)]
    assert found["interfaces"]["eth0"]["packets"] is None
    assert found["totals"] == {"packets": None, "bytes": None}
    # Its global counter survives an upgrade like any other map.
    host.ok("bpf_object", src=str(BPF / "walkthrough.bpf.c"), dest=built["dest"], defines={"UNUSED": 1}, cpu="v2")
    host.ok("xdp_program", object=built["dest"], name="walkthrough", interfaces=["eth0"])
    value = bpftool("map", "dump", "pinned", host.pin("eth0", "maps/%2Ebss", "walkthrough"))
    assert value[0]["formatted"]["value"][".bss"][0]["counter"] == 12


def test_no_file_descriptor_is_left_open(deployed: Host) -> None:
    """The code that opens kernel objects closes them."""
    lib = Libbpf()
    before = len(os.listdir("/proc/self/fd"))
    for _time in range(3):
        with lib.get(deployed.pin("eth0", "program")) as program:
            info.program_info(lib, program)
        list(info.links(lib))
        with pytest.raises(OSError):
            lib.get(deployed.pin("eth0", "nothing"))
    assert len(os.listdir("/proc/self/fd")) == before
