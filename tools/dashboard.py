# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dashboard.py: write files/monitoring/ebpf_fleet.dashboard.json. --check: fail if it is not what would be written.

Grafana's own SDK makes it: https://grafana.github.io/grafana-foundation-sdk/. pip takes the SDK of the oldest Grafana,
10.1, for the newest; what that one reads, all later ones read too.
"""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = pathlib.Path(__file__).resolve().parents[1] / "files/monitoring/ebpf_fleet.dashboard.json"
UID = "ebpf-fleet"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Which series. The upper rows show all hosts, the lower ones one of them.
FLEET = 'program=~"$program"'
HOST = f'instance="$host",{FLEET}'
INTERFACE = f'{HOST},interface="$interface"'

# A program that is loaded, and not attached, has no mode.
RUNNING = 'ebpf_fleet_program_info{%s,mode!=""}'
VERSIONS = f"count by (program, tag, variables) ({RUNNING % FLEET})"
# An LRU map is full in the long run.
FILL = 'ebpf_fleet_map_entries{%s,type!~"lru_.*"} / ebpf_fleet_map_max_entries'
AGE = "time() - ebpf_fleet_metrics_timestamp_seconds"

TRAFFIC = (("Packets", "received_packets", "pps"), ("Bytes", "received_bytes", "Bps"))
NAMED = "{{program}} on {{interface}}"
STALE_SECONDS, FULL = 300, 0.9  # as in ebpf_fleet.rules.yml

Step = t.Tuple[t.Optional[float], str]  # from which value on a colour holds
NEUTRAL: t.Sequence[Step] = ((None, "blue"),)
BAD: t.Sequence[Step] = ((None, "green"), (1, "red"))

Panel = t.Any  # the builders of the kinds of panels have nothing in common that types could tell


def per_second(metric: str, which: str) -> str:
    return f"rate(ebpf_fleet_{metric}_total{{{which}}}[$__rate_interval])"


def declared(which: str) -> str:
    """The counter that the user has chosen of those that `maps` of xdp_metrics declares. Any entry can be a series."""
    rate = f'rate({{__name__="$counter",{which}}}[$__rate_interval])'
    return f"topk(20, sum without (job, instance, program, interface) ({rate}))"


def query(expression: str, legend: str = "", now: bool = False) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE).ref_id("A")
    return asked.instant() if now else asked.range()


def placed(panel: Panel, title: str, about: str, width: int, height: int) -> Panel:
    return panel.title(title).description(about).datasource(SOURCE).span(width).height(height)


def colours(*steps: Step) -> dashboard.ThresholdsConfig:
    found = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def link_to_host(instance: str, *interface: str) -> t.Tuple[str, str]:
    """Title and address: this dashboard with another host."""
    chosen = [f"var-host={instance}", *(f"var-interface={each}" for each in interface)]
    words = ["${datasource:queryparam}", "${program:queryparam}", *chosen, "${__url_time_range}"]
    return "Show this host below", f"/d/{UID}?" + "&".join(words)


def number(title: str, about: str, expression: str, unit: str, *steps: Step) -> Panel:
    """One number, with its course behind it. `steps`: its colours, where it is good or bad."""
    panel = placed(stat.Panel(), title, about, 6, 4).unit(unit).thresholds(colours(*(steps or NEUTRAL)))
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    return panel.reduce_options(reduced).graph_mode(look.BigValueGraphMode.AREA).with_target(query(expression))


def graph(title: str, about: str, expression: str, legend: str, unit: str, width: int = 12) -> Panel:
    panel = placed(timeseries.Panel(), title, about, width, 8).unit(unit).min(0).fill_opacity(10)
    legends = common.VizLegendOptions().show_legend(True).placement(look.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING)
    return (
        panel.legend(legends.display_mode(look.LegendDisplayMode.LIST))
        .tooltip(tooltip)
        .with_target(query(expression, legend))
    )


def stacked(panel: Panel) -> Panel:
    return panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL)).fill_opacity(40)


def bars(title: str, about: str, expression: str, legend: str, unit: str) -> Panel:
    """What is largest now."""
    panel = placed(bargauge.Panel(), title, about, 12, 8).unit(unit).min(0)
    name, address = link_to_host("${__field.labels.instance}", "${__field.labels.interface}")
    return (
        panel.orientation(look.VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .data_links([dashboard.DashboardLink(name).url(address)])
        .with_target(query(expression, legend, now=True))
    )


def listed(title: str, about: str, expression: str, columns: t.Mapping[str, str]) -> Panel:
    """A table of what is now. `columns`: heading by label, in this order; `Value` is the number."""
    panel = placed(table.Panel(), title, about, 12, 8).show_header(True)
    chosen = {"include": {"names": list(columns)}}
    order = {label: index for index, label in enumerate(columns)}
    renamed = {"renameByName": dict(columns), "indexByName": order, "excludeByName": {}}
    panel.transformations(
        [
            model.DataTransformerConfig(id_val="filterFieldsByName", options=chosen),
            model.DataTransformerConfig(id_val="organize", options=renamed),
        ]
    )
    if "instance" in columns:
        name, address = link_to_host("${__value.text}")
        link = [{"title": name, "url": address}]
        panel.override_by_name(columns["instance"], [model.DynamicConfigValue(id_val="links", value=link)])
    return panel.with_target(query(expression, now=True).format(PromQueryFormat.TABLE))


def attached_over_time() -> Panel:
    about = "Whether the program runs where it was deployed. A row ends where a task has detached or removed it."
    panel = placed(statetimeline.Panel(), "Attached", about, 12, 8).merge_values(True)
    words = {"0": ("not attached", "red"), "1": ("attached", "green")}
    results = {value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()}
    panel.mappings([model.ValueMap(options=results)]).show_value(look.VisibilityMode.NEVER)
    return panel.with_target(query(f"ebpf_fleet_program_attached{{{HOST}}}", NAMED))


def fleet() -> t.Iterator[Panel]:
    twice = "A frame on a VLAN is counted by a program there and by one on the interface below it: choose one program."
    yield number("Hosts", "Hosts that write metrics.", "count(ebpf_fleet_metrics_timestamp_seconds)", "none")
    deployed = f"count(ebpf_fleet_program_attached{{{FLEET}}})"
    yield number("Deployed", "Programs that hosts should run, each interface counted.", deployed, "none")
    for title, metric, unit in TRAFFIC:
        yield number(f"{title} per second", twice, f"sum({per_second(metric, FLEET)})", unit)
    yield number(
        "Not attached",
        "Programs that do not run where they were deployed, and that no task has detached.",
        f"sum(1 - ebpf_fleet_program_attached{{{FLEET}}})",
        "none",
        *BAD,
    )
    yield number(
        "Programs in several versions",
        "Programs whose tag or whose constants are not the same everywhere. During a rollout that is as it should be.",
        f"sum(count by (program) ({VERSIONS}) > bool 1)",
        "none",
        (None, "green"),
        (1, "orange"),
    )
    yield number(
        "Maps nearly full",
        f"Maps with room for more than 64 entries, {FULL:.0%} full. LRU maps are left out: they all are some day.",
        f"sum(({FILL % FLEET} > bool {FULL}) * (ebpf_fleet_map_max_entries > bool 64))",
        "none",
        *BAD,
    ).no_value("no maps")
    yield number(
        "Oldest metrics",
        "Of the host that has not written its metrics for the longest time.",
        f"max({AGE})",
        "s",
        (None, "green"),
        (STALE_SECONDS, "red"),
    )
    for title, metric, unit in TRAFFIC:
        total = f"sum by (program) ({per_second(metric, FLEET)})"
        yield stacked(graph(f"{title} per second by program", twice, total, "{{program}}", unit))
    loudest = f"topk(10, sum by (instance, interface) ({per_second('received_packets', FLEET)}))"
    yield bars("The ten loudest interfaces", "Click one to see it below.", loudest, "{{instance}} {{interface}}", "pps")
    yield listed(
        "Programs that are not attached",
        "Deploy these again; `ip link show` on the host shows what runs instead.",
        f"ebpf_fleet_program_attached{{{FLEET}}} == 0",
        {"instance": "Host", "program": "Program", "interface": "Interface"},
    )
    about = "The counter of a map that is chosen above, of all hosts together; the twenty fastest entries."
    yield graph("$counter per second", about, declared(FLEET), "", "short", width=24)


def versions() -> t.Iterator[Panel]:
    joined = f'label_join({RUNNING % FLEET}, "version", " ", "tag", "variables")'
    yield stacked(
        graph(
            "Interfaces by version",
            "How a rollout went. A version is the program's tag, and the digest of its constants.",
            f"count by (program, version) ({joined})",
            "{{program}} {{version}}",
            "short",
            width=24,
        )
    )
    same = "program, tag, variables"
    by_host = f"count by (instance, {same}, mode) ({RUNNING % FLEET})"
    labels = {"program": "Program", "tag": "Tag", "variables": "Constants", "mode": "Mode"}
    yield listed(
        "What runs",
        "Hosts by version and mode. Two with the same tag and different constants behave differently.",
        f"count by ({same}, mode) ({by_host})",
        {**labels, "Value": "Hosts"},
    )
    rarer = f"{VERSIONS} < on (program) group_left () max by (program) ({VERSIONS})"
    yield listed(
        "Not what most run",
        "Where a program runs in a version that fewer interfaces have than the most frequent one.",
        f"{RUNNING % FLEET} and on ({same}) ({rarer})",
        {"instance": "Host", "interface": "Interface", **labels},
    )


def maps_and_metrics() -> t.Iterator[Panel]:
    fill = bars(
        "The ten fullest maps",
        "How much of the room in hashes and LPM tries is taken. LRU maps are left out: they are full in the long run.",
        f"topk(10, {FILL % FLEET})",
        "{{instance}} {{interface}}: {{map}} of {{program}}",
        "percentunit",
    )
    yield fill.max(1).thresholds(colours((None, "green"), (0.75, "orange"), (FULL, "red")))
    yield graph(
        "Age of the metrics",
        "The ten oldest. `systemctl status ebpf-fleet-metrics.timer` on the host says why.",
        f"topk(10, {AGE})",
        "{{instance}}",
        "s",
    )
    yield graph(
        "Not read",
        "Programs and maps that cannot be read. `journalctl -u ebpf-fleet-metrics` on the host says which, and why.",
        "ebpf_fleet_metrics_errors > 0",
        "{{instance}}",
        "short",
        width=8,
    ).no_value("All is read")
    yield graph(
        "Not written",
        "Entries of declared maps beyond series_limit of xdp_metrics.",
        f"ebpf_fleet_metrics_series_dropped{{{FLEET}}} > 0",
        "{{instance}} {{interface}}: {{map}} of {{program}}",
        "short",
        width=8,
    ).no_value("All is written")
    longest = "topk(10, ebpf_fleet_metrics_duration_seconds)"
    yield graph("Time to read", "The ten slowest hosts.", longest, "{{instance}}", "s", width=8)


COSTS = (
    "Measured by the kernel while the sysctl `kernel.bpf_stats_enabled` is 1, which itself costs each packet some time."
)


def host() -> t.Iterator[Panel]:
    yield attached_over_time()
    yield listed(
        "Programs",
        "What runs on this host now.",
        RUNNING % HOST,
        {"interface": "Interface", "program": "Program", "mode": "Mode", "tag": "Tag", "variables": "Constants"},
    )
    for title, metric, unit in TRAFFIC:
        yield graph(f"{title} per second by interface", "", per_second(metric, HOST), NAMED, unit)
    yield graph("Share of a core", COSTS, per_second("program_run_seconds", HOST), NAMED, "percentunit")
    yield graph("Fill of maps", "", FILL % HOST, "{{map}} of {{program}} on {{interface}}", "percentunit").max(1)


def interface() -> t.Iterator[Panel]:
    packets, size = per_second("received_packets", INTERFACE), per_second("received_bytes", INTERFACE)
    yield graph("Packets per second", "", packets, "{{program}}", "pps", width=8)
    yield graph("Bytes per second", "", size, "{{program}}", "Bps", width=8)
    about = "Bytes of a packet, from the Ethernet header to the payload; none while there are no packets."
    yield graph("Mean size of a packet", about, f"{size} / ({packets} > 0)", "{{program}}", "bytes", width=8)
    runs, seconds = per_second("program_runs", INTERFACE), per_second("program_run_seconds", INTERFACE)
    yield graph("Time for a packet", COSTS, f"{seconds} / ({runs} > 0)", "{{program}}", "s", width=8)
    entries = f"ebpf_fleet_map_entries{{{INTERFACE}}}"
    yield graph("Entries of maps", "", entries, "{{map}} of {{program}}", "short", width=8)
    yield graph("$counter per second", "The counter chosen above.", declared(INTERFACE), "", "short", width=8)


def queried(name: str, label: str, asked: str) -> dashboard.QueryVariable:
    found = dashboard.QueryVariable(name).label(label).query(asked).datasource(SOURCE)
    return found.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def variables() -> t.Iterator[t.Any]:
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    programs = queried("program", "Program", "label_values(ebpf_fleet_program_attached, program)")
    every = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    yield programs.multi(True).include_all(True).all_value(".+").current(every)
    yield queried("host", "Host", f"label_values(ebpf_fleet_program_attached{{{FLEET}}}, instance)")
    yield queried("interface", "Interface", f"label_values(ebpf_fleet_program_attached{{{HOST}}}, interface)")
    # xdp_metrics refuses names for declared maps that begin as its own do.
    own = '__name__=~"ebpf_fleet_.+_total",__name__!~"ebpf_fleet_(received|program|map|metrics)_.+"'
    yield queried("counter", "Counter of a map", f"label_values({{{own},{FLEET}}}, __name__)")


def built() -> model.Dashboard:
    board = (
        dashboard.Dashboard("XDP programs of the fleet")
        .uid(UID)
        .description("What ebpf.fleet.xdp_metrics writes: traffic, versions, maps; the fleet, one host, one interface.")
        .tags(["ebpf", "xdp"])
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .editable()
    )
    for each in variables():
        board.with_variable(each)
    for title, panels in (
        ("The fleet", fleet()),
        ("Versions", versions()),
        ("Maps, and the metrics themselves", maps_and_metrics()),
        ("One host: $host", host()),
        ("One interface: $interface of $host", interface()),
    ):
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(panel)
    made = board.build()
    for number_of, panel in enumerate(made.panels or [], 1):  # addresses of single panels have it
        panel.id_val = number_of
    return made


def text() -> str:
    """Without what the SDK adds of its own accord, and Grafana's types do not have."""
    found = json.loads(JSONEncoder().encode(built()))
    for variable in found["templating"]["list"]:
        # The same id for all, so that Grafana 10 would take them for one; if there is none, it takes the name.
        for name in ("id", "auto", "auto_min", "auto_count"):
            del variable[name]
    for panel in found["panels"]:
        panel.get("options", {}).pop("footer", None)
    del found["style"]
    return json.dumps(found, indent=1) + "\n"


def queries(*titles: str) -> None:
    """For docs/metrics.md, print rows of a table: of these panels, with all programs, and the rate of two minutes."""
    print("\n| panel | query |\n|---|---|")
    by_title = {panel["title"]: panel for panel in reversed(json.loads(text())["panels"])}
    for title in titles:
        asked = by_title[title]["targets"][0]["expr"].replace("$__rate_interval", "2m")
        plain = asked.replace(f"{{{FLEET}}}", "").replace(f"{FLEET},", "").replace(f",{FLEET}", "")
        print(f"| {title} | `{plain}` |")


def main() -> None:
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text())
    elif not FILE.exists() or FILE.read_text() != text():
        sys.exit(f"{FILE} is not what tools/dashboard.py writes: type `make dashboard`")


if __name__ == "__main__":
    main()
