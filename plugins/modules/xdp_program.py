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
  - Brings an XDP program into a state on one or more interfaces of a host. Each interface has its own instance of the
    program, with its own maps.
  - The program is attached by a pinned BPF link (kernel 5.9 or later). An upgrade swaps the program in the link
    atomically and keeps the maps, so no packet passes uncounted.
  - A foreign program on an interface is named and left alone, unless O(on_conflict=replace).
  - All programs of a task are loaded, and so checked by the verifier, before anything is changed on any interface.
  - The kernel attaches a program to an interface only while no interface directly above it has one, such as a VLAN,
    macvlan, bond or bridge. So the lower interfaces come first, and a program of this collection above them is detached
    for a moment, and attached again. A foreign program above is named, and nothing is changed.
extends_documentation_fragment:
  - ebpf.fleet.attributes
  - ebpf.fleet.compiling.within_xdp_program
  - ebpf.fleet.map.within_xdp_program
  - ebpf.fleet.attributes.pin_root
attributes:
  check_mode:
    support: full
    details:
      - In check mode nothing is loaded, so a rejection by the verifier or the driver is not predicted.
  diff_mode:
    support: full
options:
  state:
    description:
      - V(attached) - the program runs on the interfaces.
      - V(loaded) - the program is loaded and pinned for the interfaces. If it is already attached, it stays attached.
      - V(detached) - the program does not run. The program and its maps, and so the counts, stay pinned.
      - V(absent) - nothing of the program is left.
    type: str
    choices: [attached, loaded, detached, absent]
    default: attached
  object:
    description:
      - Path of the object file on the target. Required for O(state=attached) and O(state=loaded).
    type: path
  content:
    description:
      - The object file itself, in Base64, as M(ansible.builtin.slurp) returns it. It is written to O(object) if it
        differs from what is there.
      - Saves a M(ansible.builtin.copy) task, and lets check mode look into an object that is not on the target yet.
    type: str
  content_checksums:
    description:
      - SHA-256 of what could be given as O(content), in hexadecimal, such as one for each byte order. If O(object) has
        one of them, the task does what it does with that O(content).
      - Otherwise it does nothing, and RV(needs_content) says what the host has. The roles ask like this first, so that
        an object is sent only to hosts that do not have it.
    type: list
    elements: str
    version_added: 0.2.0
  checksum:
    description:
      - SHA-256 of the object file, in hexadecimal. Any other object is refused.
      - In check mode, if the object has a different checksum, the module assumes that an earlier task would have
        replaced it, and warns.
    type: str
  program:
    description:
      - Name of the program's function. The default is the only XDP program in the object. Programs in a section that
        starts with V(?) count only if they are named here.
      - On an interface with an MTU above 1500 the program named C(PROGRAM_frags) is used instead, if the object has it
        in section C(xdp.frags) and the kernel supports packets of several buffers (5.18 or later).
    type: str
  name:
    description:
      - The name to pin under. The default is the program's name, or for O(state=detached) and O(state=absent) the value
        of O(program).
      - 1 to 64 letters, digits, underscores or dashes.
    type: str
  interfaces:
    description:
      - The interfaces. Required for O(state=attached) and O(state=loaded).
      - If omitted, O(state=detached) and O(state=absent) apply to all interfaces on which O(name) is deployed.
    type: list
    elements: str
  mode:
    description:
      - V(native) runs in the driver, V(generic) after the driver, in the kernel's network stack, and V(offload) on the
        network card.
      - V(auto) tries native and falls back to generic with a warning, which has the driver's reason.
      - In generic mode on a VLAN, macvlan, bridge, bond or veth a program sees packets that the kernel has put together
        from several frames. The module warns where it attaches like this.
      - The mode in use is always returned.
    type: str
    choices: [auto, native, generic, offload]
    default: auto
  on_conflict:
    description:
      - What to do about a foreign XDP program on the interface. V(fail) names it and changes nothing. V(replace)
        detaches it.
    type: str
    choices: [fail, replace]
    default: fail
  dispatcher:
    description:
      - Whether the program shares the interface with others, by the protocol of libxdp. A dispatcher then calls the
        programs one after the other, and each is changed alone, while the others miss no packet. C(xdp-loader),
        C(xdp-filter) and whatever else uses libxdp can join it and leave it. Neither libxdp nor a compiler is needed on
        the host.
      - V(auto) keeps what is there. Where the program is not attached yet, it joins a dispatcher that is there, and
        else has the interface alone, by a link.
      - V(always) makes a dispatcher where there is none, so that others can join it. V(never) has the interface alone.
      - The kernel does not change from alone to shared in one step. In between, packets pass without the program.
      - Not every program can be in a dispatcher. It needs BTF, and no array of programs for tail calls; with an MTU
        above 1500 all programs must be in the section C(xdp.frags). There can be ten of them.
      - A dispatcher is not joined if it is bpfman's, or of a version that this collection does not know.
    type: str
    choices: [auto, never, always]
    default: auto
    version_added: 0.2.0
  priority:
    description:
      - Where the program stands in a dispatcher. Those with lower numbers run first.
      - The default is what the object says (C(XDP_RUN_CONFIG) of libxdp's C(xdp_helpers.h)), else 50.
    type: int
    version_added: 0.2.0
  chain_call_actions:
    description:
      - After which of its actions the next program in a dispatcher runs. After any other, the packet is dealt with.
      - The default is what the object says, else V(pass).
    type: list
    elements: str
    choices: [pass, drop, tx, redirect, aborted]
    version_added: 0.2.0
  maps:
    description:
      - What an upgrade does with the maps. V(keep) passes them on to the new program. It fails before anything is
        changed if the shape of a map has changed or, by the object's type information (BTF), the layout of what is in
        it. Without BTF only sizes are compared. V(reset) starts with new, empty maps.
      - Ring buffers and perf event arrays hold nothing that a program needs later. If their size has changed, they are
        made new, with a warning. An array of programs that the object fills is always new, and so is C(.rodata).
      - Of the other global variables (C(.data), C(.bss)), one that nobody has changed takes the first value that the
        new object has. One that was changed keeps its value, with a warning if the object's first value differs from
        before. If variables have moved, or there are new ones, they are carried over by name while the program is
        detached. While it is attached, that is done only for a C(.data) in which nothing was changed.
      - Each interface has maps of its own, also of those with C(LIBBPF_PIN_BY_NAME), whose pin by name is not made.
      - Has no effect while neither the object nor a constant has changed.
    type: str
    choices: [keep, reset]
    default: keep
  variables:
    description:
      - Values of the program's global variables, by name, typed by the object's BTF as in O(map_entries). A struct
        may be given in part.
      - Constants, which the source declares as C(const volatile), are set before the program is loaded. Other values
        mean another load, which is swapped in the link and keeps the maps. A constant that is not listed has the
        object's value.
      - Other variables are written in place while the program runs, numbers in a single store. Such a variable that
        is not listed keeps what it has.
      - A variable that is C(const) without C(volatile) is refused, as the compiler has put its value into the code,
        and so is a C(static) one.
    type: dict
    version_added: 0.2.0
  map_sizes:
    description:
      - The number of entries that maps have room for, by name, in the place of what the source says.
      - A map whose size changes is made anew, and gets the entries of the old one. What the program writes into the
        old one while they are copied is lost.
    type: dict
    version_added: 0.2.0
  on_error:
    description:
      - What to do if one of the interfaces fails. With V(stop) nothing is changed on any of them, or what was changed
        is rolled back. With V(continue) the other interfaces are done, and the task fails with a result for each.
    type: str
    choices: [stop, continue]
    default: stop
  rollback_after:
    description:
      - A change of what runs on an interface must be confirmed within this many seconds, or the host rolls it back by
        itself. With V(0) changes are final at once.
      - The task confirms the change. It closes its connection and opens a new one, which shows that the host can still
        be reached. If that fails, the task fails too, and reports what runs on the interfaces.
      - A small process on the host makes the change, and holds a new program until the change is confirmed. If that
        process ends before, the kernel detaches the new program. Rolling back an upgrade puts the old program back into
        the link, and the counts continue.
      - At most 3600. Has no effect in check mode, or if nothing changes that runs on an interface. It cannot be used in
        a task with C(async).
    type: int
    default: 0
  reachable:
    description:
      - What the host itself must reach after the change, or it rolls the change back, within O(rollback_after). Each is
        asked over the network by a connection of its own, until it answers or the time has nearly passed.
      - V(gateway) asks the gateway of the default route, by ICMP, or if it ignores that by ARP (only IPv4); it must
        answer before the change too. C(HOST:PORT), such as C(git.example.org:22) or C([2001:db8::1]:443), must accept a
        TCP connection. A URL (C(http://), C(https://)) must answer with a status below 400, without a proxy.
      - It comes in addition to the new connection of the controller. Where there is none that crosses the network, as
        with C(ansible-pull), it takes its place.
      - Without a change, and in check mode, nothing is asked.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  check_seconds:
    description:
      - After a change, check for this many seconds that packets are counted and still arrive, as
        M(ebpf.fleet.xdp_counter_check) does. If they do not, the task fails; the change is not rolled back.
      - For programs that count as C(packet_count) does, with O(state=attached). With V(0) nothing is checked.
      - Has no effect in check mode, or if nothing changes. It cannot be used in a task with C(async).
    type: float
    default: 0
    version_added: 0.2.0
  persist:
    description:
      - Whether the host restores the program by itself after a reboot, in the same mode, as soon as the interface
        exists. Its maps start empty then. The object is kept in C(/var/lib/ebpf_fleet) for this purpose.
      - V(auto) restores it where the host supports that. This requires systemd, and an interface in the machine's own
        network namespace that systemd knows as a device. So it does not work for C(lo), or in a container.
      - V(true) fails where the host does not support it.
      - If omitted, the current setting is kept, and what is restored is what was deployed last.
      - A program that is detached (O(state=detached)), absent (O(state=absent)) or only loaded is not restored.
    type: str
    choices: ["auto", "true", "false"]
    version_added: 0.2.0
  allow_unsafe_paths:
    description:
      - Accept an object file, a O(pin_root), or with O(build) a source, header, compiler or path in C(cflags), that
        users other than root can write to, or that is in a folder that they can write to.
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

- name: Compile the object on the host in the same task
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/packet_count.bpf.o
    build:
      src: /usr/local/lib/bpf/packet_count.bpf.c
      content: "{{ lookup('ansible.builtin.file', 'packet_count.bpf.c', rstrip=false) }}"
    interfaces: [eth0]

- name: Count packets before what else shares the interface, such as xdp-filter
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/packet_count.bpf.o
    interfaces: [eth0]
    dispatcher: always

- name: A filter of one's own behind it
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/blocklist.bpf.o
    interfaces: [eth0]
    priority: 20

- name: Detach the program, and keep the counts readable
  ebpf.fleet.xdp_program:
    name: packet_count
    state: detached

- name: Try a new filter, and remove it automatically if it cuts the host off
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/filters.bpf.o
    interfaces: [eth0]
    rollback_after: 60

- name: The same on a host that nobody reaches from outside
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/filters.bpf.o
    interfaces: [eth0]
    rollback_after: 60
    reachable: [gateway, "git.example.org:22"]

- name: Remove everything, the counts included
  ebpf.fleet.xdp_program:
    name: packet_count
    state: absent

- name: Attach one of several programs in an object, in native mode or not at all
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/filters.bpf.o
    program: drop_bogons
    name: bogons
    interfaces: [eth1]
    mode: native
    checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b

- name: Filter by a list, which is filled before the first packet
  ebpf.fleet.xdp_program:
    object: /usr/local/lib/bpf/blocklist.bpf.o
    interfaces: [eth0]
    rollback_after: 60
    variables:
      enforce: true
    map_sizes:
      block4: 500000
    map_entries:
      - map: allow4
        exclusive: true
        keys: [192.0.2.0/24]
      - map: block4
        src: /etc/ebpf/blocklist4.txt
        exclusive: true
        replace: at_once
"""

RETURN = r"""
attachments:
  description: The state of each interface after the run, as the kernel reports it.
  returned: always
  type: list
  elements: dict
  sample:
    - interface: eth0
      ifindex: 2
      mode: native
      program_id: 238
      tag: 644ee9a75611c6d0
      variables_digest: 0f343b0931126a20
      link_id: 12
      dispatcher: null
      map_ids: [87, 88]
      pin_path: /sys/fs/bpf/ebpf_fleet/packet_count/eth0
      state: attached
      persistent: true
  contains:
    interface:
      description: Name of the interface.
      type: str
    ifindex:
      description: Index of the interface; 0 if the interface does not exist.
      type: int
    mode:
      description: The mode in use. Null if the program is not attached, and in check mode if only a real run can know.
      type: str
    program_id:
      description: The kernel's id of the program. Null in the same cases as RV(attachments[].mode).
      type: int
    tag:
      description: The kernel's digest of the program's instructions, which is the same for all values of constants.
      type: str
    variables_digest:
      description: A digest of the program's constants; null if it has none.
      type: str
    link_id:
      description: The kernel's id of the link. Null if the program is in a dispatcher, where libxdp's pins hold it.
      type: int
    dispatcher:
      description:
        - Where the program is among others; null if it has the interface alone, and in check mode if only a real run
          can know.
      type: dict
      version_added: 0.2.0
      contains:
        program_id:
          description: The kernel's id of the dispatcher, which is what C(ip link) shows.
          type: int
        slot:
          description: The number of the program in the dispatcher, from 0 on, in the order in which they run.
          type: int
        priority:
          description: As in O(priority).
          type: int
        chain_call_actions:
          description: As in O(chain_call_actions).
          type: list
          elements: str
        others:
          description: The other programs, each with C(slot), C(program_id), C(name), C(tag), C(priority) and
            C(chain_call_actions).
          type: list
          elements: dict
    map_ids:
      description: The kernel's ids of the maps that the program uses.
      type: list
      elements: int
    pin_path:
      description: The folder that contains the pins.
      type: str
    state:
      description: V(attached), V(loaded), V(detached), V(absent) or V(failed).
      type: str
    persistent:
      description: Whether the host restores the program by itself after a reboot.
      type: bool
      version_added: 0.2.0
    error:
      description: Why this interface failed.
      type: str
      returned: for an interface that failed, with O(on_error=continue)
steps:
  description: What was done, or in check mode would be done, one sentence each.
  returned: always
  type: list
  elements: str
  sample:
    - "eth0: load packet_count"
    - "eth0: attach by link, mode auto"
    - "eth0: write the record"
build:
  description:
    - What M(ebpf.fleet.bpf_object) returns about the object, including the C(reasons) to compile it.
  returned: if O(build) is set, and the program is to be attached or loaded
  type: dict
  version_added: 0.2.0
  sample:
    checksum: 6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b
    compiler: Debian clang version 14.0.6
    reasons: [the source has changed]
needs_content:
  description:
    - Nothing was done, as O(object) is none of those that O(content_checksums) has.
  returned: if O(content_checksums) is set, and O(object) has none of them
  type: dict
  version_added: 0.2.0
  contains:
    byte_order:
      description: The byte order that an object for this host must have, V(little) or V(big).
      type: str
    checksum:
      description: SHA-256 of the object that is there; null if there is none.
      type: str
provisional:
  description:
    - What M(ebpf.fleet.xdp_confirm) needs to confirm the change. The task confirms it by itself, and does not return
      this.
  returned: if the module was run without its action plugin, O(rollback_after) is above 0, and the change is not
    confirmed yet
  type: dict
  contains:
    token:
      description: Identifies the change.
      type: str
    before:
      description: The programs on each interface before the change, as RV(ebpf.fleet.xdp_confirm#module:xdp) has them.
      type: dict
    after:
      description: The programs on each interface until the change is rolled back, in the same form.
      type: dict
confirmed:
  description:
    - Whether the host was reached over a new connection and the change was confirmed. If not, it was rolled back.
  returned: if O(rollback_after) is above 0, and the change had to be confirmed
  type: bool
reached:
  description: What has answered since the change.
  returned: if O(reachable) is set, and the change had to be confirmed
  type: list
  elements: dict
  version_added: 0.2.0
  sample:
    - asked: gateway
      answer: the gateway 192.0.2.1 on eth0 answered by ICMP
      seconds: 0.012
  contains:
    asked:
      description: As in O(reachable).
      type: str
    answer:
      description: What has answered, and how.
      type: str
    seconds:
      description: How long that took.
      type: float
xdp:
  description:
    - The programs that run on each interface, as RV(ebpf.fleet.xdp_confirm#module:xdp) has them.
  returned: if the change was rolled back
  type: dict
check:
  description:
    - What M(ebpf.fleet.xdp_counter_check) returns as C(interfaces) and C(idle).
  returned: if O(check_seconds) is above 0, and something changed
  type: dict
  version_added: 0.2.0
  sample:
    interfaces:
      eth0:
        counted: 42
        arrived: 42
    idle: []
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import entry
from ..module_utils.deploy.change import change
from ..module_utils.deploy.request import PRESENT, Request, check_options, request_of, with_declared
from ..module_utils.deploy.results import result_of
from ..module_utils.entries.options import ENTRIES, EXCLUSIVE, ONE_OF, SLOT
from ..module_utils.errors import FleetError
from ..module_utils.libbpf.library import Libbpf
from ..module_utils.objects.image import Image
from ..module_utils.objects.obtain import Obtained, obtain
from ..module_utils.objects.options import COMPILING
from ..module_utils.state.places import PULL, PULLING


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["attached", "loaded", "detached", "absent"], "default": "attached"},
            "object": {"type": "path"},
            "content": {"type": "str"},
            "content_checksums": {"type": "list", "elements": "str"},
            "build": {"type": "dict", "options": COMPILING},
            "checksum": {"type": "str"},
            "program": {"type": "str"},
            "name": {"type": "str"},
            "interfaces": {"type": "list", "elements": "str"},
            "mode": {"choices": ["auto", "native", "generic", "offload"], "default": "auto"},
            "on_conflict": {"choices": ["fail", "replace"], "default": "fail"},
            "dispatcher": {"choices": ["auto", "never", "always"], "default": "auto"},
            "priority": {"type": "int"},
            "chain_call_actions": {
                "type": "list",
                "elements": "str",
                "choices": ["pass", "drop", "tx", "redirect", "aborted"],
            },
            "maps": {"choices": ["keep", "reset"], "default": "keep"},
            "variables": {"type": "dict"},
            "map_sizes": {"type": "dict"},
            "map_entries": {
                "type": "list",
                "elements": "dict",
                "options": {"map": {"type": "str", "required": True}, **SLOT, **ENTRIES},
                "mutually_exclusive": EXCLUSIVE,
                "required_one_of": ONE_OF,
            },
            "on_error": {"choices": ["stop", "continue"], "default": "stop"},
            "rollback_after": {"type": "int", "default": 0},
            "reachable": {"type": "list", "elements": "str", "default": []},
            "check_seconds": {"type": "float", "default": 0},  # for the action plugin
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
        required_by={"content": "object", "content_checksums": "object", "build": "object"},
        mutually_exclusive=[("content", "content_checksums", "build")],
        supports_check_mode=True,
    )
    with entry.errors_to_user(module):
        module.exit_json(**run(module))


def run(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """The result of the module. Raises FleetError."""
    options = module.params
    entry.require_root("loading and attaching BPF programs")
    check_options(options)
    lib = entry.require_libbpf()
    obtained = obtain(module, lib) if options["state"] in PRESENT else Obtained(Image())
    if obtained.lacking:
        return {"changed": False, "attachments": [], "steps": [], "needs_content": obtained.lacking}
    request, image = request_of(options, obtained.image, module.check_mode, runner), obtained.image
    declares = any(options[name] for name in ("variables", "map_sizes", "map_entries"))
    if declares and image.content:
        request, image = with_declared(lib, request, image, options)
    elif declares and options["state"] in PRESENT:
        module.warn(
            "the object does not exist yet, so check mode does not look at variables, map_sizes and map_entries"
        )
    try:
        outcome = change(lib, request, image, module.warn, obtained.files)
    except FleetError as error:
        fail_if_unreached(module, lib, request, error)
        raise
    if options["state"] == "absent" and os.path.exists(PULL) and not os.path.exists(PULLING):
        module.warn(
            "this host keeps itself as a git repository declares it, and what is declared there comes back: take it out"
            " there, or run ebpf.fleet.pull with xdp_pull_state: absent"
        )
    result = result_of(outcome, obtained.steps(outcome.files))
    if obtained.built:
        result["build"] = obtained.built.facts()
        for side, described in obtained.diff(outcome.files).items():
            result["diff"][side][options["object"]] = described
    if outcome.errors:
        failed = f"{len(outcome.errors)} of {len(outcome.attachments)} interfaces failed: "
        module.fail_json(msg=failed + " ".join(outcome.errors.values()), **result)
    return result


def fail_if_unreached(module: AnsibleModule, lib: Libbpf, request: Request, error: FleetError) -> None:
    """After a rollback, what runs now matters."""
    facts = getattr(error, "facts", None)
    if facts is not None:
        from ..module_utils.attach.running import what_runs  # here: a target compiles what it imports, and this is rare

        now = what_runs(lib, request.interfaces or ())
        done = {"changed": False, "attachments": [], "steps": [], "reached": facts, "xdp": now}
        module.fail_json(msg=str(error), **done)


def runner() -> bytes:
    """boot.pyz, which restores programs after a reboot. This import makes Ansible send boot.py to the target."""
    from ..module_utils import boot

    return boot.runner()


if __name__ == "__main__":
    main()
