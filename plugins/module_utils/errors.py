# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception whose text is a message for the user, and errors of others as words."""

from __future__ import annotations

import contextlib
import re
import typing as t


class FleetError(Exception):
    """One paragraph for the user: what failed, on what, the kernel's or tool's own words, and the remedy."""


def said(error: BaseException) -> str:
    """The error's own text, without the number with which that of an OSError begins."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))


@contextlib.contextmanager
def undone_by(roll_back: t.Callable[[], None]) -> t.Iterator[None]:
    """What fails is rolled back. Raises FleetError with both texts if that fails, too."""
    try:
        yield
    except BaseException as error:
        try:
            roll_back()
        except FleetError as second:
            raise FleetError(f"{said(error)}; {second}") from error
        raise
