# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be written, as the user declares it. It lies on the host as a file, which each run of the timer reads."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import os
import re
import typing as t

from ..errors import FleetError
from ..state.places import check_name, shortened

PREFIX = "ebpf_fleet_"
KINDS = ("counter", "gauge")
# What this collection's own metrics begin with: one of a map with the same name would make both unreadable.
RESERVED = ("received", "program", "map", "metrics")

_METRIC = re.compile(r"[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
OWN_LABELS = ("program", "interface")
# Where node_exporter looks, by package: Debian, the role prometheus.prometheus.node_exporter, RPM.
_DIRECTORIES = (
    "/var/lib/prometheus/node-exporter",
    "/var/lib/node_exporter/textfile_collector",
    "/var/lib/node_exporter",
)


class Mapped(t.NamedTuple):
    """The entries of a map of a program as a metric. `key_names`: what is written for a key."""

    program: str
    map: str
    metric: str
    help: str
    type: str = "counter"
    key_label: str = "key"
    key_names: t.Mapping[str, str] = {}


class Declared(t.NamedTuple):
    """`directory`: of the text file. `interval`: in seconds. At most `series_limit` entries of a map are written."""

    directory: str
    interval: int
    pin_root: str
    series_limit: int
    maps: t.Tuple[Mapped, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.directory}/ebpf_fleet.prom"


def declared_by(options: t.Mapping[str, t.Any]) -> Declared:
    """Of the module's options. Raises FleetError."""
    for name, least in (("interval", 1), ("series_limit", 1)):
        if not least <= options[name] < 2**31:
            raise FleetError(f"{name} is {options[name]}; give {least} or more")
    maps = tuple(map(_mapped, options["maps"] or ()))
    kinds: t.Dict[str, Mapped] = {}
    for each in maps:
        other = kinds.setdefault(each.metric, each)
        if other is not each and (other.program == each.program or other[3:5] != each[3:5]):
            raise FleetError(
                f"maps has the metric {each.metric} twice: give each map of a program one of its own, and those of"
                " different programs the same help and type"
            )
    return Declared(
        _directory(options["textfile_directory"]),
        options["interval"],
        options["pin_root"].rstrip("/"),
        options["series_limit"],
        maps,
    )


def _mapped(item: t.Mapping[str, t.Any]) -> Mapped:
    check_name(item["program"])
    names = {str(key): str(name) for key, name in (item["key_names"] or {}).items()}
    made = Mapped(
        item["program"],
        item["map"],
        item["metric"] or item["map"],
        item["help"] or f"The map {item['map']}.",
        item["type"],
        item["key_label"],
        names,
    )
    if not _METRIC.fullmatch(made.metric) or made.metric.endswith("_total"):
        raise FleetError(
            f"metric {shortened(made.metric)} cannot be used: give lower-case letters, digits and underscores,"
            f" beginning with a letter, without _total, which counters get; the metric is then {PREFIX}NAME"
        )
    if made.metric.split("_")[0] in RESERVED:
        raise FleetError(
            f"metric {made.metric} cannot be used: {', '.join(f'{each}_…' for each in RESERVED)} are this collection's"
        )
    if not _LABEL.fullmatch(made.key_label) or made.key_label.startswith("__") or made.key_label in OWN_LABELS:
        raise FleetError(
            f"key_label {shortened(made.key_label)} cannot be used: give letters, digits and underscores, not"
            f" {' or '.join(OWN_LABELS)}"
        )
    return made


def _directory(asked: str) -> str:
    if asked == "auto":
        found = next(filter(os.path.isdir, _DIRECTORIES), None)
        if found is None:
            raise FleetError(
                f"there is none of {', '.join(_DIRECTORIES)}: install node_exporter (Debian: prometheus-node-exporter),"
                " or give the directory of its option --collector.textfile.directory as textfile_directory"
            )
        return found
    path = asked.rstrip("/")
    if not os.path.isabs(path) or not os.path.isdir(path):
        raise FleetError(f"textfile_directory: {asked} is not a directory on this host; give the absolute path of one")
    return path


def written(declared: Declared) -> bytes:
    """The content of the file."""
    content = {**declared._asdict(), "maps": [each._asdict() for each in declared.maps]}
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def read(content: bytes) -> Declared:
    """Raises ValueError if it is damaged."""
    try:
        found = json.loads(content)
        maps = tuple(Mapped(**each) for each in found.pop("maps"))
        return Declared(**found, maps=maps)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from error
