# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each query of the Grafana dashboard, asked of Prometheus about programs that really run."""

from __future__ import annotations

import pathlib
import re
import typing as t

import panels
from commands import sysctl
from prometheus import Labels, Prometheus
from watched import VERDICTS, Watched, watched

__all__ = ["watched"]

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
