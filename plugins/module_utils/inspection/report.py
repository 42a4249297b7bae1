# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What inspection_report writes: a folder on the controller with what each host runs, and where hosts differ.

The collected data has addresses of the hosts' kernels in it, so only the user who made the folder may read it.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import json
import os
import stat
import typing as t

from ..border.answers import BPF, COUNTERS, OBJECTS, PROGRAMS, refusal
from ..border.kinds import Unacceptable, optional, record, word
from ..border.text import printable
from ..errors import FleetError
from ..state.files import read_file
from ..state.private_files import make_folder
from ..state.replacing import write_file
from .differences import Host, differences, texts

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

SUMMARY = ("differences.json", "differences.txt")
# What is collected from a host: the option, what it holds, and the module that returns it.
COLLECTED = (
    ("bpf", BPF, "bpf_facts"),
    ("counters", COUNTERS, "xdp_counter_facts"),
    ("programs", record({"programs": PROGRAMS}, {"disassembler": optional(word)}), "bpf_program_info"),
    ("objects", record({"objects": OBJECTS}), "bpf_object_info"),
)


class Change(t.NamedTuple):
    """A file with new content, or that is to go (None). If it only gets another mode, both are equal."""

    path: str
    before: str
    after: t.Optional[str]


def write(module: "AnsibleModule") -> t.Dict[str, t.Any]:
    """The result of inspection_report. Raises FleetError."""
    dest = module.params["dest"]
    if not os.path.isabs(dest):
        raise FleetError(f"dest {dest} is not an absolute path")
    check_owner(dest)
    hosts, refused = collected_hosts(module.params)
    if refused and not hosts:
        raise FleetError(" ".join(refused))
    for sentence in refused:
        module.warn(sentence)
    found = differences(hosts)
    wanted = {
        "differences.txt": "".join(f"{each}\n" for each in found),
        "differences.json": to_json([each._asdict() for each in found]),
    }
    for host in hosts:
        wanted[f"{file_name(host.name)}.json"] = to_json(host._asdict())
        wanted.update(files_of(host))
    changes = list(planned(dest, wanted, hosts))
    folders = open_folders(dest)
    if not module.check_mode:
        make_folder(dest)
        for folder in folders:
            os.chmod(folder, 0o700)
        for change in changes:
            put(module, f"{dest}/{change.path}", change.after)
    return {
        "changed": bool(changes or folders),
        "differences": [str(each) for each in found],
        "refused": refused,
        "files": [change.path for change in changes],
        "diff": [
            {
                "before": change.before,
                "after": change.after or "",
                "before_header": change.path,
                "after_header": change.path,
            }
            for change in changes
            if change.path.endswith(".txt") and change.before != change.after
        ],
    }


def collected_hosts(options: t.Mapping[str, t.Any]) -> t.Tuple[t.List[Host], t.List[str]]:
    """The hosts whose data is what the modules return, and a sentence for each other one."""
    hosts, refused = [], []
    for name in sorted(options["bpf"]):
        found: t.Dict[str, t.Any] = {}
        for option, check, module in COLLECTED:
            try:
                found[option] = check(options[option].get(name), option)
            except Unacceptable as error:
                refused.append(refusal(name, module, error))
                break
        else:
            programs, objects = found["programs"], found["objects"]["objects"]
            tool = programs.get("disassembler")
            hosts.append(Host(name, found["bpf"], found["counters"], programs["programs"], tool, objects))
    return hosts, refused


def file_name(name: str) -> str:
    """A name that a host has, or gave, as a name in a folder."""
    name = name.replace("/", "%2F").replace("\0", "%00")
    return name if name.strip(".") else name.replace(".", "%2E")


def files_of(host: Host) -> t.Dict[str, str]:
    """All files below the folder of a host, by their path."""
    found = {}
    for parts, text in texts(host).items():
        # An interface may have the name of a file.
        *above, name = parts
        folders = [each.replace(".", "%2E") if each.endswith(".txt") else file_name(each) for each in above]
        found["/".join([file_name(host.name), *folders, name])] = text
    return found


def planned(dest: str, wanted: t.Mapping[str, str], hosts: t.Iterable[Host]) -> t.Iterator[Change]:
    for path, text in sorted(wanted.items()):
        before = read_file(f"{dest}/{path}")
        if before != text.encode() or is_open(f"{dest}/{path}"):
            yield Change(path, shown(before), text)
    for host in hosts:
        for path in code_in(dest, file_name(host.name)):
            if path not in wanted:
                yield Change(path, shown(read_file(f"{dest}/{path}")), None)


def shown(content: t.Optional[bytes]) -> str:
    """What is there may be of a release that wrote what hosts sent."""
    return printable((content or b"").decode(errors="replace"), keep="\n\t")


def code_in(dest: str, folder: str) -> t.Iterator[str]:
    """The files with code in a host's folder."""
    for name in sorted(listed(f"{dest}/{folder}")):
        for file in sorted(listed(f"{dest}/{folder}/{name}")):
            if file in ("jited.txt", "xlated.txt"):
                yield f"{folder}/{name}/{file}"


def listed(folder: str) -> t.List[str]:
    """Not through links: those are not of this module."""
    return os.listdir(folder) if os.path.isdir(folder) and not os.path.islink(folder) else []


def check_owner(dest: str) -> None:
    """Raises FleetError if the folder is somebody else's, who could read what is written there, and replace it."""
    try:
        owner = os.lstat(dest).st_uid
    except (FileNotFoundError, NotADirectoryError):
        return
    if owner not in (0, os.geteuid()):
        raise FleetError(f"dest {dest} belongs to user {owner}, not to {os.geteuid()}, who runs this; give another one")


def is_open(path: str) -> bool:
    """Whether it exists, and others than its owner have any right to it."""
    return os.path.exists(path) and bool(stat.S_IMODE(os.stat(path).st_mode) & 0o077)


def open_folders(dest: str) -> t.List[str]:
    """The folders of inspections to which others have rights; `dest` only if there is nothing else in it."""
    names = set(listed(dest))
    hosts = {name for name in names if f"{name}.json" in names}
    ours = [dest] if SUMMARY[0] in names and not names - hosts - {f"{name}.json" for name in hosts} - {*SUMMARY} else []
    ours += [f"{dest}/{name}" for name in sorted(hosts)]
    ours += [f"{dest}/{path.rpartition('/')[0]}" for name in sorted(hosts) for path in code_in(dest, name)]
    return [folder for folder in dict.fromkeys(ours) if not os.path.islink(folder) and is_open(folder)]


def put(module: "AnsibleModule", path: str, text: t.Optional[str]) -> None:
    if text is not None:
        make_folder(os.path.dirname(path))
        if is_open(path):
            os.chmod(path, 0o600)  # write_file() keeps the mode that a file has
        write_file(module, path, text.encode(), 0o600)
        return
    os.unlink(path)
    if not os.listdir(os.path.dirname(path)):
        os.rmdir(os.path.dirname(path))


def to_json(value: t.Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
