# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Grafana dashboard of files/monitoring: that Grafana and Prometheus understand it, and what its panels show."""

from __future__ import annotations

import copy
import json
import pathlib
import re
import typing as t

import panels
import pytest
from commands import sh
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus import BIN

CHOSEN = {
    "program": ".+",
    "host": "web1",
    "interface": "eth0",
    "counter": "ebpf_fleet_verdict_packets_total",
    "__rate_interval": "2m",
}
BLOCKLIST, COUNTER = (f'program="{each}",interface="eth0"' for each in ("blocklist", "packet_count"))


def keys(value: t.Any, path: str = "") -> t.Iterator[str]:
    """Of JSON, with where they are."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield f"{path}.{name}"
            yield from keys(below, f"{path}.{name}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from keys(below, f"{path}[{index}]")


def unknown_keys(dashboard: t.Dict[str, t.Any]) -> t.Set[str]:
    """Those that Grafana's types do not have: they are lost when they read it and write it again."""
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(dashboard))))
    return set(keys(dashboard)) - set(keys(again))


def test_grafanas_types_have_each_key() -> None:
    assert unknown_keys(panels.dashboard()) == set()


@pytest.mark.parametrize(
    ("path", "misspelt"),
    [
        ((), "refreshed"),
        (("panels", 1), "heading"),
        (("panels", 1, "targets", 0), "legendFromat"),
        (("panels", 1, "options"), "graph"),
    ],
)
def test_a_misspelt_key_is_found(path: t.Sequence[t.Any], misspelt: str) -> None:
    dashboard = panels.dashboard()
    place = dashboard
    for step in path:
        place = place[step]
    place[misspelt] = "x"
    (found,) = unknown_keys(dashboard)
    assert found.endswith(f".{misspelt}")


def test_what_is_red_is_what_is_alerted() -> None:
    rules = (panels.FILE.parent / "ebpf_fleet.rules.yml").read_text()
    by_title = {panel["title"]: panel for panel in panels.dashboard()["panels"]}
    oldest = by_title["Oldest metrics"]["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]
    assert f"ebpf_fleet_metrics_timestamp_seconds > {oldest['value']}\n" in rules and oldest["color"] == "red"
    (full,) = re.findall(r"> bool (\d\.\d+)", by_title["Maps nearly full"]["targets"][0]["expr"])
    assert f"ebpf_fleet_map_max_entries > {full} and ebpf_fleet_map_max_entries > 64\n" in rules


def test_panels_do_not_overlap() -> None:
    taken: t.Set[t.Tuple[int, int]] = set()
    for panel in panels.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


def test_prometheus_reads_each_expression(tmp_path: pathlib.Path) -> None:
    """Those of variables too. Which series there are is tested with programs that run, in tests/integration."""
    asked = [query.expression for query in panels.queries()] + [
        series for series, _label in panels.variables().values()
    ]
    rules = [{"record": f"panel_{n}", "expr": panels.filled(each, CHOSEN)} for n, each in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    sh(BIN / "promtool", "check", "rules", file)


# What four hosts write in an hour. web3 has other constants, and has stopped to write; on web4 it is not attached.
FLEET: t.Dict[str, str] = {
    **{
        f'ebpf_fleet_program_info{{instance="web{n}",{BLOCKLIST},mode="native",tag="1f",variables="{digest}"}}': "1x60"
        for n, digest in ((1, "aa"), (2, "aa"), (3, "bb"))
    },
    f'ebpf_fleet_program_info{{instance="web4",{BLOCKLIST},mode="",tag="0e",variables="aa"}}': "1x60",
    **{f'ebpf_fleet_program_attached{{instance="web{n}",{BLOCKLIST}}}': f"{int(n < 4)}x60" for n in (1, 2, 3, 4)},
    **{
        f'ebpf_fleet_metrics_timestamp_seconds{{instance="web{n}"}}': "600x60" if n == 3 else "0+60x60"
        for n in (1, 2, 3, 4)
    },
    **{f'ebpf_fleet_received_packets_total{{instance="web{n}",{COUNTER}}}': f"0+{60 * n}x60" for n in (1, 2)},
    **{
        f'ebpf_fleet_map_{which}{{instance="web1",{BLOCKLIST},map="{name}",type="{kind}"}}': f"{value}x60"
        for name, kind, entries, room in (
            ("allow4", "lpm_trie", 512, 1024),
            ("block4", "lpm_trie", 950, 1000),
            ("few", "hash", 4, 4),
            ("sources", "lru_hash", 4096, 4096),
        )
        for which, value in (("entries", entries), ("max_entries", room))
    },
}
SHOWN: t.Dict[str, t.List[t.Tuple[str, float]]] = {
    "Hosts": [("{}", 4)],
    "Deployed": [("{}", 4)],
    "Packets per second": [("{}", 3)],
    "Not attached": [("{}", 1)],
    "Programs in several versions": [("{}", 1)],
    "Maps nearly full": [("{}", 1)],
    "Oldest metrics": [("{}", 1200)],
    "The ten loudest interfaces": [
        ('{instance="web2", interface="eth0"}', 2),
        ('{instance="web1", interface="eth0"}', 1),
    ],
    "Interfaces by version": [
        ('{program="blocklist", version="1f aa"}', 2),
        ('{program="blocklist", version="1f bb"}', 1),
    ],
    "What runs": [
        ('{program="blocklist", tag="1f", variables="aa", mode="native"}', 2),
        ('{program="blocklist", tag="1f", variables="bb", mode="native"}', 1),
    ],
    "Not what most run": [
        (f'ebpf_fleet_program_info{{instance="web3",{BLOCKLIST},mode="native",tag="1f",variables="bb"}}', 1)
    ],
    "The ten fullest maps": [
        (f'{{instance="web1",{BLOCKLIST},map="few",type="hash"}}', 1),
        (f'{{instance="web1",{BLOCKLIST},map="block4",type="lpm_trie"}}', 0.95),
        (f'{{instance="web1",{BLOCKLIST},map="allow4",type="lpm_trie"}}', 0.5),
    ],
}


def test_what_the_panels_of_a_fleet_show(tmp_path: pathlib.Path) -> None:
    expressions: t.Dict[str, str] = {}
    for query in panels.queries():
        expressions.setdefault(query.title, panels.filled(query.expression, CHOSEN))
    asked = [
        {
            "expr": expressions[title],
            "eval_time": "30m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for title, samples in SHOWN.items()
    ]
    series = [{"series": name, "values": values} for name, values in FLEET.items()]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    sh(BIN / "promtool", "test", "rules", file)
