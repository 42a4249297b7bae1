# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that inspection_report writes on the controller: what each host runs, and where hosts differ."""

from __future__ import annotations

import glob
import json
import os
import typing as t

from ..errors import FleetError
from ..state.files import read_file
from ..state.replacing import write_file
from .differences import Host, differences, texts

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def write(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """The result of inspection_report. Raises FleetError."""
    dest = module.params["dest"]
    if not os.path.isabs(dest):
        raise FleetError(f"dest {dest} is not an absolute path")
    hosts = collected_hosts(module.params)
    found = differences(hosts)
    wanted = {
        "differences.txt": "".join(f"{each}\n" for each in found),
        "differences.json": to_json([each._asdict() for each in found]),
    }
    for host in hosts:
        wanted[f"{folder(host)}.json"] = to_json(host._asdict())
        wanted.update({f"{folder(host)}/{path}": text for path, text in texts(host).items()})
    changes: t.List[t.Tuple[str, str, t.Optional[str]]] = []
    for path, text in sorted(wanted.items()):
        before = read_file(f"{dest}/{path}")
        if before != text.encode():
            changes.append((path, (before or b"").decode(errors="replace"), text))
    for host in hosts:
        for path in glob.glob(f"{glob.escape(dest)}/{glob.escape(folder(host))}/*/*ted.txt"):
            relative = os.path.relpath(path, dest)
            if relative not in wanted and os.path.basename(path) in ("xlated.txt", "jited.txt"):
                changes.append((relative, (read_file(path) or b"").decode(errors="replace"), None))
    if not module.check_mode:
        for path, _before, after in changes:
            put(module, f"{dest}/{path}", after)
    return {
        "changed": bool(changes),
        "differences": [str(each) for each in found],
        "files": [path for path, _before, _after in changes],
        "diff": [
            {"before": before, "after": after or "", "before_header": path, "after_header": path}
            for path, before, after in changes
            if path.endswith(".txt")
        ],
    }


def collected_hosts(options: t.Mapping[str, t.Any]) -> t.List[Host]:
    """Raises FleetError if the collected data is not what the modules return."""
    hosts = []
    for name in sorted(options["bpf"]):
        try:
            programs = options["programs"][name]
            host = Host(
                name,
                options["bpf"][name],
                options["counters"][name],
                programs["programs"],
                programs.get("disassembler"),
                options["objects"][name]["objects"],
            )
            texts(host)
        except (KeyError, TypeError, AttributeError) as error:
            raise FleetError(
                f"the data collected from {name} is incomplete ({error}): pass the facts and results of the modules"
                " that the documentation of bpf, counters, programs and objects names"
            ) from error
        hosts.append(host)
    return hosts


def folder(host: Host) -> str:
    """A host's name as the name of a folder."""
    name = host.name.replace("/", "%2F")
    return name if name.strip(".") else name.replace(".", "%2E")


def put(module: AnsibleModule, path: str, text: t.Optional[str]) -> None:
    if text is not None:
        write_file(module, path, text.encode(), 0o644)
        return
    os.unlink(path)
    if not os.listdir(os.path.dirname(path)):
        os.rmdir(os.path.dirname(path))


def to_json(value: t.Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
