# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""follow.py PREFIX KEY: type what the README prints, from an empty controller to the queries of Grafana's panels.

The hosts are those of the Molecule scenario `readme`, which runs this; PREFIX is that of their containers, KEY what
their user admin is reached with. All blocks of the README's two sections of five minutes, and of docs/metrics.md, are
read from there and used: lines after "$" on a controller with nothing but a checkout, lines after "#" on the host of
Prometheus, or before there is one on the controller. A line is printed for each; what differs ends it with a sentence.

Not as on a user's machine: apt finds packages in a folder, and on the controller only simulates, as tools/setup.sh has
installed them; pip finds ansible-core in build/venv. There is no Grafana, which Debian does not have: what is about it
is named in GRAFANA, and its panels' queries are asked of Prometheus.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import typing as t
import urllib.parse

from pages import Block, Line, blocks, queries, section
from paths import ROOT

README = ROOT / "README.md"
METRICS = ROOT / "docs/metrics.md"
GRAFANA = "# /etc/grafana/provisioning/dashboards/ebpf_fleet.yaml"
WEB = ("web1.example.org", "web2.example.org")
SPARE = "eth1"  # of web1; see the inventory of the scenario
ADDRESS = "10.9.1.2"  # of SPARE
SECONDS = 120  # for a command
# Panels that are empty on a host that is well, or without the sysctl kernel.bpf_stats_enabled, which is the machine's.
EMPTY = {"Not read", "Share of a core"}
DISCOVERED = "is using the discovered Python interpreter"  # Ansible's, where an inventory names none
LOUDEST = "The ten loudest interfaces"
INTERFACES = 3  # with packet_count
VERDICTS = ("passed", "allowed", "blocked", "would be blocked", "not IP")
FILES = "find /etc/systemd /run /sys/fs/bpf /usr/local/lib /var/lib -name '*ebpf*fleet*'"
GET = """\
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=5).read().decode().strip())
"""


class Differs(Exception):
    """What a page says is not so."""


def expect(true: t.Any, what: str, said: str) -> None:
    if not true:
        raise Differs(f"{what}; it said:\n{said}")


def lines_of(block: Block) -> t.List[Line]:
    lines = block.lines()
    expect(not any(line.shown for line in lines), "a page shows output, which nobody compares", block.text)
    return lines


class Prometheus:
    """The host of Prometheus, with a checkout in its working folder."""

    def __init__(self, container: str, checkout: pathlib.Path) -> None:
        self._container = container
        subprocess.run(["podman", "cp", checkout, f"{container}:/root/checkout"], check=True)

    def type(self, line: Line) -> str:
        words = ["podman", "exec", "--workdir=/root/checkout", self._container, "bash", "-c", line.command]
        return typed(f"prometheus# {line.command}", words)

    def write(self, block: Block) -> None:
        """To the path that is its first line."""
        path = block.text.partition("\n")[0][2:]
        words = ["podman", "exec", "--interactive", self._container, "tee", path]
        subprocess.run(words, input=block.text, text=True, stdout=subprocess.DEVNULL, check=True)
        print(f"prometheus: {path} written", flush=True)


class Controller:
    """A fresh checkout, an empty home, and the hosts' names; it is on the hub that all hosts are wired to."""

    def __init__(self, folder: pathlib.Path, netns: str, key: str) -> None:
        self.checkout, self._netns = folder / "ebpf.fleet", netns
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True, env=_for_git())
        for name in filter(None, files.stdout.decode().split("\0")):
            target = self.checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        (folder / "hosts").write_text("127.0.0.1 localhost\n10.9.0.2 web1.example.org\n10.9.2.2 web2.example.org\n")
        settings = {
            "IdentityFile": key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": folder / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "LogLevel": "ERROR",
        }
        (folder / "ssh_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        (folder / "apt.conf").write_text('APT::Get::Simulate "true";\n')
        (folder / "bin").mkdir()
        (folder / "bin/python3").symlink_to(os.path.realpath(sys.executable))
        self._hosts = folder / "hosts"
        home = folder / "home"
        home.mkdir()
        own = pathlib.Path(sys.prefix)  # build/venv
        (packages,) = own.glob("lib/python*/site-packages")
        path = [home / "ansible/bin", own / "bin", folder / "bin", os.environ["PATH"], "/usr/sbin", "/sbin"]
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-F {folder}/ssh_config",
            "APT_CONFIG": str(folder / "apt.conf"),
            "HOME": str(home),
            "NO_COLOR": "1",
            "PATH": os.pathsep.join(map(str, path)),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "PYTHONPATH": str(packages),
            "PWD": str(self.checkout),
        }

    def words(self, *words: str) -> t.List[str]:
        with_names = 'mount --bind "$0" /etc/hosts && exec "$@"'
        enter = ["nsenter", f"--net=/run/netns/{self._netns}", "unshare", "--mount", "sh", "-c", with_names]
        return [*enter, str(self._hosts), *words]

    def type(self, command: str, prompt: str = "$") -> str:
        shown = f"controller{prompt} {command}"
        words = self.words("bash", "-c", command)
        if "until Ctrl-C" in command:
            return interrupted(shown, words, cwd=self.checkout, env=self._env)
        return typed(shown, words, cwd=self.checkout, env=self._env)

    def write(self, name: str, text: str) -> None:
        (self.checkout / name).write_text(text)
        print(f"controller: {name} written", flush=True)

    def ask(self, *expressions: str) -> t.List[t.List[t.Any]]:
        """Prometheus, from here: the series of each expression."""
        return [each["result"] for each in self.get(*(f"query?{_encoded(query=each)}" for each in expressions))]

    def get(self, *asked: str) -> t.List[t.Any]:
        urls = [f"http://127.0.0.1:9090/api/v1/{each}" for each in asked]
        words = self.words(sys.executable, "-c", GET, *urls)
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        if done.returncode:
            return [{"result": [], "alerts": [], "groups": []} for _url in urls]
        return [json.loads(line)["data"] for line in done.stdout.splitlines()]


def _encoded(**parameters: str) -> str:
    return urllib.parse.urlencode(parameters)


def _for_git() -> t.Dict[str, str]:
    """root may run this in a different user's checkout."""
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return {**os.environ, **setting}


def typed(shown: str, words: t.Sequence[str], **options: t.Any) -> str:
    """Run it; returns what it said. `shown` is printed, with the time."""
    began = time.monotonic()
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
        **options,
    )
    print(f"{shown}  ({time.monotonic() - began:.0f} s)", flush=True)
    expect(done.returncode == 0, f"{shown} ended with {done.returncode}", done.stdout)
    warnings = [line for line in done.stdout.splitlines() if "[WARNING]" in line and DISCOVERED not in line]
    expect(not warnings and "Traceback" not in done.stdout, f"{shown} warns", done.stdout)
    return str(done.stdout)


def interrupted(shown: str, words: t.Sequence[str], **options: t.Any) -> str:
    """The same on a terminal, where Ctrl-C is typed when it first says that this ends it."""
    began = time.monotonic()
    main, side = pty.openpty()
    on_it = ["timeout", "--foreground", str(SECONDS), "setsid", "--ctty", "--wait", *words]
    said = ""
    with subprocess.Popen(on_it, stdin=side, stdout=side, stderr=side, **options) as process:
        os.close(side)
        with contextlib.suppress(OSError):  # nobody has the other side any more
            while True:
                before = said
                said += os.read(main, 4096).decode(errors="replace")
                if "Ctrl-C ends" in said and "Ctrl-C ends" not in before:
                    time.sleep(0.5)  # Ansible drops what was typed before it has set the terminal up
                    os.write(main, b"\x03")
        code = process.wait()
    os.close(main)
    print(f"{shown}  ({time.monotonic() - began:.0f} s)", flush=True)
    expect(code == 0, f"{shown} ended with {code}", said)
    return said


def recap(said: str) -> t.Dict[str, int]:
    """How many tasks changed something on each host."""
    found = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", said, re.M)
    expect([host for host, _changed in found] == list(WEB), "not all hosts are done", said)
    return {host: int(changed) for host, changed in found}


class Story:
    """What is typed and written, in the order of the pages."""

    def __init__(self, controller: Controller, prefix: str) -> None:
        self.controller, self._prefix = controller, prefix
        self._inventory, self._removing = "", ""

    def run(self) -> None:
        self.own_hosts()
        self.metrics()
        self.panels()
        self.removal()

    def own_hosts(self) -> None:
        """The README's section up to a counter that is deployed; what removes it is typed at the end."""
        for block in blocks(section(README, "On your own hosts, in five minutes")):
            if block.text.startswith("# inventory.yml\n"):
                self._inventory = block.text
                self.controller.write("inventory.yml", self._inventory)
            elif block.language == "yaml":
                self.controller.write("play.yml", block.text)
                said = self.controller.type("ansible-playbook play.yml -i inventory.yml")
                expect(set(recap(said).values()) == {0}, "the same in a playbook is not the same", said)
            else:
                for line in lines_of(block):
                    if " ebpf.fleet.remove " in line.command:
                        self._removing = line.command
                    else:
                        self.own(line)

    def own(self, line: Line) -> None:
        said = self.controller.type(line.command, line.prompt)
        if " ebpf.fleet.deploy " in line.command:
            expect(min(recap(said).values()) > 0, f"{line.command} changed nothing", said)
        elif " ebpf.fleet.facts " in line.command:
            for name in ("eth0", "bond0", "eth2.10"):
                expect(re.search(rf"{re.escape(name)} +native +\d", said), f"{line.command} does not show {name}", said)
        elif line.command.startswith("ansible fleet "):
            expect(said.count(" | SUCCESS => ") == 2, f"{line.command} did not succeed on both", said)
        for name in re.findall(r"# (\w+\.html)$", line.command):
            expect("eth2.10" in (self.controller.checkout / name).read_text(), f"no eth2.10 in {name}", said)

    def metrics(self) -> None:
        """The README's section on Prometheus, and the tasks of docs/metrics.md."""
        prometheus = Prometheus(f"{self._prefix}--hub", self.controller.checkout)
        for block in blocks(section(README, "In Prometheus and Grafana, in five minutes")):
            if block.text.startswith("# /"):
                prometheus.write(block)
            elif block.language == "yaml":
                self._inventory += textwrap.indent(block.text, " " * 4)  # `vars` is the last that it has
                self.controller.write("inventory.yml", self._inventory)
            else:
                for line in lines_of(block):
                    self.watched(line, prometheus)
        play = f"ansible-playbook -i inventory.yml examples/blocklist/deploy.yml --limit {WEB[0]}"
        self.controller.type(f"{play} -e '{json.dumps({'blocklist_interfaces': [SPARE]})}'")
        for block in blocks(METRICS.read_text()):
            if block.text.startswith(GRAFANA):
                print(f"left out: {GRAFANA[2:]}", flush=True)
                continue
            expect(
                block.text.startswith("- ebpf.fleet.xdp_metrics:\n"), "docs/metrics.md has one more block", block.text
            )
            tasks = textwrap.indent(block.text, " " * 4)
            self.controller.write("metrics.yml", f"- hosts: fleet\n  become: true\n  tasks:\n{tasks}")
            said = self.controller.type("ansible-playbook -i inventory.yml metrics.yml")
            expect(min(recap(said).values()) > 0, "the task of docs/metrics.md changed nothing", said)

    def watched(self, line: Line, prometheus: Prometheus) -> None:
        said = prometheus.type(line) if line.prompt == "#" else self.controller.type(line.command)
        if " ebpf.fleet.deploy " in line.command:
            expect(min(recap(said).values()) > 0, "the metrics changed nothing", said)
        elif line.command.startswith("ansible fleet "):
            expect(said.count(" | CHANGED => ") == 2, "node_exporter was not installed on both", said)
        elif line.command.startswith("curl "):
            counted = r'^ebpf_fleet_received_packets_total\{.*interface="eth0".*\} [1-9]'
            expect(re.search(counted, said, re.M), "node_exporter has no count of eth0", said)
        elif line.command.startswith("promtool "):
            expect("SUCCESS: 1 rule files found" in said, "promtool does not find the rules", said)

    def panels(self) -> None:
        """Each query that the pages print gives something, two scrapes later."""
        printed = {
            **queries(section(README, "In Prometheus and Grafana, in five minutes")),
            **queries(METRICS.read_text()),
        }
        expect(len(printed) == 9, "the tables of panels are not those that were known", str(printed))
        prose = re.findall(r"`((?:rate|sum)[^`]*\[2m\]\)+)`", METRICS.read_text().partition("\n## ")[0])
        expect(len(prose) == 2, "docs/metrics.md does not begin with two queries", str(prose))
        asked = {**printed, **{each: each for each in prose}}
        found = self.until_answered({each: query.replace("$host", f"{WEB[0]}:9100") for each, query in asked.items()})
        expect(not any(found[title] for title in EMPTY), "panels that ought to be empty are not", str(found))
        (rate,) = found["Packets per second by program"]
        expect(rate["metric"] == {"program": "packet_count"} and float(rate["value"][1]) > 0, "no rate", str(rate))
        expect([each["value"][1] for each in found["Not attached"]] == ["0"], "a program is not attached", str(found))
        loudest = {(each["metric"]["instance"], each["metric"]["interface"]) for each in found[LOUDEST]}
        every = {(f"{WEB[0]}:9100", "eth0"), (f"{WEB[1]}:9100", "bond0"), (f"{WEB[1]}:9100", "eth2.10")}
        expect(loudest == every, "not all interfaces are there, or others", str(loudest))
        reasons = {each["metric"]["reason"]: float(each["value"][1]) for each in found[prose[1]]}
        expect(set(reasons) == set(VERDICTS) and reasons["passed"] > 0, "not what the filter does", str(reasons))
        known, raised = self.controller.get("rules", "alerts")
        (rules,), firing = known["groups"], [each for each in raised["alerts"] if each["state"] == "firing"]
        expect(len(rules["rules"]) >= 5 and not firing, "alerts fire, or are not known", f"{firing}\n{rules}")
        print(f"{len(rules['rules'])} rules, of which none fires", flush=True)

    def until_answered(self, asked: t.Dict[str, str]) -> t.Dict[str, t.List[t.Any]]:
        began = time.monotonic()
        while True:
            found = dict(zip(asked, self.controller.ask(*asked.values())))
            missing = [title for title, series in found.items() if not series and title not in EMPTY]
            if not missing and len(found[LOUDEST]) >= INTERFACES:  # each host is scraped at a time of its own
                print(f"{len(asked)} queries answered after {time.monotonic() - began:.0f} s", flush=True)
                return found
            expect(time.monotonic() < began + SECONDS, f"no answer to {missing}", str(found))
            time.sleep(1)

    def removal(self) -> None:
        play = f"ansible-playbook -i inventory.yml examples/blocklist/deploy.yml --limit {WEB[0]}"
        self.controller.type(f"{play} -e blocklist_state=absent -e '{json.dumps({'blocklist_interfaces': [SPARE]})}'")
        for host in WEB:
            expect("ebpf_fleet.prom" in self.files(host), f"{host} has no metrics", self.files(host))
        recap(self.controller.type(self._removing))
        for host in WEB:
            expect(not self.files(host), f"{host} is not as it was", self.files(host))
        print("nothing is left", flush=True)

    def files(self, host: str) -> str:
        """What was deployed, on a host."""
        words = ["podman", "exec", f"{self._prefix}--{host}", "sh", "-c", FILES]
        return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> int:
    prefix, key = sys.argv[1], os.path.abspath(sys.argv[2])
    with contextlib.ExitStack() as ending:
        folder = pathlib.Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="readme-")))
        controller = Controller(folder, f"{prefix}--hub", key)
        traffic = controller.words("ping", "-q", "-i", "0.2", ADDRESS)
        ending.callback(subprocess.Popen(traffic, stdout=subprocess.DEVNULL).kill)
        try:
            Story(controller, prefix).run()
        except Differs as error:
            print(f"readme: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
