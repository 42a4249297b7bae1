# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane: Ansible on fleets of network namespaces. Ours, ping, and a playbook of commands."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
import typing as t

from commands import sh
from paths import COLLECTIONS, ROOT
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


SENT = {"ping": "ping.yml", "xdp_counter_facts": "facts.yml", "deploy": "ebpf.fleet.deploy"}


class Run(t.NamedTuple):
    """One command, including its start: wall time, and CPU time of controller and hosts together, in seconds.

    `main`: CPU time of ansible-playbook's main process, without its forks. `memory`: of the largest of its processes at
    its peak, which is the main one, in MiB.
    """

    wall: float
    cpu: float
    main: float
    changed: int
    tasks: float
    memory: float


def _own_cpu(pid: int) -> float:
    """CPU time of a process that has ended and was not waited for, without its children, in seconds. proc(5)"""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Fleet:
    """`count` hosts, with an inventory and Ansible commands on them."""

    def __init__(self, folder: pathlib.Path, count: int) -> None:
        self.folder = folder / f"fleet-{count}"
        self.folder.mkdir()
        self.every = self.names = [f"{PREFIX}{number}" for number in range(count)]
        self.before: t.Sequence[str] = ()  # a command in front of Ansible's
        lines = []
        for name in self.every:
            sh("ip", "netns", "add", name)
            lines += [f"link add name eth0 netns {name} type veth peer name p0 netns {name}"]
        (self.folder / "batch").write_text("\n".join(lines) + "\n")
        sh("ip", "-batch", self.folder / "batch")
        for name in self.every:
            (self.folder / "batch").write_text("link set dev eth0 up\nlink set dev p0 up\n")
            sh("ip", "-n", name, "-batch", self.folder / "batch")
        for name, play in (("ping", PING), ("facts", FACTS)):
            (self.folder / f"{name}.yml").write_text(json.dumps(play))
        self.take(count)

    def take(self, count: int) -> None:
        """Use only the first `count` hosts from now on."""
        self.names = self.every[:count]
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
        # A namespace would inherit it, as no host over SSH does, and read modules byte by byte.
        env.pop("PYTHONUNBUFFERED", None)
        words = [*self.before, str(BIN / "ansible-playbook"), "-i", str(self.folder / "hosts.json"), playbook, *more]
        start = time.monotonic()
        with (self.folder / "said").open("w+", encoding="utf-8") as said:
            process = subprocess.Popen(words, env=env, stdout=said, stderr=said, cwd=self.folder)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            main = _own_cpu(process.pid)
            _pid, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall, text = time.monotonic() - start, (self.folder / "said").read_text(encoding="utf-8")
        if process.returncode:
            sys.exit(f"bench: {playbook} failed:\n{text[-6000:]}")
        recap = re.findall(r"^\S+ +: ok=(\d+) +changed=(\d+) ", text, re.M)
        return Run(
            wall=wall,
            cpu=used.ru_utime + used.ru_stime,
            main=main,
            changed=sum(int(changed) for _ok, changed in recap),
            tasks=sum(int(ok) for ok, _changed in recap) / len(recap),
            memory=used.ru_maxrss / 1024,
        )

    def sent(self, playbook: str) -> t.Tuple[float, float]:
        """Commands run on each host, and bytes sent to it."""
        counts = self.folder / "counts"
        counts.write_text("")
        self.inventory({"ansible_connection": "counted_netns"})
        self.play(playbook, ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection"), BENCH_COUNTS=str(counts))
        self.inventory({"ansible_connection": "ebpf.fleet.netns"})
        sizes = [int(line) for line in counts.read_text().split()]
        return len(sizes) / len(self.names), sum(sizes) / len(self.names)

    def clear(self) -> None:
        """Remove everything, without Ansible. A link goes with its pin; the rival's program has no link."""
        for name in self.every:
            if (BPFFS / f"rival-{name}").exists():
                sh("ip", "-n", name, "link", "set", "dev", "eth0", "xdp", "off")
            shutil.rmtree(BPFFS / f"ebpf_fleet@{name}", ignore_errors=True)
            shutil.rmtree(f"/run/ebpf_fleet/%2Fsys%2Ffs%2Fbpf%2Febpf_fleet@{name}", ignore_errors=True)
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir("/run/ebpf_fleet")
        self._remove_rivals_files()

    @staticmethod
    def _remove_rivals_files() -> None:
        for pin in BPFFS.glob(f"rival-{PREFIX}*"):
            shutil.rmtree(pin) if pin.is_dir() else pin.unlink()
        shutil.rmtree("/run/rival", ignore_errors=True)

    def close(self) -> None:
        self.clear()
        for name in self.every:
            if os.path.exists(f"/run/netns/{name}"):
                sh("ip", "netns", "del", name)
        shutil.rmtree(self.folder, ignore_errors=True)


Runs = t.Dict[str, t.List[Run]]
Sent = t.Dict[str, t.Tuple[float, float]]


def control_plane(folder: pathlib.Path, sizes: t.Sequence[int]) -> t.List[Row]:
    """The first size is a separate fleet, on which everything is measured. The others are parts of the largest.

    With a single size less is measured: one round, and no SSH.
    """
    small, *larger = sizes
    with contextlib.closing(Fleet(folder, small)) as fleet:
        sent: Sent = {}
        runs = _measure(fleet, rounds=3 if larger else 1, rival=True, sent=sent)
        rows = [*_seconds(fleet, runs), *_commands_and_bytes(fleet, runs, sent), *_ratios(fleet, runs)]
        rows += _compiled_once(fleet)
        if larger:
            rows += _over_ssh(fleet)
    if larger:
        with contextlib.closing(Fleet(folder, max(larger))) as fleet:
            rows += _larger(fleet, *larger)
    return rows


def _larger(fleet: Fleet, few: int, many: int) -> t.List[Row]:
    """Measure the smaller fleet before and after the larger: these machines change speed by the minute."""
    fleet.take(few)
    before = _measure(fleet, rounds=5, rival=True)
    rows = _seconds(fleet, before) + _ratios(fleet, before)
    fleet.take(many)  # without the rival, which would take longer than the rest of the benchmark
    runs = _measure(fleet, rounds=1)
    rows += _seconds(fleet, runs) + _ratios(fleet, runs)
    fleet.take(few)
    after = _measure(fleet, rounds=1)
    section = FLEET.format(f"{few} and {many}")
    for name, found in runs.items():
        around = [_cpu(each[name]) / few for each in (before, after)]
        ratios = [_cpu(found) / many / each for each in around]
        words = f"{name}: cost of a host, {many} over {few}"
        rows.append(at_most(of_rounds(section, words, ratios, "times", COMMAND), 1.1))
    return rows


def _measure(fleet: Fleet, rounds: int, rival: bool = False, sent: t.Optional[Sent] = None) -> Runs:
    """The runs of each playbook by its name, from empty hosts to empty hosts. `sent` is filled by fleet.sent()."""
    runs: Runs = {}

    def run(name: str, playbook: str) -> Run:
        runs.setdefault(name, []).append(fleet.play(playbook))
        return runs[name][-1]

    if rival:
        playbook = str(HERE / "rival.yml")
        run("rival, first", playbook)
        if run("rival, unchanged", playbook).changed:
            sys.exit("bench: the rival changed something when it ran again: it is not a fair rival")
        if sent is not None:
            sent["rival"] = fleet.sent(playbook)
        fleet.clear()
    run("deploy, first", "ebpf.fleet.deploy")
    run("deploy, unchanged", "ebpf.fleet.deploy")
    for _round in range(rounds):
        run("ping", "ping.yml")
        run("xdp_counter_facts", "facts.yml")
    if sent is not None:
        sent.update((name, fleet.sent(playbook)) for name, playbook in SENT.items())
    fleet.clear()
    return runs


def _cpu(runs: t.Iterable[Run]) -> float:
    return statistics.median(each.cpu for each in runs)


def _seconds(fleet: Fleet, runs: Runs) -> t.List[Row]:
    section, hosts = FLEET.format(len(fleet.names)), len(fleet.names)
    rows = []
    for name, found in runs.items():
        rows.append(of_rounds(section, f"{name}: wall", [each.wall / hosts for each in found], "s/host", COMMAND))
        cpu = [each.cpu / hosts for each in found]
        rows.append(of_rounds(section, f"{name}: CPU, controller and host together", cpu, "s/host", COMMAND))
    return rows


def _commands_and_bytes(fleet: Fleet, runs: Runs, sent: Sent) -> t.List[Row]:
    section = FLEET.format(len(fleet.names))
    rows = []
    for name, (commands, size) in sent.items():
        tasks = next(each.tasks for key, found in runs.items() if key.startswith(name) for each in found)
        for words, value, unit in (
            (f"{name}: tasks, those of the controller alone included", tasks, "a host"),
            (f"{name}, unchanged: commands run on the host", commands, "a host"),
            (f"{name}, unchanged: bytes sent to the host", size / 1000, "kB/host"),
        ):
            rows.append(Row(section, words, value, unit, COMMAND))
    return rows


def _ratios(fleet: Fleet, runs: Runs) -> t.List[Row]:
    section = FLEET.format(len(fleet.names))

    def ratio(name: str, one: str, two: str) -> Row:
        ratios = [first.wall / second.wall for first, second in zip(runs[one], runs[two])]
        return of_rounds(section, f"{name}: wall", ratios, "times", COMMAND)

    row = ratio("xdp_counter_facts over ping", "xdp_counter_facts", "ping")
    rows = [at_most(row, 1.15) if len(fleet.names) == 50 else row]
    if "rival, first" in runs:
        for which, limit in (("unchanged", 0.4), ("first", 1.0)):
            row = ratio(f"deploy over rival, {which}", f"deploy, {which}", f"rival, {which}")
            rows.append(at_most(row, limit))
    return rows


def _compiled_once(fleet: Fleet) -> t.List[Row]:
    """How often the compiler compiles, if the controller builds for all hosts."""
    log, clang = fleet.folder / "compiled", fleet.folder / "clang"
    log.write_text("")
    clang.write_text(f'#!/bin/sh\ncase " $* " in *" -o "*) echo "$*" >>{log} ;; esac\nexec clang "$@"\n')
    clang.chmod(0o755)
    how = ["-e", "xdp_counter_build=controller", "-e", f"xdp_counter_clang={clang}"]
    fleet.play("ebpf.fleet.deploy", *how)
    fleet.play("ebpf.fleet.deploy", *how)
    fleet.play("ebpf.fleet.remove")
    row = Row(
        FLEET.format(len(fleet.names)),
        "two deploys built on the controller: times that clang compiled",
        float(len(log.read_text().splitlines())),
        "in all",
        COMMAND,
    )
    return [row._replace(goal="exactly 1", met=row.value == 1)]


def sshd_on_hosts(fleet: Fleet, hosts: int, first: str = "") -> t.Optional[pathlib.Path]:
    """Have Ansible reach the first `hosts` by real SSH without a network: sshd in inetd mode, over a pipe.

    `first`: a line of shell that each sshd begins with. Returns the folder of the connections' sockets, or None where
    there is no sshd.
    """
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sshd:
        print("bench: sshd (package openssh-server) is missing: the rows for SSH are left out", file=sys.stderr)
        return None
    folder = fleet.folder / "ssh"
    folder.mkdir(mode=0o700)
    (folder / "sockets").mkdir()
    os.makedirs("/run/sshd", exist_ok=True)
    for key in ("host", "user"):
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    config = (
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n"
    )
    (folder / "config").write_text(config)
    proxy = folder / "proxy"
    proxy.write_text(f"#!/bin/sh\n{first}\nexec nsenter --net=/run/netns/$1 {sshd} -i -f {folder}/config\n")
    proxy.chmod(0o700)
    path = f"-o ControlPath={folder}/sockets/%C"
    options = f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR {path} -o 'ProxyCommand={proxy} %n'"
    fleet.inventory(
        {
            "ansible_connection": "ansible.builtin.ssh",
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(folder / "user"),
            "ansible_ssh_common_args": options,
        },
        fleet.names[:hosts],
    )
    return folder / "sockets"


def _over_ssh(fleet: Fleet) -> t.List[Row]:
    if not sshd_on_hosts(fleet, 5):
        return []
    rows = []
    fleet.play("ebpf.fleet.deploy")
    for pipelining in ("true", "false"):
        with_it = "with pipelining" if pipelining == "true" else "without"
        found: t.Dict[str, t.List[float]] = {}
        for _round in range(2):
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
