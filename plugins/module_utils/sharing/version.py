# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version a dispatcher must have, so that the libxdp of this host can work with it. Cached for a run."""

from __future__ import annotations

import ctypes
import functools
import typing as t

# What a release has that makes dispatchers of a version, the newest first: libxdp.map of xdp-tools.
_SYMBOLS = (("xdp_multiprog__xdp_dev_bound", 3), ("xdp_program__xdp_frags_support", 2))
DEFAULT = 2  # of libxdp 1.3 to 1.5, and read by all later ones


@functools.lru_cache(maxsize=None)
def of_libxdp() -> t.Optional[int]:
    """The version that libxdp.so.1 of this host makes; None if there is none. Older ones than 1.3 count as 1."""
    try:
        library = ctypes.CDLL("libxdp.so.1")
    except OSError:
        return None
    return next((version for symbol, version in _SYMBOLS if hasattr(library, symbol)), 1)


def of_this_host() -> int:
    """For a new dispatcher: libxdp refuses one of a higher version than its own, and adds nothing to a lower one."""
    return max(of_libxdp() or DEFAULT, DEFAULT)
