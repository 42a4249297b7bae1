# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host at each tick of a systemd timer: writes the metrics of its programs for node_exporter.

metrics.pyz is this package in one file, as boot.pyz is.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t

from ..entry import message_of, require_libbpf
from ..errors import FleetError
from ..persist.packing import packed
from ..state.locks import lock, of_metrics
from ..state.places import MANIFESTS, PULLED
from ..state.trusted import read_trusted
from .collected import Collected, collect
from .declared import PREFIX, Declared, read
from .exposition import Family, Number, text

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf

DECLARED = f"{MANIFESTS}/metrics.json"


def runner() -> bytes:
    """metrics.pyz: this package as a file that sh can run."""
    return packed("metrics.writer", "no metrics of XDP programs are written")


def main(_arguments: t.Sequence[str]) -> int:
    """metrics.pyz: write the file once. Prints what could not be read on standard error, for the journal."""
    try:
        with lock(of_metrics()):
            errors = write(require_libbpf(), declared_here()).errors
    except (FleetError, OSError, ValueError) as error:
        sys.stderr.write(f"no metrics were written: {message_of(error)}\n")
        return 1
    sys.stderr.write("".join(f"{each}\n" for each in errors))
    return 0


def declared_here() -> Declared:
    """Raises FleetError if it is missing or damaged, or if other users can change it."""
    content = read_trusted(DECLARED, "to write metrics by")
    if content is None:
        raise FleetError(f"there is no {DECLARED}; run ebpf.fleet.xdp_metrics again")
    try:
        return read(content)
    except ValueError as error:
        raise FleetError(f"{DECLARED} is damaged: {error}; run ebpf.fleet.xdp_metrics again") from error


def write(lib: Libbpf, declared: Declared) -> Collected:
    """Returns what it has written. Raises OSError if the file cannot be written."""
    began = time.monotonic()
    found = collect(lib, declared)
    content = text([*found.families, *_of_pulling(), *_about(found, began)])
    replace(declared.file, content)
    return found


def _about(found: Collected, began: float) -> t.Iterator[Family]:
    """The run itself."""
    series = sum(len(each.samples) for each in found.families)
    for name, words, value in (
        ("timestamp_seconds", "When the metrics were read.", round(time.time(), 3)),
        ("duration_seconds", "How long that took.", round(time.monotonic() - began, 6)),
        ("errors", "What could not be read; the journal of ebpf-fleet-metrics.service says why.", len(found.errors)),
        ("series", "Samples of programs and maps.", series),
    ):
        samples: t.Dict[t.Any, Number] = {(): value}
        yield Family(f"{PREFIX}metrics_{name}", "gauge", words, samples)


def _of_pulling() -> t.Iterator[Family]:
    if os.path.exists(PULLED):
        from .pulled import about_pulling  # here: few hosts keep themselves

        yield from about_pulling()


def replace(path: str, content: bytes) -> None:
    """Readers find the old or the new file, whole. Its folder may be another user's, so no link in it is followed.

    Not synchronized to disk: after a crash the next run writes it anew.
    """
    new = unfinished(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        os.rename(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def unfinished(path: str) -> str:
    """node_exporter reads files that end in .prom."""
    return f"{path}.new"
