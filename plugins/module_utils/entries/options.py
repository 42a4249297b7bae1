# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which maps are named, and of declared entries, which map_entries of xdp_program has too."""

from __future__ import annotations

ENTRIES = {
    "entries": {"type": "list", "elements": "dict"},
    "keys": {"type": "list", "elements": "raw", "no_log": False},
    "value": {"type": "raw"},
    "src": {"type": "path"},
    "format": {"choices": ["lines", "json", "csv"], "default": "lines"},
    "state": {"choices": ["present", "absent"], "default": "present"},
    "exclusive": {"type": "bool", "default": False},
    "exclusive_within": {"type": "dict"},
    "replace": {"choices": ["in_place", "at_once"], "default": "in_place"},
    "formats": {"type": "dict"},
    "diff_limit": {"type": "int", "default": 100},
}
EXCLUSIVE = [("entries", "keys", "src"), ("entries", "value")]
ONE_OF = [("entries", "keys", "src")]

# Beside the name of a map.
SLOT = {"slot": {"type": "raw"}}

NAMED = {
    "name": {"type": "str"},
    "interfaces": {"type": "list", "elements": "str"},
    "map": {"type": "str"},
    **SLOT,
    "pinned": {"type": "path"},
    "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
    "allow_unsafe_paths": {"type": "bool", "default": False},
}
