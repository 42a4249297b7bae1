# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus's text format, version 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import math
import typing as t

Labels = t.Tuple[t.Tuple[str, str], ...]
Number = t.Union[int, float]


class Family(t.NamedTuple):
    """A metric with its samples. `name` is whole; `kind`: counter or gauge."""

    name: str
    kind: str
    help: str
    samples: t.Dict[Labels, Number]

    def put(self, value: Number, labels: Labels) -> None:
        """Two samples with the same labels would make Prometheus refuse the file: they are one, with their sum."""
        self.samples[labels] = self.samples.get(labels, 0) + value


def text(families: t.Iterable[Family]) -> bytes:
    """Those with samples, one after the other. What cannot be written as UTF-8 is replaced."""
    lines = []
    for each in families:
        if not each.samples:
            continue
        lines.append(f"# HELP {each.name} {_escaped(each.help)}")
        lines.append(f"# TYPE {each.name} {each.kind}")
        for labels, value in each.samples.items():
            words = ",".join(f'{name}="{_quoted(content)}"' for name, content in labels)
            lines.append(f"{each.name}{{{words}}} {_number(value)}" if words else f"{each.name} {_number(value)}")
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _escaped(words: str) -> str:
    return words.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(content: str) -> str:
    return _escaped(content).replace('"', '\\"')


def _number(value: Number) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
