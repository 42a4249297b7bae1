# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each query of the Grafana dashboard, asked of Prometheus about programs that really run."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import textwrap
import typing as t

import panels
from commands import sh, sysctl
from fleet import BIN as ANSIBLE
from fleet import recap
from paths import ROOT
from prometheus import BIN, Labels, Prometheus
from watched import VERDICTS, Watched, watched

__all__ = ["watched"]

OF_DEBIAN = "/var/lib/prometheus/node-exporter"
Compiled = t.Callable[..., str]
ALL = ".+"
GRAFANAS_OWN = {"__rate_interval": "1m"}


def deploy(watched: Watched, compiled: Compiled) -> None:
    """Something for each panel: programs that count and filter, one detached by hand, a rarer version, a full map."""
    for interface in ("eth1", "eth2"):
        watched.host.plug(interface)
    watched.ok("xdp_program", object=compiled("packet_count"), interfaces=["eth0", "eth1"])
    blocklist = {"object": compiled("blocklist"), "map_sizes": {"block4": 100}}
    watched.ok("xdp_program", **blocklist, interfaces=["eth0.10", "eth2"])
    watched.host.plug("eth3")
    watched.ok("xdp_program", **blocklist, interfaces=["eth3"], variables={"enforce": False})
    watched.ok("bpf_map", name="blocklist", map="block4", keys=[f"10.0.0.{number}" for number in range(95)])
    watched.detach_by_hand("packet_count", "eth1")
    watched.metrics(maps=[VERDICTS, {"program": "packet_count", "map": "nosuch", "metric": "nosuch"}], series_limit=4)


def choices(prometheus: Prometheus) -> t.Iterator[t.Dict[str, str]]:
    """Values of all variables: each interface, with all programs and with each; of the others the first."""
    asked = panels.variables()

    def values(name: str, **chosen: str) -> t.List[str]:
        series, label = asked[name]
        return prometheus.values(panels.filled(series, chosen), label)

    programs = values("program")
    assert programs == ["blocklist", "packet_count"]
    counters = values("counter", program=ALL)
    assert counters == ["ebpf_fleet_verdict_bytes_total", "ebpf_fleet_verdict_packets_total"]
    (host,) = values("host", program=ALL)
    assert values("interface", host=host, program="packet_count") == ["eth0", "eth1"]
    interfaces = values("interface", host=host, program=ALL)
    assert interfaces == ["eth0", "eth0.10", "eth1", "eth2", "eth3"]
    for interface in interfaces:
        for program in (ALL, *programs):
            yield {"program": program, "host": host, "interface": interface, "counter": counters[0], **GRAFANAS_OWN}


def shown_by(prometheus: Prometheus) -> t.Dict[panels.Query, t.List[Labels]]:
    """The labels of each series, for all choices. None is of a program or an interface that was not chosen."""
    shown: t.Dict[panels.Query, t.List[Labels]] = {query: [] for query in panels.queries()}
    for chosen in choices(prometheus):
        answers = prometheus.series(panels.filled(query.expression, chosen) for query in shown)
        for query, answer in zip(shown, answers):
            for labels, _value in answer:
                assert "program" not in labels or re.fullmatch(chosen["program"], labels["program"]), query
                if "$interface" in query.expression:
                    assert labels.get("interface") in (chosen["interface"], None), query
                shown[query].append(labels)
    return shown


def test_each_query_gives_what_its_panel_names(watched: Watched, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    deploy(watched, compiled)
    with sysctl(bpf_stats_enabled=1), Prometheus(watched.host, tmp_path, watched.textfiles) as prometheus:

        def sent_and_rated() -> bool:
            for interface in ("eth0", "eth0.10"):
                watched.host.send(interface, 100)
            rates = ("received_packets_total", "program_runs_total{interface='eth0.10'}")
            return all(prometheus.query(f"rate(ebpf_fleet_{each}[1m]) > 0") for each in rates)

        assert prometheus.until(sent_and_rated)
        shown = shown_by(prometheus)
    assert [query.title for query, found in shown.items() if not found] == []
    for query, found in shown.items():
        assert all(query.labels <= set(labels) for labels in found), query


def readme() -> t.Tuple[t.List[str], t.List[str], t.Dict[str, str]]:
    """Of the five minutes to a panel: the YAML, the commands, and the queries by the titles of their panels."""
    text = (
        (ROOT / "README.md").read_text().split("## In Prometheus and Grafana, in five minutes\n")[1].split("\n## ")[0]
    )
    blocks = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", text, re.M | re.S)
    written = [textwrap.dedent(block) for language, block in blocks if language == "yaml"]
    commands = [line.strip()[2:] for language, block in blocks if language == "console" for line in block.splitlines()]
    return written, commands, dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", text, re.M))


def test_the_five_minutes_of_the_readme(watched: Watched, compiled: Compiled, tmp_path: pathlib.Path) -> None:
    """From a counter that is deployed without metrics to the queries of its panels, by what is written there."""
    (setting, configuration), commands, queries = readme()
    inside = watched.folder / "controller"
    (inside / "tmp").mkdir(parents=True)
    textfiles = watched.folder / "var" / OF_DEBIAN[len("/var/lib/") :]
    textfiles.mkdir(parents=True)  # as the package does
    said = sh("sh", "-c", f"{BIN}/prometheus-node-exporter --help-long 2>&1")
    assert OF_DEBIAN in said and f"`{OF_DEBIAN}`" in (ROOT / "README.md").read_text()
    assert commands[0].endswith("'name=prometheus-node-exporter update_cache=true'")
    known = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "xdp_counter_interfaces": ["eth0"],
    }
    built = {"xdp_counter_build": "prebuilt", "xdp_counter_object": compiled("packet_count")}
    paths = {"xdp_counter_directory": f"{inside}/lib", "xdp_counter_metrics_options": {"interval": 1}}
    inventory: t.Dict[str, t.Any] = {"hosts": {"localhost": None}, "vars": {**known, **built, **paths}}
    (deploy,) = (each.split() for each in commands if each.startswith("ansible-playbook "))

    def deployed() -> int:
        temporary = [f"{name}={inside}/tmp" for name in ("TMPDIR", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TEMP")]
        words = ["env", f"--chdir={inside}", f"HOME={inside}", *temporary, ANSIBLE / deploy[0], *deploy[1:]]
        ((_host, changed, _failed),) = recap(watched.host.enter(*watched.systemd.command(*words)))
        return changed

    (inside / "inventory.yml").write_text(json.dumps({"fleet": inventory}))
    assert deployed() == 1 and list(textfiles.iterdir()) == []
    (name, value) = setting.strip().split(": ")
    inventory["vars"][name] = json.loads(value)
    (inside / "inventory.yml").write_text(json.dumps({"fleet": inventory}))
    assert deployed() == 1 and [path.name for path in textfiles.iterdir()] == ["ebpf_fleet.prom"]

    (copied,) = (each.split()[1] for each in commands if each.startswith("cp "))
    (tmp_path / pathlib.Path(copied).name).write_bytes((ROOT / copied).read_bytes())
    here = re.sub(r"targets: .*", "targets: [127.0.0.1:9100]", configuration).replace("15s", "1s")
    with Prometheus(watched.host, tmp_path, textfiles, configuration=here) as prometheus:
        assert "SUCCESS: 1 rule files found" in sh(BIN / "promtool", "check", "config", tmp_path / "prometheus.yml")

        def rated() -> bool:
            watched.host.send("eth0", 100)
            ((labels, rate),) = prometheus.query(queries["Packets per second by program"]) or [({}, 0.0)]
            return labels == {"program": "packet_count"} and rate > 0

        assert prometheus.until(rated)
        shown = {title: prometheus.query(query) for title, query in queries.items()}
    assert len(shown) == 4 and all(shown.values()), shown
    assert shown["Not attached"][0][1] == 0
    titles = {query.title for query in panels.queries()}
    assert set(queries) <= titles
