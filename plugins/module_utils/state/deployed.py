# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was deployed, as a value, and the format of the files that contain it, which other releases read too.

A file is a JSON object with a format number. A reader ignores unknown fields, and uses defaults for missing ones: so
it can read what an older or a newer release wrote, and does not call it damaged.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import typing as t

MODES = ("auto", "native", "generic", "offload")
FORMAT = 1  # files of earlier releases have no number, and the same fields


class Deployed(t.NamedTuple):
    """Which program of which object, in which mode.

    `object` is the path of the object file, `checksum` its SHA-256 in hexadecimal, "" while it is unknown (check mode);
    `program` the name of the function that runs; `mode` the requested one: auto, native, generic or offload.
    `variables`: the values of constants (const volatile) that the task set, by name; `sizes`: max_entries of maps that
    the task set, by name. Others are the object's. `sharing`: priority and chain_call_actions in the dispatcher that it
    is in, or was loaded for; empty if it is on its own.
    """

    object: str = ""
    checksum: str = ""
    program: str = ""
    mode: str = "auto"
    variables: t.Mapping[str, t.Any] = {}
    sizes: t.Mapping[str, int] = {}
    sharing: t.Mapping[str, t.Any] = {}


_RARE = ("variables", "sizes", "sharing")  # without them, the file is the same as in the previous release


def written(deployed: Deployed, /, **more: t.Any) -> bytes:
    """The content of a file with `deployed` and the fields `more`."""
    fields = deployed._asdict()
    for name in _RARE:
        if not fields[name]:
            del fields[name]
    return json.dumps({"format": FORMAT, **fields, **more}, indent=1).encode()


def read(content: bytes, /, **defaults: t.Any) -> t.Tuple[Deployed, t.Dict[str, t.Any]]:
    """Parse what written() of this or a different release wrote; `defaults` has the names and defaults of `more`.

    Raises ValueError if it is not such a file.
    """
    try:
        fields = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    known = {**Deployed._field_defaults, **defaults}
    if not isinstance(fields, dict) or any(
        type(fields.get(name, known[name])) is not type(known[name]) for name in known
    ):
        raise ValueError("these are not the fields of such a file")
    if fields.get("mode", "auto") not in MODES:
        raise ValueError(f"there is no mode {fields['mode']}")
    sharing = fields.get("sharing")
    if sharing and not (
        isinstance(sharing.get("priority"), int) and isinstance(sharing.get("chain_call_actions"), list)
    ):
        raise ValueError("it does not say where in a dispatcher the program is")
    found = {name: fields.get(name, known[name]) for name in known}
    more = {name: found.pop(name) for name in defaults}
    return Deployed(**found), more
