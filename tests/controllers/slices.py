# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slices.py PREFIX: a fleet in two slices, by workers of ansible-runner over SSH, as docs/scale.md prints it.

The containers are those of the Molecule scenario `slices`, which runs this: two workers, and a controller that reaches
the hosts by these only. One worker is killed half-way. A line is printed for each command; what differs ends it with a
sentence.
"""

from __future__ import annotations

import concurrent.futures
import json
import re
import sys
import time
import typing as t

from container import SECONDS, Container, Differs, expect
from pages import blocks, section
from paths import ROOT
from web_page import WebPage

WORKERS = {"worker1": ("one", "two"), "worker2": ("three", "four")}
SENT = {"one": 3, "two": 4, "three": 5, "four": 6}  # packets
VARIABLES = {
    "ansible_connection": "ebpf.fleet.netns",
    "ansible_host": "fleet--{{ inventory_hostname }}",
    "ansible_python_interpreter": "/usr/bin/python3",
    "xdp_counter_build": "controller",
    "xdp_counter_directory": "/usr/local/lib/ebpf_fleet_{{ inventory_hostname }}",
    "xdp_counter_interfaces": ["eth0"],
}
BEGUN = "runner_on_start"  # ansible-runner's event, when a host begins a task
LEFT = "find /etc/systemd /run /sys/fs/bpf /usr/local/lib /var/lib -name '*ebpf*fleet*'"
PROGRAMS = "find /sys/fs/bpf -path '*/packet_count/*' -name program -exec bpftool --json prog show pinned {} ';'"
# As a user's: sshd gives a command no PATH but this, and ansible-core looks for collections there.
SYSTEM_WIDE = """\
ln -s /opt/ansible/bin/ansible-playbook /opt/ansible/bin/ansible-runner /usr/local/bin/
mkdir -p /usr/share/ansible
ln -s /opt/ansible/collections /usr/share/ansible/collections
"""


def inventory(hosts: t.Iterable[str]) -> str:
    return json.dumps({"fleet": {"vars": VARIABLES, "hosts": {host: {} for host in hosts}}})


class Story:
    def __init__(self, prefix: str) -> None:
        self._controller = Container(f"{prefix}--hub", NO_COLOR="1", LC_ALL="C.UTF-8")
        self._workers = {name: Container(f"{prefix}--{name}") for name in WORKERS}
        whole, *runner = [
            "\n".join([line.command, *line.shown])
            for block in blocks(section(ROOT / "docs/scale.md", "In slices"))
            for line in block.lines()
            if "--limit" not in line.command
        ]
        self._join, (self._run, self._collect) = whole, runner

    def run(self) -> None:
        self.prepare()
        self.killed("worker2", "ebpf.fleet.deploy")
        self.slice("worker1", "ebpf.fleet.deploy")
        programs = self.programs("worker1")
        expect(programs.count('"id":') == len(WORKERS["worker1"]), "these are not its programs", programs)
        said = self.join(fails=True)
        expect("2 of 4 hosts in no slice: three, four" in said, "the slice that was killed is not named", said)
        self.slice("worker2", "ebpf.fleet.deploy")
        said = self.join()
        every = ", ".join(f"{host} eth0" for host in SENT)
        expect(every in " ".join(said.split()), "the joined slices do not say that all hosts have one version", said)
        expect(self.programs("worker1") == programs, "the slice that stood has been done again", programs)
        self.slice("worker1", "ebpf.fleet.deploy")
        expect(self.programs("worker1") == programs, "the same once more has changed something", programs)
        for name, hosts in WORKERS.items():
            for number, host in enumerate(hosts):
                ping = f"ip netns exec fleet--hub ping -q -i 0.01 -c {SENT[host]} 10.9.{101 + number}.2"
                self._workers[name].run(*ping.split())
        self._controller.run("rm", "-r", "rows")
        for name in WORKERS:
            self.slice(name, "ebpf.fleet.facts")
        self.join()
        rows = json.loads(self._controller.run("cat", "counts.json"))
        counted = [(row["host"], row["interface"], row["packets"]) for row in rows]
        expect(
            sorted(counted) == sorted((host, "eth0", number) for host, number in SENT.items()),
            "these are not the rows",
            rows,
        )
        page = WebPage(self._controller.run("cat", "fleet.html")).rows("all")
        expect({row["Host"]: int(row["Packets"]) for row in page} == SENT, "this page does not show them", str(page))
        for name, worker in self._workers.items():
            self.slice(name, "ebpf.fleet.remove")
            left = worker.run("sh", "-c", LEFT)
            expect(not left, f"something is left on {name}", left)

    def prepare(self) -> None:
        everywhere = (self._controller, *self._workers.values())
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for versions in pool.map(
                lambda each: each.install("/opt/ansible", "ansible-core", "ansible-runner"), everywhere
            ):
                print(versions, flush=True)
        for each in everywhere:
            each.run("sh", "-ec", SYSTEM_WIDE)
        for name, hosts in WORKERS.items():
            number = name[-1]
            self._controller.run("mkdir", "-p", f"slice{number}/inventory", f"slice{number}/project")
            self._controller.write(f"slice{number}/inventory/hosts.json", inventory(hosts))
        self._controller.write("inventory.yml", inventory(SENT))

    def of(self, worker: str, command: str) -> str:
        """A line of the page, which prints those of the first."""
        return command.replace("slice1", f"slice{worker[-1]}").replace("worker1", worker)

    def slice(self, worker: str, playbook: str) -> str:
        self._controller.run("rm", "-rf", f"slice{worker[-1]}/artifacts")
        command = self.of(worker, self._run).replace("ebpf.fleet.facts", playbook)
        said = self._controller.quietly(command, "bash", "-c", command)
        numbers = re.findall(r"^(\w+) +: .*unreachable=0 +failed=0 ", said, re.M)
        expect(sorted(numbers) == sorted(WORKERS[worker]), f"{worker} has not done its hosts", said)
        if playbook != "ebpf.fleet.remove":
            command = f"mkdir -p rows && {self.of(worker, self._collect)}"
            self._controller.quietly(command, "bash", "-c", command)
        return said

    def killed(self, worker: str, playbook: str) -> None:
        """All that runs below its sshd, when its first host is at work."""
        sent, arrived, processed = self.of(worker, self._run).replace("ebpf.fleet.facts", playbook).split(" |")
        command = f"{sent} | {arrived.strip()} | tee arrived | {processed}"
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ending = pool.submit(self._controller.quietly, command, "bash", "-c", command)
            began = time.monotonic()
            begun = False
            while not begun:
                expect(
                    time.monotonic() < began + SECONDS and not ending.done(),
                    "its hosts were not seen to begin",
                    command,
                )
                time.sleep(0.1)
                begun = bool(self._controller.run("sh", "-c", f"grep -s {BEGUN} arrived || true"))
            self._workers[worker].run("systemctl", "kill", "--signal=KILL", "ssh")
            said = ending.result()
        expect("PLAY RECAP" not in said, f"{worker} had ended before it was killed", said)
        rows = self._controller.run("find", f"slice{worker[-1]}", "-name", "rows.json")
        expect(not rows, f"{worker} was killed, and has rows", rows)
        self._workers[worker].run("sh", "-ec", "systemctl reset-failed ssh; systemctl restart ssh")

    def programs(self, worker: str) -> str:
        """With their ids, and since when each is loaded."""
        return self._workers[worker].run("sh", "-c", PROGRAMS)

    def join(self, fails: bool = False) -> str:
        return self._controller.quietly(self._join, "bash", "-c", self._join, fails=fails)


def main() -> int:
    try:
        Story(sys.argv[1]).run()
    except Differs as error:
        print(f"slices: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
