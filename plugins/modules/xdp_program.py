#!/usr/bin/python
# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_program
short_description: Load, pin and attach an XDP program
version_added: 0.1.0
author:
  - ebpf.fleet contributors (@ebpf-fleet)
description:
  - Brings one XDP program to a state on one or more interfaces of a host, each with an instance of the program and
    maps of its own.
  - The program is attached by a pinned BPF link (kernel 5.9 or later). An upgrade swaps the program in the link
    atomically and keeps
    the maps, so no packet passes uncounted.
  - What belongs to somebody else on the interface is named and left alone, unless O(on_conflict=replace).
  - All programs of a task are loaded, and so seen by the verifier, before anything is changed on any interface.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.attributes.pin_root
attributes:
  check_mode:
    support: full
    details:
      - Nothing is loaded, so a refusal by the verifier or the driver is not foretold.
  diff_mode:
    support: full
options:
  state:
    description:
      - V(attached) - the program runs on the interfaces.
      - V(loaded) - it is loaded and pinned for them; where it is attached already it stays so.
      - V(detached) - it does not run; program and maps, and with them the counts, stay pinned.
      - V(absent) - nothing of it is left.
    type: str
    choices: [attached, loaded, detached, absent]
    default: attached
  object:
    description:
      - Path of the object file on the target. Required for O(state=attached) and O(state=loaded).
    type: path
  content:
    description:
      - The object file itself, in Base64, as M(ansible.builtin.slurp) returns it. It is written to O(object) if that
        differs.
      - Saves a M(ansible.builtin.copy) task, and lets check mode look into an object that is not on the target yet.
    type: str
  build:
    description:
      - Compile O(object) first, if it is not as its source, headers, flags and compiler make it; as
        M(ebpf.fleet.bpf_object) does, and with what it keeps beside the object.
      - Saves a task, and with it a round trip to each host. What is compiled is written only when all programs have
        been loaded, and put back if the task fails; with O(on_error=continue) it stays if any interface could be done.
      - In check mode a source that is not there yet is taken for one that an earlier task would have put there, with a
        warning.
    type: dict
    version_added: 0.2.0
    suboptions:
      src:
        description:
          - Path of the C file on the target.
        type: path
        required: true
      content:
        description:
          - Text of the C file. It is written to O(build.src) if that differs.
        type: str
      defines:
        description:
          - Macros to define, by name.
        type: dict
        default: {}
      cflags:
        description:
          - More flags for clang.
        type: list
        elements: str
        default: []
      include_dirs:
        description:
          - Folders to look for headers in, before those of the system.
        type: list
        elements: path
        default: []
      clang:
        description:
          - The compiler, by name or path.
        type: str
        default: clang
      cpu:
        description:
          - The version of the BPF instruction set.
        type: str
        choices: [v1, v2, v3, v4]
        default: v3
  checksum:
    description:
      - SHA-256 of the object file, in hexadecimal. Any other object is refused.
      - In check mode an object with another checksum is taken for one that an earlier task would have replaced, with
        a warning.
    type: str
  program:
    description:
      - Name of the program's function. By default the object's only XDP program; those in a section that starts with
        V(?) do not
        count unless they are named.
      - On an interface with an MTU above 1500 the program named C(PROGRAM_frags) is taken instead, if the object has
        it in section
        C(xdp.frags) and the kernel knows packets of several buffers (5.18 or later).
    type: str
  name:
    description:
      - The name under which it is pinned. By default the program's name, or for O(state=detached) and O(state=absent)
        that of
        O(program).
      - 1 to 64 letters, digits, underscores or dashes.
    type: str
  interfaces:
    description:
      - The interfaces. Required for O(state=attached) and O(state=loaded).
      - Without them, O(state=detached) and O(state=absent) mean all that O(name) is on.
    type: list
    elements: str
  mode:
    description:
      - V(native) runs in the driver, V(generic) in the kernel's network stack behind it, V(offload) on the network
        card.
      - V(auto) tries native and falls back to generic with a warning.
      - The mode in force is always returned.
    type: str
    choices: [auto, native, generic, offload]
    default: auto
  on_conflict:
    description:
      - What to do about another's XDP program on the interface. V(fail) names it and changes nothing, V(replace)
        takes it off.
    type: str
    choices: [fail, replace]
    default: fail
  maps:
    description:
      - What an upgrade does with the maps. V(keep) hands them on to the new program, and fails before anything is
        touched if the shape
        of one has changed. V(reset) starts with new, empty ones.
      - It plays no part while the object is unchanged.
    type: str
    choices: [keep, reset]
    default: keep
  on_error:
    description:
      - What to do if one of the interfaces fails. With V(stop) nothing is changed on any of them, or what was changed
        is put back.
        With V(continue) the others are done, and the task fails with a result for each.
    type: str
    choices: [stop, continue]
    default: stop
  rollback_after:
    description:
      - Seconds in which a change of what runs on an interface must be confirmed, or the host takes it back by itself.
        V(0) makes changes at once for good.
      - The task confirms it. It gives up its connection, comes back over a new one, and so shows that the host can
        still be reached. Where that fails, the task fails too, and says what runs on the interfaces.
      - A small process on the host makes the change, and holds a new program until then. If that process ends, the
        kernel takes the program off. An upgrade puts the old program back into the link, and the counts go on.
      - At most 3600. It plays no part in check mode, nor where nothing changes that runs on an interface. A task with
        C(async) cannot use it.
    type: int
    default: 0
  check_seconds:
    description:
      - Seconds to look, after a change, whether packets are counted and still arrive, as
        M(ebpf.fleet.xdp_counter_check) does. The task fails where they do not; what it has changed stays.
      - For programs that count as C(packet_count) does, and with O(state=attached). V(0) does not look.
      - It plays no part in check mode, nor where nothing changes. A task with C(async) cannot use it.
    type: float
    default: 0
    version_added: 0.2.0
  persist:
    description:
      - Whether the host brings the program back by itself after a reboot, in the same mode, as soon as the interface is
        there. Its maps begin empty then. The object is kept in C(/var/lib/ebpf_fleet) for that.
      - V(auto) has it so where it can be done. This needs systemd, and an interface of the machine's own network
        namespace that systemd knows as a device; so not C(lo), nor in a container.
      - V(true) fails where it cannot be done.
      - By default it stays as it is, and what is brought back is what was deployed last.
      - A program with O(state=detached) or O(state=absent), or that was loaded only, is not brought back.
    type: str
    choices: ["auto", "true", "false"]
    version_added: 0.2.0
  allow_unsafe_paths:
    description:
      - Accept an object file, a O(pin_root), or with O(build) a source, header or compiler, that others than root can
        write to, or that lies in a folder that they can write to.
    type: bool
    default: false
seealso:
  - module: ebpf.fleet.xdp_confirm
  - module: ebpf.fleet.xdp_counter_check
  - module: ebpf.fleet.bpf_object
  - module: ebpf.fleet.xdp_counter_facts
"""

EXAMPLES = r"""
- name: Count packets on two interfaces
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/packet_count.bpf.o
    interfaces:
      - eth0
      - eth0.10

- name: Compile it on the host as well, in the same task
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/packet_count.bpf.o
    build:
      src: /usr/local/lib/bpf/packet_count.bpf.c
      content: "{{ lookup('ansible.builtin.file', 'packet_count.bpf.c', rstrip=false) }}"
    interfaces: [eth0]

- name: Take it off, and keep the counts readable
  ebpf.fleet.xdp_program:
    name: packet_count
    state: detached

- name: Drop packets by a program that nobody has tried yet, and take it off again should the host be out of reach by it
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/filters.bpf.o
    interfaces: [eth0]
    rollback_after: 60

- name: Leave no trace of it
  ebpf.fleet.xdp_program:
    name: packet_count
    state: absent

- name: Attach a program of several in an object, in the driver or not at all
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/filters.bpf.o
    program: drop_bogons
    name: bogons
    interfaces: [eth1]
    mode: native
    checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
"""

RETURN = r"""
attachments:
  description: One for each interface, as the kernel has it after the run.
  returned: always
  type: list
  elements: dict
  sample:
    - interface: eth0
      ifindex: 2
      mode: native
      program_id: 238
      tag: 644ee9a75611c6d0
      link_id: 12
      map_ids: [87, 88]
      pin_path: /sys/fs/bpf/ebpf_fleet/packet_count/eth0
      state: attached
      persistent: true
  contains:
    interface:
      description: Name of the interface.
      type: str
    ifindex:
      description: Its index, 0 if there is none.
      type: int
    mode:
      description: The mode in force; null where it is not attached, and in check mode where only a real run can know.
      type: str
    program_id:
      description: The kernel's id of the program; null as for RV(attachments[].mode).
      type: int
    tag:
      description: The kernel's digest of the program's instructions.
      type: str
    link_id:
      description: The kernel's id of the link.
      type: int
    map_ids:
      description: The kernel's ids of the maps that the program uses.
      type: list
      elements: int
    pin_path:
      description: The folder of the pins.
      type: str
    state:
      description: V(attached), V(loaded), V(detached), V(absent) or V(failed).
      type: str
    persistent:
      description: Whether the host brings it back by itself after a reboot.
      type: bool
      version_added: 0.2.0
    error:
      description: Why this interface failed.
      type: str
      returned: for an interface that failed, with O(on_error=continue)
steps:
  description: What was done, or in check mode would be, one sentence each.
  returned: always
  type: list
  elements: str
  sample:
    - "eth0: load packet_count"
    - "eth0: attach by link, mode auto"
    - "eth0: write the record"
build:
  description:
    - What M(ebpf.fleet.bpf_object) returns of the object, its C(reasons) to compile among it.
  returned: if O(build) is set, and the program is to be attached or loaded
  type: dict
  version_added: 0.2.0
  sample:
    checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
    compiler: Debian clang version 14.0.6
    reasons: [the source has changed]
provisional:
  description:
    - What M(ebpf.fleet.xdp_confirm) needs to confirm the change. The task does that by itself, and leaves this out.
  returned: if the module was run without its action plugin, O(rollback_after) is above 0, and the change awaits it
  type: dict
  contains:
    token:
      description: Names the change.
      type: str
    before:
      description: What ran on each interface before it, one sentence each.
      type: dict
    after:
      description: What runs on each interface until it is taken back, one sentence each.
      type: dict
confirmed:
  description:
    - Whether the host was reached over a new connection and the change made to last. If not, it was taken back.
  returned: if O(rollback_after) is above 0, and the change had to be confirmed
  type: bool
check:
  description:
    - What M(ebpf.fleet.xdp_counter_check) returns as C(interfaces) and C(idle).
  returned: if O(check_seconds) is above 0, and something has changed
  type: dict
  version_added: 0.2.0
  sample:
    interfaces:
      eth0:
        counted: 42
        arrived: 42
    idle: []
"""

import base64
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry, mounts, pins
from ..module_utils.errors import FleetError
from ..module_utils.files import ReplacedFile, read_file, sha256
from ..module_utils.image import Image, ObjectFacts
from ..module_utils.object_file import inspect
from ..module_utils.observe import find_interface
from ..module_utils.plan import Wanted
from ..module_utils.safe_path import check_safe
from ..module_utils.xdp import Outcome, Request, change

if t.TYPE_CHECKING:
    from ..module_utils.build import Build
    from ..module_utils.libbpf import Libbpf

LONGEST_ROLLBACK = 3600


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["attached", "loaded", "detached", "absent"], "default": "attached"},
            "object": {"type": "path"},
            "content": {"type": "str"},
            "build": {
                "type": "dict",
                "options": {
                    "src": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "defines": {"type": "dict", "default": {}},
                    "cflags": {"type": "list", "elements": "str", "default": []},
                    "include_dirs": {"type": "list", "elements": "path", "default": []},
                    "clang": {"type": "str", "default": "clang"},
                    "cpu": {"choices": ["v1", "v2", "v3", "v4"], "default": "v3"},
                },
            },
            "checksum": {"type": "str"},
            "program": {"type": "str"},
            "name": {"type": "str"},
            "interfaces": {"type": "list", "elements": "str"},
            "mode": {"choices": ["auto", "native", "generic", "offload"], "default": "auto"},
            "on_conflict": {"choices": ["fail", "replace"], "default": "fail"},
            "maps": {"choices": ["keep", "reset"], "default": "keep"},
            "on_error": {"choices": ["stop", "continue"], "default": "stop"},
            "rollback_after": {"type": "int", "default": 0},
            "check_seconds": {"type": "float", "default": 0},  # the action plugin looks
            "persist": {"type": "str", "choices": ["auto", "true", "false"]},
            "allow_unsafe_paths": {"type": "bool", "default": False},
            "pin_root": {"type": "path", "default": "/sys/fs/bpf/ebpf_fleet"},
        },
        required_if=[
            ("state", "attached", ("object", "interfaces")),
            ("state", "loaded", ("object", "interfaces")),
            ("state", "detached", ("name", "program"), True),
            ("state", "absent", ("name", "program"), True),
        ],
        required_by={"content": "object", "build": "object"},
        mutually_exclusive=[("content", "build")],
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        module.exit_json(**run(module))


def run(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """The result of the module. Raises FleetError."""
    options = module.params
    entry.require_root("loading and attaching BPF programs")
    interfaces = options["interfaces"]
    if options["state"] in ("attached", "loaded") and (interfaces is None or options["object"] is None):
        raise FleetError(f"state {options['state']} needs object and interfaces, and one of them is null")
    if interfaces is not None:
        interfaces = [find_interface(pins.check_interface_name(name))[0] for name in interfaces]
        interfaces = list(dict.fromkeys(interfaces))
        if not interfaces:
            raise FleetError(
                "interfaces is an empty list; name at least one, or leave it out to mean all that name is on"
            )
    if not 0 <= options["rollback_after"] <= LONGEST_ROLLBACK:
        raise FleetError(f"rollback_after is {options['rollback_after']}: give a number of seconds from 0 to 3600")
    if not 0 <= options["check_seconds"] < 2**31:
        raise FleetError(f"check_seconds is {options['check_seconds']}: give a number from 0 up")
    mounts.is_mounted(options["pin_root"])  # or can be
    if not options["allow_unsafe_paths"]:
        check_safe(options["pin_root"], "to pin in")
    lib = entry.require_libbpf()
    present = options["state"] in ("attached", "loaded")
    image: Image = Image()
    files: t.Sequence[ReplacedFile] = ()
    built = build_object(module, lib) if present and options["build"] else None
    if built:
        image, files = built.inspected.image, built.files
    elif present and options["build"]:
        image = Image(ObjectFacts(options["object"], options["checksum"]))
    elif present:
        image, files = find_object(module, lib)
    facts = image.facts
    name = options["name"] or options["program"]
    if not name and image.content:
        name = facts.xdp_program(None)
    if not name:
        raise FleetError("in check mode an object that is not there yet does not tell its program: set name or program")
    pins.check_name(name)
    if image.content:
        facts.xdp_program(options["program"])

    request = Request(
        wanted=Wanted(
            state=options["state"],
            name=name,
            object=facts,
            program=options["program"],
            mode=options["mode"],
            replace=options["on_conflict"] == "replace",
            reset_maps=options["maps"] == "reset",
            persist=options["persist"],
        ),
        root=pins.root_of_namespace(options["pin_root"]),
        interfaces=interfaces,
        keep_going=options["on_error"] == "continue",
        check=module.check_mode,
        rollback_after=options["rollback_after"],
    )
    outcome = change(lib, request, image, module.warn, files)
    steps = built.steps(outcome.files) if built else [f"write {file.path}" for file in outcome.files]
    result = result_of(outcome, steps)
    if built:
        result["build"] = built.facts()
        if steps:
            for side, described in built.diff().items():
                result["diff"][side][options["object"]] = described
    if outcome.errors:
        failed = f"{len(outcome.errors)} of {len(outcome.attachments)} interfaces failed: "
        module.fail_json(msg=failed + " ".join(outcome.errors.values()), **result)
    return result


def build_object(module: AnsibleModule, lib: Libbpf) -> t.Optional[Build]:
    """None where check mode has to do without the source."""
    from ..module_utils import build, toolchain  # here: a target compiles what it imports

    path, options = module.params["object"], module.params["build"]
    src, safe = options["src"], not module.params["allow_unsafe_paths"]
    build.check_paths(src, path)
    if module.check_mode and options["content"] is None and not os.path.exists(src):
        module.warn(f"there is no source {src} yet: this foretells the run after an earlier task has put it there")
        return None
    if safe:
        for each in (path, build.record_path(path), src, toolchain.find_compiler(options["clang"]).path):
            check_safe(each, "to compile and load")
    built = build.make(module, lib, {**options, "dest": path, "force": False})
    for header in built.record.inputs if safe and built.plan.reasons else ():
        check_safe(header, "to compile and load")
    check_checksum(module, built.content)
    return built


def find_object(module: AnsibleModule, lib: Libbpf) -> t.Tuple[Image, t.Sequence[ReplacedFile]]:
    """The object, from the task or from the target, and the file that is to hold it.

    Without content where check mode has to do without.
    """
    path, wanted, given = module.params["object"], module.params["checksum"], module.params["content"]
    if not os.path.isabs(path) or os.path.isdir(path):
        raise FleetError(f"object {path} is not the absolute path of a file")
    if not module.params["allow_unsafe_paths"]:
        check_safe(path)
    if given is not None:
        try:
            content = base64.b64decode(given, validate=True)
        except ValueError as error:
            raise FleetError(f"content is not Base64 ({error}); pass what ansible.builtin.slurp returns") from error
        check_checksum(module, content)
        return inspect(lib, path, content).image, (ReplacedFile(module, path, content),)
    found = read_file(path)
    if found is None:
        if module.check_mode:
            return Image(ObjectFacts(path, wanted)), ()
        raise FleetError(
            f"there is no object {path} on this host; build it with ebpf.fleet.bpf_object, or copy it there"
        )
    if module.check_mode and wanted and wanted.lower() != sha256(found):
        module.warn(
            f"{path} has the checksum {sha256(found)}, not {wanted} yet: this foretells the run after an earlier task"
            f" has put that object there"
        )
        return Image(ObjectFacts(path, wanted.lower())), ()
    check_checksum(module, found)
    return inspect(lib, path, found).image, ()


def check_checksum(module: AnsibleModule, content: bytes) -> None:
    wanted = module.params["checksum"]
    if wanted and wanted.lower() != sha256(content):
        raise FleetError(
            f"{module.params['object']} has the checksum {sha256(content)}, not {wanted}: refused, and nothing was"
            f" changed"
        )


def result_of(outcome: Outcome, first: t.Sequence[str]) -> t.Dict[str, t.Any]:
    """`first`: what else was done, before what the plans say."""
    steps = [*first, *(["mount bpffs on /sys/fs/bpf"] if outcome.mounts else [])]
    steps += [f"{plan.seen.interface}: {step}" for plan in outcome.plans for step in plan.steps]
    changed = [plan for plan in outcome.plans if plan.steps]
    result = {
        "changed": bool(steps),
        "attachments": outcome.attachments,
        "steps": steps,
        "diff": {
            "before": {plan.seen.interface: plan.before for plan in changed},
            "after": {
                plan.seen.interface: {**plan.after, "steps": [str(step) for step in plan.steps]} for plan in changed
            },
        },
    }
    if outcome.provisional:
        result["provisional"] = outcome.provisional._asdict()
    return result


if __name__ == "__main__":
    main()
