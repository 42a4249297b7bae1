# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of maps that are restored after a reboot: a file for each map, beside the manifest."""

from __future__ import annotations

import base64
import json
import os
import typing as t

from ..errors import FleetError
from ..state.deployed import FORMAT
from ..state.files import read_file
from ..state.places import NEW, Place, scan
from ..state.private_files import remove, remove_empty, write_private
from ..state.trusted import read_trusted

Entries = t.Dict[bytes, bytes]  # values by key, of a per-CPU map those of one CPU


def kept_lists(place: Place) -> t.Tuple[str, ...]:
    """Pins of the maps whose entries are kept."""
    return tuple(each.name for each in scan(place.lists) if not each.name.endswith(NEW))


def read_list(place: Place, pin: str) -> t.Optional[Entries]:
    """None if there is none. Raises FleetError if it is damaged, or if other users can change it."""
    path = f"{place.lists}/{pin}"
    content = read_trusted(path, "to restore")
    if content is None:
        return None
    try:
        fields = json.loads(content)
        keys, values = (base64.b64decode(fields[name], validate=True) for name in ("keys", "values"))
        key_size, value_size, count = fields["key_size"], fields["value_size"], len(keys) // fields["key_size"]
        if len(keys) != count * key_size or len(values) != count * value_size:
            raise ValueError
    except (ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError) as error:
        raise FleetError(f"{path} is damaged and cannot be read; declare the entries again") from error
    return {
        keys[at * key_size : (at + 1) * key_size]: values[at * value_size : (at + 1) * value_size]
        for at in range(count)
    }


def write_list(place: Place, pin: str, entries: t.Optional[Entries]) -> None:
    """None: keep none of this map."""
    path = f"{place.lists}/{pin}"
    if not entries:
        remove(path)
        remove(path + NEW)
        remove_empty(place.lists)
        return
    sizes = {"key_size": len(next(iter(entries))), "value_size": len(next(iter(entries.values())))}
    packed = {
        "keys": base64.b64encode(b"".join(entries)).decode(),
        "values": base64.b64encode(b"".join(entries.values())).decode(),
    }
    write_private(path, json.dumps({"format": FORMAT, **sizes, **packed}).encode())


def lists_as_they_are(place: Place) -> t.Dict[str, bytes]:
    """The content of each file by its path, damaged or not; to put it back."""
    return {each.path: read_file(each.path) or b"" for each in scan(place.lists)}


def put_back(contents: t.Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        write_private(path, content)


def remove_lists(place: Place) -> None:
    for each in scan(place.lists):
        remove(each.path)
    if os.path.isdir(place.lists):
        remove_empty(place.lists)
