# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run.py [--jobs N] [--sample] [--record] [KERNEL...]: run the checks on each kernel, or on some, in their order.

They are 5.10, 6.1, 6.12 and newest, and guests with NICs; `make test-kernels` runs it. A single guest of a kernel is
KERNEL/USERLAND/ARCHITECTURE. --sample, as in CI: the oldest guest, and one of those with NICs, chosen by the commit.
--record writes each guest, as soon as it has ended, into docs/kernels.md and docs/nics.md, and what an upgrade does
with maps on the oldest and the newest, for docs/reliability.md; guests that were not run stay there as they were.
Exit code 1 if a check failed, a guest did not finish, or a kernel could not be downloaded.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import os
import pathlib
import random
import sys
import tempfile
import typing as t

from debian import Debian, Kernel
from guest import Guest, Outcome, boot, not_booted
from payload import make_payload
from processes import Failed, end_all, ended, run, session
from record import key_of, record
from table import text, totals

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/kernels"

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
    Guest("cost-6.12", "trixie-security", "trixie", cost=True),
    Guest("nics-5.10", "bullseye-security", "bookworm", nics=True),
    Guest("nics-6.1", "bookworm-security", "bookworm", nics=True),
    Guest("nics-6.12", "trixie-security", "bookworm", nics=True),
)


def sample(guests: t.Sequence[Guest]) -> t.List[Guest]:
    """The first, the short one of the cost, and one of those with NICs, chosen by the commit.

    In these, sharing.py tries a sample of what it tries elsewhere.
    """
    first = next(guest for guest in guests if not guest.nics and not guest.cost)
    commit = run("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    chosen = random.Random(commit)
    cost = [guest for guest in guests if guest.cost]
    found = [first, *cost, chosen.choice([guest for guest in guests if guest.nics])]
    return [guest._replace(parameters=f"{guest.parameters} sample={commit}") for guest in found]


def by_name(guests: t.Iterable[Guest]) -> t.Dict[str, t.List[Guest]]:
    """What a user may name: a kernel, which is all its guests, or one of these."""
    named: t.Dict[str, t.List[Guest]] = {}
    for guest in guests:
        for name in (guest.label, key_of(guest)):
            named.setdefault(name, []).append(guest)
    return named


def outcomes(guests: t.Sequence[Guest], jobs: int, keep: t.Callable[[Outcome], None]) -> t.List[Outcome]:
    """Download kernels one after the other, and boot each as soon as it has arrived.

    `keep` gets each outcome as soon as there is one, unless the guest ended because the run does.
    """

    def kept(outcome: Outcome) -> Outcome:
        if not ended():
            keep(outcome)
        return outcome

    def booted(guest: Guest, kernel: Kernel, archives: t.Sequence[pathlib.Path]) -> Outcome:
        return kept(boot(guest, kernel, archives, CACHE))

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
                    done.append(pool.submit(booted, guest, kernel(guest.suite, guest.arch, guest.machine), parts))
                except Failed as error:
                    done.append(kept(not_booted(guest, f"cannot fetch {guest.suite} or {guest.userland}: {error}")))
            return [each if isinstance(each, Outcome) else each.result() for each in done]
        finally:
            end_all()
            pool.shutdown(cancel_futures=True)


def main() -> int:
    named = by_name(GUESTS)
    labels = ", ".join(dict.fromkeys(guest.label for guest in GUESTS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="guests at a time")
    parser.add_argument("--sample", action="store_true", help="the oldest, one with NICs")
    parser.add_argument("--record", action="store_true", help="write what docs/ shows of this")
    parser.add_argument("kernel", nargs="*", help=f"only these: {labels}")
    options = parser.parse_args()
    if unknown := set(options.kernel) - named.keys():
        parser.error(f"no kernel {', '.join(sorted(unknown))}; there are {labels}")
    guests = list(dict.fromkeys(guest for name in options.kernel for guest in named[name])) or GUESTS
    if options.sample:
        guests = sample(GUESTS)
    commit = run("git", "-C", ROOT, "describe", "--always", "--dirty").strip()  # none is started once the session ends

    def keep(outcome: Outcome) -> None:
        if options.record:
            record(outcome, GUESTS, commit)

    with session("kernels", CACHE):
        found = outcomes(guests, options.jobs, keep)
    print(text(found))
    print(f"\n{totals(found)}")
    return int(any(outcome.failed or outcome.problem for outcome in found))


if __name__ == "__main__":
    sys.exit(main())
