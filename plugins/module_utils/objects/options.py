# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compile options, which bpf_object and xdp_program's build share."""

from __future__ import annotations

COMPILING = {
    "src": {"type": "path", "required": True},
    "content": {"type": "str"},
    "defines": {"type": "dict", "default": {}},
    "cflags": {"type": "list", "elements": "str", "default": []},
    "include_dirs": {"type": "list", "elements": "path", "default": []},
    "clang": {"type": "str", "default": "clang"},
    "cpu": {"choices": ["v1", "v2", "v3", "v4"], "default": "v3"},
}
