# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What --record keeps: each guest's last outcome in outcomes.json, and the documents that are made of all of them."""

from __future__ import annotations

import json
import pathlib
import threading
import typing as t

from guest import Guest, Outcome, Result
from nic_table import nics_document
from nics import Found
from table import markdown, totals

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTCOMES = pathlib.Path(__file__).with_name("outcomes.json")
DOCUMENT = ROOT / "docs/kernels.md"
NICS = ROOT / "docs/nics.md"
UPGRADES = ROOT / "tests/reliability/upgrades.json"

HEAD = """\
# Kernels

Written by `make test-kernels RECORD=1`: the collection's modules on real kernels in qemu, and what each check found.
A column is a kernel of Debian's with a userland of Debian's, which brings Python, libbpf, iproute2 and bpftool. The
kernels `6.1-integrity` and `6.1-confidentiality` are started with `lockdown=` that. What a module claims is compared
with what ip and bpftool say. "N of N" is packets counted, of packets sent.
"""


_one_at_a_time = threading.Lock()  # guests may end together


def record(outcome: Outcome, guests: t.Sequence[Guest], commit: str) -> None:
    """Guests that were not run stay as they were. `guests`: all that there are, in the order of the documents.

    `commit`: of which it was run.
    """
    with _one_at_a_time:
        kept: t.Dict[str, t.Any] = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
        kept[key_of(outcome.guest)] = _packed(outcome, commit)
        kept = {key_of(guest): kept[key_of(guest)] for guest in guests if key_of(guest) in kept}
        OUTCOMES.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        _write_documents([_unpacked(guest, kept[key_of(guest)]) for guest in guests if key_of(guest) in kept])


def _write_documents(outcomes: t.Sequence[Outcome]) -> None:
    kernels = [outcome for outcome in outcomes if not outcome.guest.nics and not outcome.guest.cost]
    with_nics = [outcome for outcome in outcomes if outcome.guest.nics]
    if kernels:
        DOCUMENT.write_text(f"{HEAD}\n{markdown(kernels)}\n\n{totals(kernels)}.\n")
    if with_nics:
        NICS.write_text(nics_document(with_nics))
    _record_upgrades(outcomes)


def key_of(guest: Guest) -> str:
    return f"{guest.label}/{guest.userland}/{guest.arch}"


def _packed(outcome: Outcome, commit: str) -> t.Dict[str, t.Any]:
    return {
        "about": {**outcome.about, "commit": commit},
        "results": {name: [result.passed, result.text] for name, result in outcome.results.items()},
        "problem": outcome.problem.split(":")[0],  # the rest may name a mirror
        "upgrades": outcome.upgrades,
        "nics": [found._asdict() for found in outcome.nics],
    }


def _unpacked(guest: Guest, kept: t.Mapping[str, t.Any]) -> Outcome:
    """A check that is newer than what is kept is not among its results."""
    results = {name: Result(*each) for name, each in kept["results"].items() if name in guest.rows}
    nics = [Found(**{**each, "said": tuple(each["said"])}) for each in kept["nics"]]
    return Outcome(guest, kept["about"], results, kept["problem"], 0, kept["upgrades"], nics)


def _record_upgrades(outcomes: t.Sequence[Outcome]) -> None:
    """For docs/reliability.md: of the oldest and the newest kernel, with the newest userland."""
    rows = {
        outcome.guest.label: {"kernel": outcome.about["kernel"], "rows": outcome.upgrades}
        for outcome in outcomes
        if outcome.upgrades
    }
    recorded = {**json.loads(UPGRADES.read_text()), **rows}
    UPGRADES.write_text(json.dumps(recorded, indent=1) + "\n")
