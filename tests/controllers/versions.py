# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""versions.py CONTAINER: each version of ansible-core that README.md names, and the newest, as a controller.

The container is that of the Molecule scenario `controllers`, which runs this. In it each version is installed from
wheels, and the collection from the file that a release is. Then all playbooks run against the scenario's own inventory:
the container itself, and two network namespaces. A line is printed for each; what differs ends it with a sentence.
"""

from __future__ import annotations

import concurrent.futures
import json
import re
import sys
import typing as t

from container import Container, Differs, expect
from paths import ROOT
from web_page import WebPage

VERSIONS = ("2.19", "2.20", "2.21")
NEWEST = ""  # on the registry; it may be one of these
SENT = {"itself": 5, "leaf1": 10, "leaf2": 20}  # packets
FRAME = 98  # bytes, of a ping
LEFT = "find /etc/systemd /run /sys/fs/bpf /usr/local/lib /var/lib -name '*ebpf*fleet*'"
PLAY = """\
- hosts: all
  gather_facts: false
  roles:
    - ebpf.fleet.xdp_counter
  tasks:
    - ebpf.fleet.xdp_counter_facts:
    - ansible.builtin.debug:
        msg: "{{ hostvars | ebpf.fleet.counter_rows('sum([].packets)') }} packets"
      run_once: true
"""


def changed(said: str) -> t.Dict[str, int]:
    """By host, of the recap."""
    return {host: int(number) for host, number in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) ", said, re.M)}


class Controller:
    """A version of ansible-core."""

    def __init__(self, container: str, version: str) -> None:
        self._folder = f"/opt/ansible-{version or 'newest'}"
        self._on = Container(
            container,
            ANSIBLE_COLLECTIONS_PATH=f"{self._folder}/collections",
            ANSIBLE_DEPRECATION_WARNINGS="true",
            ANSIBLE_HOME=f"{self._folder}/home",
            ANSIBLE_PIPELINING="true",
            LC_ALL="C.UTF-8",
            NO_COLOR="1",
            PATH=f"{self._folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        self._version = version

    def install(self) -> str:
        """Returns which version it is."""
        wanted = f"ansible-core=={self._version}.*" if self._version else "ansible-core"
        said = self._on.install(self._folder, wanted, "jmespath")
        expect(f"[core {self._version}" in said, f"this is not ansible-core {self._version}", said)
        return said

    def play(self, words: str) -> str:
        return self._on.quietly(f"ansible-playbook {words}", "ansible-playbook", "-i", "fleet", *words.split())

    def run(self) -> None:
        said = self.play("ebpf.fleet.preflight")
        expect("3 of 3 hosts are ready" in said, "not all hosts are ready", said)
        self.everywhere("ebpf.fleet.deploy", lambda number: number > 0)
        self.send()
        self.play("ebpf.fleet.facts -e xdp_counter_report=/srv/rows.json")
        rows = self._on.run("cat", "/srv/rows.json")
        counted = {(row["host"], row["interface"]): (row["packets"], row["bytes"]) for row in json.loads(rows)}
        sent = {(host, "eth0"): (packets, FRAME * packets) for host, packets in SENT.items()}
        expect(counted == sent, f"these rows are not what was sent, {sent}", rows)
        self.play("ebpf.fleet.report -e xdp_report=/srv/fleet.html")
        page = WebPage(self._on.run("cat", "/srv/fleet.html")).rows("all")
        shown = {row["Host"]: int(row["Packets"]) for row in page}
        expect(shown == SENT, f"this page does not show what was sent, {SENT}", str(page))
        self.everywhere("ebpf.fleet.deploy", lambda number: number == 0)
        self._on.write("/srv/play.yml", PLAY)
        said = self.everywhere("play.yml", lambda number: number == 0)
        expect(f"{sum(SENT.values())} packets" in said, "the query has not found all packets", said)
        self.everywhere("ebpf.fleet.remove", lambda number: number > 0)
        left = self._on.run("sh", "-c", LEFT)
        expect(not left, "something is left after remove", left)

    def everywhere(self, playbook: str, as_it_ought: t.Callable[[int], bool]) -> str:
        said = self.play(playbook)
        numbers = changed(said)
        expect(
            numbers.keys() == SENT.keys() and all(map(as_it_ought, numbers.values())), f"{playbook}: {numbers}", said
        )
        return said

    def send(self) -> None:
        """From the hub of the network namespaces; to the container itself come the answers of its own hub."""
        hub = ["ip", "netns", "exec", "fleet--hub"]
        for host, from_ in (("itself", []), ("leaf1", hub), ("leaf2", hub)):
            address = {"itself": "10.9.0.1", "leaf1": "10.9.101.2", "leaf2": "10.9.102.2"}[host]
            self._on.run(*from_, "ping", "-q", "-i", "0.01", "-c", str(SENT[host]), address)


def main() -> int:
    (required,) = re.findall("^requires_ansible: '(.*)'$", (ROOT / "meta/runtime.yml").read_text(), re.M)
    controllers = [Controller(sys.argv[1], version) for version in (*VERSIONS, NEWEST)]
    taken: t.List[str] = []
    try:
        expect(required == f">={VERSIONS[0]}.0", "meta/runtime.yml requires something else", required)
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:  # the next is made while one runs
            installed = [pool.submit(each.install) for each in controllers]
            for controller, ready in zip(controllers, installed):
                version = ready.result()
                if version in taken:
                    print(f"The newest is {version}, which has been run.")
                    continue
                print(version, flush=True)
                controller.run()
                taken.append(version)
    except Differs as error:
        print(f"controllers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
