# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run.py [--jobs N] [--sample] [--record] [KERNEL...]: run the checks on each kernel, or on some.

They are 5.10, 6.1, 6.12 and newest, and guests with NICs; `make test-kernels` runs it. --sample, as in CI: the oldest
guest, one of the others and one of those with NICs, chosen by the commit. --record writes docs/kernels.md if all were
run, docs/nics.md if all with NICs were, and what an upgrade does with maps on the oldest and the newest, for
docs/reliability.md. Exit code 1 if a check failed, a guest did not finish, or a kernel could not be downloaded.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import random
import sys
import tempfile
import typing as t

from debian import Debian
from guest import Guest, Outcome, boot, not_booted
from nic_table import nics_document
from payload import make_payload
from processes import Failed, end_all, run, session
from table import markdown, text, totals

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/kernels"
DOCUMENT = ROOT / "docs/kernels.md"
NICS = ROOT / "docs/nics.md"
UPGRADES = ROOT / "tests/reliability/upgrades.json"

GUESTS = (
    Guest("5.10", "bullseye-security", "bullseye"),
    Guest("5.10", "bullseye-security", "bookworm", maps=True),
    Guest("6.1", "bookworm-security", "bookworm"),
    Guest("6.1-integrity", "bookworm-security", "bookworm", parameters="lockdown=integrity"),
    Guest("6.1-confidentiality", "bookworm-security", "bookworm", parameters="lockdown=confidentiality"),
    Guest("6.12", "trixie-security", "bookworm"),
    Guest("6.12", "trixie-security", "trixie"),
    Guest("newest", "trixie-backports", "bookworm"),
    Guest("newest", "trixie-backports", "sid", maps=True),
    Guest("6.12", "trixie-security", "trixie", arch="arm64"),
    Guest("6.1", "bookworm", "bookworm", arch="s390x"),  # the security suites have no s390x
    Guest("nics-5.10", "bullseye-security", "bookworm", nics=True),
    Guest("nics-6.1", "bookworm-security", "bookworm", nics=True),
    Guest("nics-6.12", "trixie-security", "bookworm", nics=True),
)

HEAD = """\
# Kernels

Written by `make test-kernels RECORD=1`: the collection's modules on real kernels in qemu, and what each check found.
A column is a kernel of Debian's with a userland of Debian's, which brings Python, libbpf, iproute2 and bpftool. What a
module claims is compared with what ip and bpftool say. "N of N" is packets counted, of packets sent.
"""


def sample(guests: t.Sequence[Guest]) -> t.List[Guest]:
    """The first, one of the others and one of those with NICs, chosen by the commit."""
    first, *others = (guest for guest in guests if not guest.nics)
    chosen = random.Random(run("git", "-C", ROOT, "rev-parse", "HEAD").strip())
    return [first, chosen.choice(others), chosen.choice([guest for guest in guests if guest.nics])]


def outcomes(guests: t.Sequence[Guest], jobs: int) -> t.List[Outcome]:
    """Download kernels one after the other, and boot each as soon as it has arrived."""
    debian = Debian(CACHE)
    kernel, userland = functools.lru_cache(debian.kernel), functools.lru_cache(debian.userland)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        payload = functools.lru_cache(functools.partial(make_payload, pathlib.Path(work)))
        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            done: t.List[t.Union[Outcome, concurrent.futures.Future[Outcome]]] = []
            for guest in guests:
                try:
                    parts = (userland(guest.userland, guest.arch), payload(guest.machine.target))
                    done.append(pool.submit(boot, guest, kernel(guest.suite, guest.arch, guest.machine), parts, CACHE))
                except Failed as error:
                    done.append(not_booted(guest, f"cannot fetch {guest.suite} or {guest.userland}: {error}"))
            return [each if isinstance(each, Outcome) else each.result() for each in done]
        finally:
            end_all()
            pool.shutdown(cancel_futures=True)


def record_upgrades(found: t.Sequence[Outcome]) -> None:
    """Of the oldest and the newest kernel, with the newest userland; what was not run stays as it is."""
    recorded = json.loads(UPGRADES.read_text()) if UPGRADES.exists() else {}
    for outcome in found:
        if outcome.upgrades:
            recorded[outcome.guest.label] = {"kernel": outcome.about["kernel"], "rows": outcome.upgrades}
    shown = [label for label in dict.fromkeys(guest.label for guest in GUESTS if guest.maps) if label in recorded]
    UPGRADES.write_text(json.dumps({label: recorded[label] for label in shown}, indent=1) + "\n")


def main() -> int:
    labels = list(dict.fromkeys(guest.label for guest in GUESTS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="guests at a time")
    parser.add_argument("--sample", action="store_true", help="the oldest, one of the others, one with NICs")
    parser.add_argument("--record", action="store_true", help="write what docs/ shows of this")
    parser.add_argument("kernel", nargs="*", help=f"only these: {', '.join(labels)}")
    options = parser.parse_args()
    if unknown := set(options.kernel) - set(labels):
        parser.error(f"no kernel {', '.join(sorted(unknown))}; there are {', '.join(labels)}")
    guests = [guest for guest in GUESTS if not options.kernel or guest.label in options.kernel]
    if options.sample:
        guests = sample(GUESTS)
    with session("kernels", CACHE):
        found = outcomes(guests, options.jobs)
    print(text(found))
    if options.record:
        record_upgrades(found)
    with_nics = [outcome for outcome in found if outcome.guest.nics]
    if options.record and len(with_nics) == sum(guest.nics for guest in GUESTS):
        NICS.write_text(nics_document(with_nics))
    if options.record and not options.kernel:
        kernels = [outcome for outcome in found if not outcome.guest.nics]
        DOCUMENT.write_text(f"{HEAD}\n{markdown(kernels)}\n\n{totals(kernels)}.\n")
    print(f"\n{totals(found)}")
    return int(any(outcome.failed or outcome.problem for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
