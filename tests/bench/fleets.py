# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane: Ansible over fleets of network namespaces, ours beside ping and beside a playbook of commands."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
import typing as t

from conftest import COLLECTIONS, ROOT, sh
from report import Row, at_most, of_rounds

FLEET = "control plane, {} hosts (network namespaces of this machine, 10 forks, pipelining)"
SSH = "control plane, 5 hosts over SSH (sshd on this machine, 10 forks)"
COMMAND = "make bench MODE=full"
BIN = pathlib.Path(sys.executable).parent
HERE = pathlib.Path(__file__).parent
PREFIX = "ebpf-bench-"
BPFFS = pathlib.Path("/sys/fs/bpf")

PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Ping", "ansible.builtin.ping": {}}]}]
FACTS = [{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Facts", "ebpf.fleet.xdp_counter_facts": {}}]}]


class Run(t.NamedTuple):
    """Of one command, start included: seconds by the clock, and of CPU on the controller and the hosts together."""

    wall: float
    cpu: float
    changed: int
    tasks: float


class Fleet:
    """So many hosts, with their inventory and Ansible's commands on them."""

    def __init__(self, folder: pathlib.Path, count: int) -> None:
        self.count = count
        self.folder = folder / f"fleet-{count}"
        self.folder.mkdir()
        self.names = [f"{PREFIX}{number}" for number in range(count)]
        lines = []
        for name in self.names:
            sh("ip", "netns", "add", name)
            lines += [f"link add name eth0 netns {name} type veth peer name p0 netns {name}"]
        (self.folder / "batch").write_text("\n".join(lines) + "\n")
        sh("ip", "-batch", self.folder / "batch")
        for name in self.names:
            (self.folder / "batch").write_text("link set dev eth0 up\nlink set dev p0 up\n")
            sh("ip", "-n", name, "-batch", self.folder / "batch")
        for name, play in (("ping", PING), ("facts", FACTS)):
            (self.folder / f"{name}.yml").write_text(json.dumps(play))
        self.inventory({"ansible_connection": "ebpf.fleet.netns"})

    def inventory(self, connection: t.Dict[str, t.Any], hosts: t.Optional[t.Sequence[str]] = None) -> None:
        common = {
            "ansible_python_interpreter": sys.executable,
            "xdp_counter_interfaces": ["eth0"],
            "xdp_counter_directory": f"{self.folder}/{{{{ inventory_hostname }}}}",
            "xdp_counter_controller_directory": f"{self.folder}/controller",
            "source": str(ROOT / "files/bpf/packet_count.bpf.c"),
        }
        found = {"all": {"vars": {**common, **connection}, "hosts": {name: {} for name in hosts or self.names}}}
        (self.folder / "hosts.json").write_text(json.dumps(found))

    def play(self, playbook: str, *more: str, **environment: str) -> Run:
        env = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_FORKS": "10",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "PWD": str(self.folder),
            **environment,
        }
        words = [str(BIN / "ansible-playbook"), "-i", str(self.folder / "hosts.json"), playbook, *more]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd=self.folder)
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"bench: {playbook} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        recap = re.findall(r"^\S+ +: ok=(\d+) +changed=(\d+) ", done.stdout, re.M)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(
            wall, cpu, sum(int(changed) for _ok, changed in recap), sum(int(ok) for ok, _c in recap) / len(recap)
        )

    def sent(self, playbook: str) -> t.Tuple[float, float]:
        """Commands run on each host, and bytes sent to it."""
        counts = self.folder / "counts"
        counts.write_text("")
        self.inventory({"ansible_connection": "counted_netns"})
        self.play(playbook, ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection"), BENCH_COUNTS=str(counts))
        self.inventory({"ansible_connection": "ebpf.fleet.netns"})
        sizes = [int(line) for line in counts.read_text().split()]
        return len(sizes) / self.count, sum(sizes) / self.count

    def remove_rival(self) -> None:
        for name in self.names:
            sh("ip", "-n", name, "link", "set", "dev", "eth0", "xdp", "off")
        self._remove_rivals_files()

    @staticmethod
    def _remove_rivals_files() -> None:
        for pin in BPFFS.glob(f"rival-{PREFIX}*"):
            shutil.rmtree(pin) if pin.is_dir() else pin.unlink()
        shutil.rmtree("/run/rival", ignore_errors=True)

    def close(self) -> None:
        self._remove_rivals_files()
        for name in self.names:
            if os.path.exists(f"/run/netns/{name}"):
                sh("ip", "netns", "del", name)
            shutil.rmtree(f"/sys/fs/bpf/ebpf_fleet@{name}", ignore_errors=True)
            shutil.rmtree(f"/run/ebpf_fleet/%2Fsys%2Ffs%2Fbpf%2Febpf_fleet@{name}", ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir("/run/ebpf_fleet")
        shutil.rmtree(self.folder, ignore_errors=True)


def control_plane(folder: pathlib.Path, sizes: t.Sequence[int]) -> t.List[Row]:
    rows: t.List[Row] = []
    costs: t.Dict[str, t.Dict[int, float]] = {}
    for count in sizes:
        fleet = Fleet(folder, count)
        try:
            rows += _one_fleet(fleet, costs)
            if count == sizes[0]:
                fleet.play("ebpf.fleet.remove")
                rows += _compiled_once(fleet) + _over_ssh(fleet)
        finally:
            fleet.close()
    if {50, 200} <= set(sizes):
        for name in (name for name, by_size in costs.items() if {50, 200} <= set(by_size)):
            by_size = costs[name]
            row = Row(
                FLEET.format("50 and 200"),
                f"{name}: cost of a host, 200 over 50",
                by_size[200] / by_size[50],
                "times",
                COMMAND,
            )
            rows.append(at_most(row, 1.1))
    return rows


def _one_fleet(fleet: Fleet, costs: t.Dict[str, t.Dict[int, float]]) -> t.List[Row]:
    section, hosts = FLEET.format(fleet.count), fleet.count
    rivals = hosts <= 50  # beyond, the rival takes longer than all the rest of the benchmark
    rounds = {10: 5, 50: 3}.get(hosts, 1)
    runs: t.Dict[str, t.List[Run]] = {}
    sent: t.Dict[str, t.Tuple[float, float]] = {}

    def run(name: str, playbook: str, *more: str) -> Run:
        found = fleet.play(playbook, *more)
        runs.setdefault(name, []).append(found)
        return found

    if rivals:
        run("rival, first", str(HERE / "rival.yml"))
        again = run("rival, unchanged", str(HERE / "rival.yml"))
        if again.changed:
            sys.exit("bench: the rival changed something when it ran again: it is no fair rival")
        if hosts == 10:
            sent["rival"] = fleet.sent(str(HERE / "rival.yml"))
        fleet.remove_rival()
    run("deploy, first", "ebpf.fleet.deploy")
    run("deploy, unchanged", "ebpf.fleet.deploy")
    for _round in range(rounds):
        run("ping", "ping.yml")
        run("xdp_counter_facts", "facts.yml")
    rows = []
    for name, found in runs.items():
        rows.append(of_rounds(section, f"{name}: wall", [each.wall / hosts for each in found], "s/host", COMMAND))
        cpu = statistics.median(each.cpu / hosts for each in found)
        rows.append(Row(section, f"{name}: CPU, controller and host together", cpu, "s/host", COMMAND))
        costs.setdefault(name, {})[hosts] = cpu
    if hosts == 10:
        for name, playbook in (
            ("ping", "ping.yml"),
            ("xdp_counter_facts", "facts.yml"),
            ("deploy", "ebpf.fleet.deploy"),
        ):
            sent[name] = fleet.sent(playbook)
        for name, (commands, size) in sent.items():
            first = next(each for key, found in runs.items() if key.startswith(name) for each in found)
            rows.append(
                Row(section, f"{name}: tasks, those of the controller alone included", first.tasks, "a host", COMMAND)
            )
            rows.append(Row(section, f"{name}, unchanged: commands run on the host", commands, "a host", COMMAND))
            rows.append(Row(section, f"{name}, unchanged: bytes sent to the host", size / 1000, "kB/host", COMMAND))
    ratios = [one.wall / two.wall for one, two in zip(runs["xdp_counter_facts"], runs["ping"])]
    row = of_rounds(section, "xdp_counter_facts over ping: wall", ratios, "times", COMMAND)
    rows.append(at_most(row, 1.15) if hosts == 50 else row)
    if rivals:
        for which, limit in (("unchanged", 0.4), ("first", 1.0)):
            ratio = runs[f"deploy, {which}"][0].wall / runs[f"rival, {which}"][0].wall
            rows.append(at_most(Row(section, f"deploy over rival, {which}: wall", ratio, "times", COMMAND), limit))
    return rows


def _compiled_once(fleet: Fleet) -> t.List[Row]:
    """Runs of the compiler that compile, where the controller builds for all hosts."""
    log, clang = fleet.folder / "compiled", fleet.folder / "clang"
    log.write_text("")
    clang.write_text(f'#!/bin/sh\ncase " $* " in *" -o "*) echo "$*" >>{log} ;; esac\nexec clang "$@"\n')
    clang.chmod(0o755)
    how = ["-e", "xdp_counter_build=controller", "-e", f"xdp_counter_clang={clang}"]
    fleet.play("ebpf.fleet.deploy", *how)
    fleet.play("ebpf.fleet.deploy", *how)
    fleet.play("ebpf.fleet.remove")
    row = Row(
        FLEET.format(fleet.count),
        "two deploys built on the controller: times that clang compiled",
        float(len(log.read_text().splitlines())),
        "in all",
        COMMAND,
    )
    return [row._replace(goal="exactly 1", met=row.value == 1)]


def _over_ssh(fleet: Fleet) -> t.List[Row]:
    """Real SSH without a network: sshd in inetd mode, in the host's namespace, at the other end of a pipe."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sshd:
        print("bench: no sshd here (package openssh-server): its rows are left out", file=sys.stderr)
        return []
    folder = fleet.folder / "ssh"
    folder.mkdir(mode=0o700)
    os.makedirs("/run/sshd", exist_ok=True)
    for key in ("host", "user"):
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    config = (
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n"
    )
    (folder / "config").write_text(config)
    proxy = f"nsenter --net=/run/netns/%n {sshd} -i -f {folder}/config"
    options = f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlPath={folder}/%C -o 'ProxyCommand={proxy}'"
    fleet.inventory(
        {
            "ansible_connection": "ansible.builtin.ssh",
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(folder / "user"),
            "ansible_ssh_common_args": options,
        },
        fleet.names[:5],
    )
    rows = []
    fleet.play("ebpf.fleet.deploy")
    for pipelining in ("true", "false"):
        with_it = "with pipelining" if pipelining == "true" else "without"
        found: t.Dict[str, t.List[float]] = {}
        for _round in range(3):
            for name, playbook in (
                ("ping", "ping.yml"),
                ("xdp_counter_facts", "facts.yml"),
                ("deploy, unchanged", "ebpf.fleet.deploy"),
            ):
                run = fleet.play(playbook, ANSIBLE_PIPELINING=pipelining)
                found.setdefault(name, []).append(run.wall / 5)
        rows += [of_rounds(SSH, f"{name}, {with_it}: wall", walls, "s/host", COMMAND) for name, walls in found.items()]
    fleet.play("ebpf.fleet.remove")
    fleet.inventory({"ansible_connection": "ebpf.fleet.netns"})
    return rows
