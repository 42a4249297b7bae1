# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/nics.md: a table of drivers for each kernel, and the sentences that users read there."""

from __future__ import annotations

import re
import typing as t

from nics import FRAMES, MODES_ASKED, PLAIN, REFUSED, SEGMENTS, SHOWN, STREAM_BYTES, TAGGED, VLAN, WARNED, Nic
from table import cell, totals, verdict

if t.TYPE_CHECKING:
    from guest import Outcome

HEAD = f"""\
# NICs

Written by `make test-kernels RECORD=1`: drivers and kinds of interfaces on Debian's generic kernels in qemu, in each
mode.

- The mode is the one that ip shows. "refused": the task failed, and ip was refused too, with the same words.
- "N of M" is packets counted, of frames that left the other end. That sends {STREAM_BYTES:,} bytes by TCP, and its
  kernel counts the segments; each is a frame on a wire, also where a NIC or the hypervisor cuts larger packets. A tun
  or tap gets {PLAIN} packets of one frame and one of {SEGMENTS}.
- `exact: false` is what `xdp_counter_facts` says. A row fails if the numbers differ and it does not say so, if bpftool
  reads something else, or if the warning of a task with such a count is missing or does not name the interface below.
- A number in brackets is a sentence that the user reads: they are [below](#what-the-user-reads).
- "{TAGGED}": {FRAMES} frames of VLAN {VLAN} arrive at the interface below it,
  and the program counts them there by the number in their tag: the exact count of a VLAN, which the VLAN's own device
  cannot give. A NIC that takes the tag out of a frame before a program sees it has them under 0.
- The last column is the link at the first attach, in native mode or else in generic. A driver that restarts its NIC
  interrupts traffic at the first deployment and at the removal, and not at an upgrade.
"""


class Sentences:
    """Numbers of sentences in the order in which they come up. Those that differ in names of interfaces are one."""

    def __init__(self) -> None:
        self.texts: t.List[str] = []
        self._numbers: t.Dict[str, int] = {}

    def number(self, text: str, nic: Nic) -> int:
        form = re.sub(rf"\b({'|'.join([nic.name, *nic.below])})\b", "*", text)
        if form not in self._numbers:
            self.texts.append(text)
            self._numbers[form] = len(self.texts)
        return self._numbers[form]


def nics_document(outcomes: t.Sequence[Outcome]) -> str:
    sentences = Sentences()
    tables = "\n\n".join(_table(outcome, sentences) for outcome in outcomes)
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(map(cell, sentences.texts), start=1))
    return (
        f"{HEAD}\n{tables}\n\n## What the user reads\n\nWith the name of the first interface that has it.\n\n"
        f"{listed}\n\n{totals(outcomes)}.\n"
    )


def _table(outcome: Outcome, sentences: Sentences) -> str:
    commit = f"Run at commit {outcome.about.get('commit', '?')}."
    lines = [f"## {outcome.about.get('kernel', outcome.guest.name)}", "", commit, ""]
    if outcome.problem:
        lines += [f"**Did not end as it should**: {outcome.problem}.", ""]
    lines += ["| interface | native | auto | generic | link |", "|---|---|---|---|---|"]
    lines += [_row(outcome, nic, sentences) for nic in SHOWN]
    lines += ["", *(f"- {name}: {verdict(outcome.results[name])}" for name in (REFUSED, TAGGED, WARNED))]
    return "\n".join(lines)


def _row(outcome: Outcome, nic: Nic, sentences: Sentences) -> str:
    found = {each.asked: each for each in outcome.nics if each.nic == nic.name}
    cells = []
    for mode in MODES_ASKED:
        words = verdict(outcome.results[f"{nic.name}: mode {mode}"])
        numbers = [sentences.number(text, nic) for text in found[mode].said] if mode in found else []
        cells.append(words + "".join(f" [{number}]" for number in numbers))
    attached = [found[mode].link for mode in ("native", "generic") if mode in found and found[mode].mode]
    return f"| {' | '.join([cell(_words(nic)), *map(cell, cells), cell(attached[0]) if attached else ''])} |"


def _words(nic: Nic) -> str:
    """What it is, and its name in the guest, which sentences have; with those of the interfaces below it."""
    names = " of ".join(f"`{name}`" for name in (nic.name, *nic.below))
    return nic.what if nic.name == nic.what else f"{nic.what}: {names}"
