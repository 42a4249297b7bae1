# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xdp_metrics on a host with systemd, read by node_exporter and Prometheus."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.border.answers import checked
from commands import sh
from fleet import BIN as BINARIES
from fleet import recap
from host import PINS, Host
from paths import ROOT
from prometheus import BIN, Prometheus
from watched import VERDICTS, Watched, watched

__all__ = ["watched"]

Compiled = t.Callable[..., str]
Result = t.Dict[str, t.Any]


def test_what_is_sent_is_counted_by_prometheus(watched: Watched, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    """To the packet, for the counter and for a declared map."""
    host = watched.host
    watched.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    blocked = {"map": "block4", "keys": ["198.51.100.0/24"], "value": 1}
    watched.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0.10"], map_entries=[blocked])
    predicted = watched.metrics(maps=[VERDICTS], check=True)
    assert not watched.file.exists() and predicted["series"] > 8
    done = watched.metrics(maps=[VERDICTS])
    assert predicted["steps"] == done["steps"] and done["problems"] == []
    assert checked("xdp_metrics", done) == done
    assert not watched.metrics(maps=[VERDICTS])["changed"]
    with Prometheus(host, tmp_path, watched.textfiles) as prometheus:
        host.send("eth0", 1000, 100)
        host.send("eth0.10", 700)
        counter = {"program": "packet_count", "interface": "eth0"}
        counted = [({"__name__": "ebpf_fleet_received_packets_total", **counter}, 1000.0)]
        assert prometheus.until(lambda: prometheus.query("ebpf_fleet_received_packets_total") == counted)
        assert prometheus.query("ebpf_fleet_received_bytes_total")[0][1] == 100000
        (found,) = prometheus.until(lambda: prometheus.query('ebpf_fleet_verdict_packets_total{reason="not IP"} > 0'))
        assert found[1] == 700 and found[0]["interface"] == "eth0.10" and found[0]["program"] == "blocklist"
        assert prometheus.query("node_textfile_scrape_error") == [({"__name__": "node_textfile_scrape_error"}, 0.0)]
        (entries,) = prometheus.query('ebpf_fleet_map_entries{map="block4"}')
        assert entries[1] == 1
        timestamp = prometheus.query("ebpf_fleet_metrics_timestamp_seconds")[0][1]
        assert abs(time.time() - timestamp) < 10
    text = watched.file.read_bytes()
    said = subprocess.run([BIN / "promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")
    tag = host.xdp("eth0")["prog"]["tag"]  # type: ignore[index]
    assert any(f'tag="{tag}"' in labels for labels in watched.values("program_info"))


def test_attached_is_what_was_deployed(watched: Watched, compiled: Compiled) -> None:
    watched.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0", "eth0.10"])
    watched.metrics()
    of_first, of_second = (f'program="packet_count",interface="{each}"' for each in ("eth0", "eth0.10"))
    assert watched.values("program_attached") == {of_first: 1, of_second: 1}
    watched.detach_by_hand("packet_count", "eth0")
    watched.tick()
    assert watched.values("program_attached") == {of_first: 0, of_second: 1}
    watched.ok("xdp_program", name="packet_count", state="detached")
    watched.tick()
    assert watched.values("program_attached") == {}, "by a task: nobody misses it"
    watched.ok("xdp_program", name="packet_count", state="absent")
    watched.tick()
    assert watched.values("program_info") == {} and watched.values("metrics_errors") == {"": 0}


def test_nothing_is_left(watched: Watched, compiled: Compiled) -> None:
    watched.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"], persist="false")
    paths = [watched.folder / each for each in ("etc", "var", "textfiles")]

    def files() -> t.List[str]:
        return sorted(str(path) for folder in paths for path in folder.rglob("*"))

    before = files()
    watched.metrics()
    assert watched.systemd.sh("systemctl", "is-active", "ebpf-fleet-metrics.timer").strip() == "active"
    assert len(files()) > len(before)
    predicted = watched.metrics(state="absent", check=True)
    done = watched.metrics(state="absent")
    assert predicted["steps"] == done["steps"] and files() == before
    assert not watched.metrics(state="absent")["changed"]
    assert "ebpf-fleet-metrics" not in watched.systemd.sh("systemctl", "list-units", "--all", "ebpf-fleet-metrics*")


def test_the_roles_have_metrics_written(watched: Watched, compiled: Compiled) -> None:
    """As long as there is a program: the counter's role asks for them, and the last program goes by the other role."""
    host, inside = watched.host, watched.folder / "role"
    (inside / "tmp").mkdir(parents=True)
    paths = {"directory": str(inside / "lib"), "controller_directory": str(inside / "cache")}
    options = {"textfile_directory": str(watched.textfiles), "interval": 3600}
    counter = {"build": "prebuilt", "object": compiled("packet_count"), "interfaces": ["eth0"], "metrics": True}
    counter = {f"xdp_counter_{name}": each for name, each in {**counter, **paths, "metrics_options": options}.items()}
    block = {"name": "blocklist", "object": compiled("blocklist"), "interfaces": ["eth0.10"]}

    def play(role: str, *more: str, **variables: t.Any) -> int:
        """Returns how many tasks changed something."""
        play = {"hosts": "localhost", "gather_facts": False, "roles": [f"ebpf.fleet.{role}"], "vars": variables}
        (inside / "play.yml").write_text(json.dumps([play]))
        temporary = [f"{name}={inside}/tmp" for name in ("TMPDIR", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TEMP")]
        here = ("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}")
        words = [BINARIES / "ansible-playbook", *here, inside / "play.yml", *more]
        text = host.enter(*watched.systemd.command("env", f"HOME={inside}", *temporary, *words))
        ((_host, changed, _failed),) = recap(text)
        return changed

    def timer() -> str:
        return watched.systemd.sh("sh", "-c", "systemctl is-active ebpf-fleet-metrics.timer || :").strip()

    assert play("xdp_counter", "--check", **counter) == 2 and not watched.file.exists()
    assert play("xdp_counter", **counter) == 2 and timer() == "active"
    host.send("eth0", 7)
    watched.tick()
    assert list(watched.values("received_packets_total").values()) == [7]
    assert play("xdp_counter", **counter) == 0
    assert play("xdp", xdp_programs=[block], **{f"xdp_{name}": each for name, each in paths.items()}) == 1
    play("xdp_counter", **counter, xdp_counter_state="absent")
    assert timer() == "active" and watched.file.exists(), "of blocklist"
    gone = {"xdp_programs": [{**block, "state": "absent"}], **{f"xdp_{name}": each for name, each in paths.items()}}
    predicted = play("xdp", "--check", **gone)
    assert timer() == "active"
    assert play("xdp", **gone) == predicted and timer() == "inactive"
    assert list(watched.textfiles.iterdir()) == list((watched.folder / "etc").iterdir()) == []
    assert not (watched.folder / "var/ebpf_fleet").exists()
    assert play("xdp", **gone) == 0


def test_a_map_larger_than_the_limit(watched: Watched, compiled: Compiled) -> None:
    keys = [f"10.0.{number >> 8}.{number & 255}" for number in range(300)]
    entries = {"map": "block4", "keys": keys, "value": 1}
    watched.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0"], map_entries=[entries])
    mapped = {"program": "blocklist", "map": "block4", "metric": "listed", "type": "gauge", "key_label": "prefix"}
    result = watched.metrics(maps=[mapped], series_limit=100)
    assert result["problems"] == []
    assert len(watched.values("listed")) == 100
    (dropped,) = watched.values("metrics_series_dropped").values()
    assert dropped == 200
    (entries_there,) = (value for labels, value in watched.values("map_entries").items() if "block4" in labels)
    assert entries_there == 300


def test_what_cannot_be_read_or_written(watched: Watched, compiled: Compiled) -> None:
    """The rest is written, and the last file stays where none can be."""
    watched.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0"])
    wrong = {"program": "packet_count", "map": "nosuch", "metric": "nosuch"}
    (problem,) = watched.metrics(maps=[wrong])["problems"]
    assert problem.startswith("nosuch of packet_count on eth0: ")
    assert watched.values("metrics_errors") == {"": 1} and watched.values("program_attached")
    inside, directory = watched.systemd, str(watched.textfiles)
    inside.sh("mount", "-n", "-t", "tmpfs", "-o", "size=4k", "full", directory)
    inside.sh("sh", "-c", f"head -c 4096 /dev/zero >{directory}/filler")
    command = watched.writer()
    for word in ("No space left on device", "Read-only file system"):
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert failed.returncode == 1 and word in failed.stderr and "Traceback" not in failed.stderr
        assert inside.sh("ls", directory).split() == ["filler"]
        inside.sh("mount", "-n", "-o", "remount,ro", directory)
    inside.sh("umount", "-n", directory)
    before = watched.values("metrics_timestamp_seconds")
    watched.tick()
    assert watched.values("metrics_timestamp_seconds") != before


def samples(watched: Watched) -> t.Set[str]:
    """Names and labels in a file that is whole."""
    text = watched.file.read_text()
    said = subprocess.run(
        [BIN / "promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    found = {line.rpartition(" ")[0] for line in text.splitlines() if "{" in line and line[0] != "#"}
    assert text.endswith(f"\nebpf_fleet_metrics_series {len(found)}\n")
    return found


class Stopped:
    """A context manager: a run of the writer that is stopped at its n-th call of bpf(2), and goes on with go_on()."""

    def __init__(self, watched: Watched, call: int) -> None:
        self._watched = watched
        self._log = watched.folder / f"calls{call}"
        how = ("--follow-forks", "--trace=bpf", f"--inject=bpf:signal=SIGSTOP:when={call}", f"--output={self._log}")
        self._run = subprocess.Popen(watched.writer("strace", *how), stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Stopped:
        end = time.monotonic() + 30
        while not self._stopped():
            assert time.monotonic() < end and self._run.poll() is None, self._log
            time.sleep(0.01)
        return self

    def __exit__(self, *exception: t.Any) -> None:
        if self._run.poll() is None:
            self._run.kill()
            self._run.wait()

    def go_on(self) -> t.List[str]:
        """What it says in the end."""
        self._watched.systemd.sh("sh", "-c", f"kill -CONT {self._stopped()}")
        _out, said = self._run.communicate(timeout=30)
        assert self._run.returncode == 0, said
        return said.splitlines()

    def _stopped(self) -> str:
        """Its process id, "" before it is."""
        found = re.search(r"^(\d+) +--- stopped by SIGSTOP", self._log.read_text() if self._log.exists() else "", re.M)
        return found[1] if found else ""


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_program_that_goes_away_while_it_reads(watched: Watched, compiled: Compiled, by_hand: bool) -> None:
    """Whatever it was about to ask: the other program is in the file as before, and what is missing is said."""
    task = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    watched.ok("xdp_program", object=compiled("blocklist"), interfaces=["eth0.10"])
    watched.ok("xdp_program", **task)
    counters = {"program": "packet_count", "map": "counters", "metric": "counted"}
    watched.metrics(maps=[VERDICTS, counters], interval=3600)
    watched.systemd.sh("systemctl", "stop", "ebpf-fleet-metrics.timer", "ebpf-fleet-metrics.service")
    log = watched.folder / "calls"
    subprocess.run(watched.writer("strace", "--follow-forks", "--trace=bpf", f"--output={log}"), check=True)
    whole, calls = samples(watched), log.read_text().count(" bpf(")
    (of_counter, of_blocklist) = (
        {each for each in whole if f'="{name}"' in each} for name in ("packet_count", "blocklist")
    )
    assert whole == of_counter | of_blocklist and of_counter and of_blocklist and calls > 20
    for call in sorted({1 + (calls - 1) * part // 11 for part in range(12)}):
        with Stopped(watched, call) as run:
            if by_hand:
                watched.systemd.sh("rm", "-r", f"{PINS}/packet_count")
            else:
                watched.ok("xdp_program", name="packet_count", state="absent")
            said = run.go_on()
        found = samples(watched)
        assert found - of_counter == of_blocklist
        assert watched.values("metrics_errors") == {"": len(said)}
        assert all(re.search(r"packet_count on eth0: ", line) for line in said), said
        missing = of_counter - found
        assert said or not missing or missing == of_counter, (call, missing)
        watched.ok("xdp_program", **task)
    watched.tick()
    assert samples(watched) == whole


def test_several_runs_at_once(watched: Watched, compiled: Compiled) -> None:
    """Who reads the file meanwhile finds a whole one, whatever happens to the programs."""
    task: t.Dict[str, t.Any] = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    watched.ok("xdp_program", **task)
    watched.metrics()
    command = watched.writer()
    for state in ("absent", "attached"):
        runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _run in range(4)]
        options = task if state == "attached" else {"name": "packet_count", "state": "absent"}
        changing = watched.host.start("xdp_program", wrap=watched.systemd.command(), **options)
        while any(run.poll() is None for run in runs):
            assert re.search(r"\nebpf_fleet_metrics_series \d+\n$", watched.file.read_text())
        assert [run.communicate()[1] for run in runs] == [""] * 4 and all(run.returncode == 0 for run in runs)
        changing.communicate()
    assert [path.name for path in watched.textfiles.iterdir()] == ["ebpf_fleet.prom"]


def test_damaged_settings(watched: Watched) -> None:
    watched.metrics()
    settings = watched.folder / "var/ebpf_fleet/metrics.json"
    settings.write_bytes(settings.read_bytes()[:-20])
    said = subprocess.run(watched.writer(), capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "is damaged" in said.stderr and "run ebpf.fleet.xdp_metrics again" in said.stderr
    assert "write /var/lib/ebpf_fleet/metrics.json" in watched.metrics()["steps"]
    assert not watched.metrics()["changed"]


def test_without_systemd(host: Host, tmp_path: pathlib.Path) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("this machine runs systemd")
    assert "does not run systemd" in host.refused("xdp_metrics", textfile_directory=str(tmp_path))


def test_the_alert_rules() -> None:
    """tests/monitoring/rules_test.yml: when each fires, and when not."""
    sh(BIN / "promtool", "check", "rules", ROOT / "files/monitoring/ebpf_fleet.rules.yml")
    sh(BIN / "promtool", "test", "rules", ROOT / "tests/monitoring/rules_test.yml")


def test_each_alert_fires_and_clears(watched: Watched, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    """The rules of files/monitoring, with seconds for their minutes and hours."""
    text = (ROOT / "files/monitoring/ebpf_fleet.rules.yml").read_text()
    rules = tmp_path / "rules.yml"
    rules.write_text(re.sub(r"for: \w+", "for: 1s", text).replace("> 300", "> 5"))
    task = {"object": compiled("packet_count"), "interfaces": ["eth0"]}
    filter_task = {"object": compiled("blocklist"), "interfaces": ["eth0.10"], "map_sizes": {"block4": 100}}
    lists = {"name": "blocklist", "map": "block4", "exclusive": True}
    watched.ok("xdp_program", **task)
    watched.ok("xdp_program", **filter_task)
    watched.metrics()
    with Prometheus(watched.host, tmp_path, watched.textfiles, rules) as prometheus:

        def fires(*names: str) -> None:
            assert prometheus.until(lambda: prometheus.firing() == sorted(names)), (names, prometheus.firing())

        watched.ok("bpf_map", **lists, keys=[f"10.0.0.{number}" for number in range(95)])
        fires("EbpfFleetMapNearlyFull")
        watched.ok("bpf_map", **lists, keys=[])
        watched.detach_by_hand("packet_count", "eth0")
        fires("EbpfFleetProgramNotAttached")
        watched.ok("xdp_program", **task)
        fires()
        mapped = {"program": "blocklist", "map": "verdicts", "metric": "verdict"}
        watched.metrics(maps=[mapped], series_limit=2)
        fires("EbpfFleetSeriesDropped")
        watched.metrics(maps=[{**mapped, "map": "nosuch"}])
        fires("EbpfFleetMetricsErrors")
        watched.metrics()
        watched.ok("xdp_program", name="packet_count", state="absent")
        for enforce, names in ((False, ["EbpfFleetVersionsDiffer"]), (True, [])):
            variables = {"enforce": enforce}
            watched.ok("xdp_program", **{**filter_task, "interfaces": ["eth0"]}, variables=variables)
            fires(*names)
        watched.systemd.sh("systemctl", "stop", "ebpf-fleet-metrics.timer")
        fires("EbpfFleetMetricsStale")
        watched.metrics()
        fires()
