# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a rollout in batches is. Pure."""

from __future__ import annotations

import itertools
import math
import typing as t

from ansible.utils.helpers import pct_to_int


def batch_ends(total: int, serial: t.Sequence[t.Union[int, str]]) -> t.List[int]:
    """After how many hosts each batch ends, as Ansible counts: the last size is that of all further batches."""
    sizes = itertools.chain(serial, itertools.repeat(serial[-1]))
    ends = [0]
    while ends[-1] < total:
        size = pct_to_int(next(sizes), total)
        ends.append(min(ends[-1] + size, total) if size > 0 else total)
    return ends[1:]


def seconds_left(ends: t.Sequence[int], now: int, forks: int, seconds: float) -> float:
    """`seconds`: what the batches up to index `now` took. Ansible works on `forks` hosts at once, in turns."""
    turns = [math.ceil((end - begin) / forks) for begin, end in zip([0, *ends], ends)]
    return seconds / sum(turns[: now + 1]) * sum(turns[now + 1 :])


def progress(
    hosts: t.Sequence[str],
    batch: t.Sequence[str],
    failed: t.Collection[str],
    serial: t.Sequence[t.Union[int, str]],
    forks: int,
    most_fail: float,
    seconds: float,
) -> str:
    """`batch`: the hosts of the current batch that are still there. `most_fail`: per cent of it, beyond which Ansible
    begins no other batch.
    """
    ends = batch_ends(len(hosts), serial)
    place, bad = {host: number for number, host in enumerate(hosts)}, set(failed)
    reached = max(place[host] for host in batch)
    now = next(number for number, end in enumerate(ends) if end > reached)
    wrong = sum(host in bad for host in hosts[: ends[now]])
    whole = hosts[ends[now - 1] if now else 0 : ends[now]]
    # One that could not be reached is not there any more, and is no failure to Ansible, unless no other host is left.
    stops = len(bad.intersection(batch)) > most_fail / 100 * len(whole) or bad.issuperset(whole)
    to_come = len(hosts) - ends[now]
    if not to_come:
        rest = f"in {_duration(seconds)}"
    elif stops:
        rest = f"stopped, {to_come} not touched"
    else:
        rest = f"{to_come} to come, about {_duration(seconds_left(ends, now, forks, seconds))} left"
    return f"{ends[now] - wrong} of {len(hosts)} hosts done, {wrong} failed, {rest}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
