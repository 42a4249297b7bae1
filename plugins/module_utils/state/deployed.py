# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for, as a value, and how it is written to a file that other releases read too.

A file is a JSON object that carries the number of its format. Fields that a reader does not know are ignored, fields
that it misses have their defaults: so a host that an older or a newer release deployed is read, not called damaged.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import typing as t

FORMAT = 1  # files without a number are of the releases before it, and have the same fields


class Deployed(t.NamedTuple):
    """Which program of which object, in which mode.

    `object` is the path of the object file, `checksum` its SHA-256 in hexadecimal, "" while it is unknown (check mode);
    `program` the name of the function that runs; `mode` the one that was asked for: auto, native, generic or offload.
    """

    object: str = ""
    checksum: str = ""
    program: str = ""
    mode: str = "auto"


def written(deployed: Deployed, /, **more: t.Any) -> bytes:
    """The content of a file that holds `deployed` and the fields `more`."""
    return json.dumps({"format": FORMAT, **deployed._asdict(), **more}, indent=1).encode()


def read(content: bytes, /, **defaults: t.Any) -> t.Tuple[Deployed, t.Dict[str, t.Any]]:
    """What written() wrote, in this release or in another: `defaults` has the names and defaults of `more`.

    Raises ValueError where it is not such a file.
    """
    fields = json.loads(content)
    known = {**Deployed._field_defaults, **defaults}
    if not isinstance(fields, dict) or any(
        type(fields.get(name, known[name])) is not type(known[name]) for name in known
    ):
        raise ValueError("these are not the fields of such a file")
    found = {name: fields.get(name, known[name]) for name in known}
    more = {name: found.pop(name) for name in defaults}
    return Deployed(**found), more
