# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the dashboard of files/monitoring asks of Prometheus, read from its JSON as Grafana does."""

from __future__ import annotations

import json
import re
import typing as t

from paths import ROOT

FILE = ROOT / "files/monitoring/ebpf_fleet.dashboard.json"


class Query(t.NamedTuple):
    """`labels`: those that the legend, the columns and the links of the panel name."""

    number: int
    title: str
    expression: str
    labels: t.FrozenSet[str]


def dashboard() -> t.Dict[str, t.Any]:
    return t.cast("t.Dict[str, t.Any]", json.loads(FILE.read_text()))


def queries() -> t.Iterator[Query]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield Query(panel["id"], panel["title"], target["expr"], frozenset(_labels(panel, target)))


def variables() -> t.Dict[str, t.Tuple[str, str]]:
    """Those with a query, label_values(SERIES, LABEL), in their order: SERIES and LABEL by name."""
    found = {}
    for each in dashboard()["templating"]["list"]:
        if each["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"])
            assert asked, each["query"]
            found[each["name"]] = (asked[1], asked[2])
    return found


def filled(text: str, chosen: t.Mapping[str, str]) -> str:
    """With the values of variables, among them Grafana's own. One that is not in `chosen` is an error."""
    return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], text)


def _labels(panel: t.Mapping[str, t.Any], target: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    yield from re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])
    yield from re.findall(r"\$\{__field\.labels\.(\w+)\}", json.dumps(panel))
    for each in panel["transformations"]:
        if each["id"] == "filterFieldsByName":
            yield from (name for name in each["options"]["include"]["names"] if name != "Value")
