# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each module returns, as far as anything on the controller uses or shows it. What is not here does not pass.

The border towards hosts: an answer is checked when it arrives (plugins/plugin_utils/checked_action.py). The filter and
the report may be given facts that arrived in other ways, and check them too. Pure: the controller imports it.
"""

from __future__ import annotations

import typing as t

from .kinds import (
    Check,
    Unacceptable,
    anything,
    boolean,
    by,
    choice,
    hexadecimal,
    identifier,
    integer,
    interface,
    items,
    line,
    messages,
    name,
    number,
    optional,
    real,
    record,
    text,
    word,
)

Answer = t.Dict[str, t.Any]

_COUNTER = record(
    {
        "packets": optional(number),
        "bytes": optional(number),
        "per_cpu": items(record({"cpu": identifier, "packets": number, "bytes": number})),
        "mode": optional(word),
        "exact": optional(boolean),
        "inexact_because": optional(line),
        "program_id": optional(identifier),
        "program_name": optional(name),
        "tag": optional(hexadecimal),
        "variables_digest": optional(hexadecimal),
        "loaded_at": optional(word),
        "attached": boolean,
        "moved": boolean,
    },
    {"packets_per_second": optional(real), "bytes_per_second": optional(real)},
)
_TRACE = record(
    {
        "lines": items(record({"task": line, "pid": number, "cpu": identifier, "timestamp": real, "message": text})),
        "lost": number,
        "seconds": real,
    }
)
COUNTERS = record(
    {"collected_at": word, "boot_id": word, "program": word, "interfaces": by(interface, _COUNTER)},
    {"totals": record({"packets": optional(number), "bytes": optional(number)}), "trace": _TRACE, "run": word},
)

_OF_COMPONENT: t.Dict[str, Check] = {
    "slot": identifier,
    "program_id": identifier,
    "name": name,
    "tag": hexadecimal,
    "priority": identifier,
    "chain_call_actions": items(word),
}
_COMPONENT = record(_OF_COMPONENT)
_OWNED_COMPONENT = record({**_OF_COMPONENT, "owner": word, "pin_path": optional(line)})
_IN_DISPATCHER = record(
    {
        "program_id": identifier,
        "slot": identifier,
        "priority": identifier,
        "chain_call_actions": items(word),
        "others": items(_COMPONENT),
    }
)

_ON_INTERFACE = record(
    {
        "mode": word,
        "program_id": identifier,
        "name": name,
        "tag": hexadecimal,
        "link_id": optional(identifier),
        "owner": word,
        "pin_path": optional(line),
    },
    {
        "dispatcher": record(
            {
                "version": optional(number),
                "components": items(_OWNED_COMPONENT),
                "trouble": optional(line),
            }
        )
    },
)
BPF = record(
    {
        "kernel": word,
        "architecture": word,
        "btf": boolean,
        "jit": record({"enable": optional(integer), "harden": optional(integer), "available": boolean}),
        "lockdown": optional(word),
        "capabilities": items(word),
        "bpffs": optional(line),
        "tracefs": optional(line),
        "libbpf": optional(word),
        "clang": optional(word),
        "bpftool": optional(word),
        "features": by(word, optional(boolean)),
        "interfaces": by(
            interface,
            record(
                {
                    "ifindex": identifier,
                    "driver": optional(line),
                    "mtu": identifier,
                    "queues": optional(record({"rx": number, "tx": number})),
                    "xdp": optional(items(_ON_INTERFACE)),
                }
            ),
        ),
        "problems": items(text),
        "obstacles": items(
            record(
                {"problem": line, "remedy": line, "stops": optional(word), "interface": optional(interface)},
            )
        ),
    }
)

_SLOT = record({key: check for key, check in _OF_COMPONENT.items() if key not in ("name", "tag")})
_PROGRAM = record(
    {
        "id": identifier,
        "type": line,
        "name": name,
        "tag": hexadecimal,
        "gpl": boolean,
        "loaded_at": word,
        "uid": identifier,
        "bytes_xlated": number,
        "bytes_jited": number,
        "memlock": number,
        "map_ids": items(identifier),
        "btf_id": optional(identifier),
        "run_time_ns": number,
        "run_cnt": number,
        "pins": items(line),
        "object": optional(record({"path": line, "checksum": hexadecimal})),
        "attachments": items(
            record(
                {
                    "by": word,
                    "link_id": optional(identifier),
                    "link_type": optional(word),
                    "interface": optional(interface),
                    "ifindex": optional(identifier),
                    "mode": optional(word),
                    "pins": items(line),
                },
                {"dispatcher": optional(_SLOT)},
            )
        ),
    },
    {"xlated": items(line), "jited": items(line), "jited_raw": hexadecimal, "problems": items(text)},
)
PROGRAMS = items(_PROGRAM)

_PRESENT = record(
    {
        "path": line,
        "exists": boolean,
        "checksum": hexadecimal,
        "file_type": line,
        "license": optional(line),
        "has_btf": boolean,
        "programs": items(record({"name": name, "section": line, "instructions": number})),
        "maps": items(
            record(
                {"name": name, "type": line, "key_size": number, "value_size": number, "max_entries": number},
            )
        ),
        "problems": items(text),
    },
    {"disassembly": items(line)},
)
_MISSING = record({"path": line, "exists": boolean})


def _object(value: t.Any, where: str) -> Answer:
    found: Answer = _MISSING(value, where)
    return _PRESENT(value, where) if found["exists"] else found


OBJECTS = items(_object)

_ATTACHMENTS = items(
    record(
        {"interface": interface, "state": word},
        {
            "ifindex": identifier,
            "mode": optional(word),
            "program_id": optional(identifier),
            "tag": optional(hexadecimal),
            "variables_digest": optional(hexadecimal),
            "link_id": optional(identifier),
            "dispatcher": optional(_IN_DISPATCHER),
            "map_ids": items(identifier),
            "pin_path": optional(line),
            "persistent": boolean,
            "error": text,
        },
    )
)
_RUNNING = by(
    interface,
    items(
        record(
            {
                "mode": word,
                "program_id": identifier,
                "name": name,
                "tag": hexadecimal,
                "by": word,
                "link_ids": items(identifier),
            },
            {"components": items(_COMPONENT)},
        )
    ),
)
_REACHED = items(record({"asked": line, "answer": line, "seconds": real}))
_LACKING = record({"byte_order": choice("little", "big"), "checksum": optional(hexadecimal)})
_TOKEN = record({"token": hexadecimal, "before": _RUNNING, "after": _RUNNING})
_CHANGED_ENTRIES = dict.fromkeys(("added", "updated", "removed", "entries", "max_entries"), number)
_FILLED = record({"interface": optional(interface), "id": optional(identifier), **_CHANGED_ENTRIES})
_MAP = record(
    {
        "interface": optional(interface),
        "id": identifier,
        "name": name,
        "type": line,
        "key_type": optional(line),
        "value_type": optional(line),
        "max_entries": number,
        "pin_path": optional(line),
        "entries_total": optional(number),
        "truncated": boolean,
        "entries": items(record({"key": anything, "value": anything})),
        "problem": optional(line),
    }
)
_PULLED = record(
    {
        "at": optional(number),
        "commit": optional(hexadecimal),
        "problem": optional(line),
        "kept_at": optional(number),
        "kept_commit": optional(hexadecimal),
    }
)
_ARRIVED = by(interface, record({"counted": optional(number), "arrived": optional(number)}))


class Returned(t.NamedTuple):
    """`always`, unless the module failed; `perhaps`."""

    always: t.Mapping[str, Check]
    perhaps: t.Mapping[str, Check] = {}


RETURNED = {
    "xdp_counter_facts": Returned({"ansible_facts": record({"xdp_counter": COUNTERS})}),
    "bpf_facts": Returned({"ansible_facts": record({"bpf": BPF})}),
    "bpf_program_info": Returned({"programs": PROGRAMS}, {"disassembler": optional(word)}),
    "bpf_object_info": Returned({"objects": OBJECTS}),
    "xdp_program": Returned(
        {"attachments": _ATTACHMENTS, "steps": items(text)},
        {"build": anything, "needs_content": _LACKING, "provisional": _TOKEN, "reached": _REACHED, "xdp": _RUNNING},
    ),
    "xdp_confirm": Returned({"xdp": _RUNNING}, {"attachments": _ATTACHMENTS, "kept": boolean}),
    "bpf_map": Returned(
        {**_CHANGED_ENTRIES, "maps": items(_FILLED), "steps": items(text)},
        {"provisional": record({"token": hexadecimal}), "reached": _REACHED},
    ),
    "bpf_map_info": Returned({"maps": items(_MAP)}),
    "xdp_metrics": Returned(
        {"file": optional(line), "series": number, "problems": items(text), "steps": items(text)},
    ),
    "xdp_pull": Returned({"steps": items(text), "last": optional(_PULLED)}),
    "xdp_counter_check": Returned({"interfaces": _ARRIVED, "idle": items(interface)}),
}

_DIFF = {"before": anything, "after": anything, "before_header": line, "after_header": line}


def _diff(value: t.Any, where: str) -> t.Any:
    """Not what is `prepared`, which Ansible prints as it is."""
    return (items(_one_diff) if isinstance(value, list) else _one_diff)(value, where)


_one_diff = record({}, _DIFF)

# What Ansible itself reads in the result of any module.
_COMMON: t.Dict[str, Check] = {
    "changed": boolean,
    "failed": boolean,
    "msg": messages,
    "warnings": messages,
    "deprecations": messages,
    "exception": messages,
    "diff": _diff,
    "invocation": anything,
    "rc": integer,
    "module_stdout": anything,
    "module_stderr": anything,
}
# Of a task with async: what Ansible knows of the job.
_JOB: t.Dict[str, Check] = {"ansible_job_id": word, "results_file": line, "started": anything, "finished": anything}


def checked(module: str, result: t.Mapping[str, t.Any], job: bool = False) -> Answer:
    """The result of a module, with nothing in it that the module does not return. Raises Unacceptable.

    job: it was started with async, and has no result yet.
    """
    always, perhaps = ({}, _JOB) if job else RETURNED[module]
    known = {**_COMMON, **always, **perhaps}
    failed = bool(result.get("failed"))
    if failed:
        known.pop("ansible_facts", None)
    # Ansible itself adds the names that begin with _ansible_, after it has removed those of the host.
    kept = {key: value for key, value in result.items() if key.startswith("_ansible_")}
    kept.update({key: check(result[key], key) for key, check in known.items() if key in result})
    missing = [key for key in always if key not in kept]
    if missing and not failed:
        raise Unacceptable("its result", dict(result), f"one that has {missing[0]}")
    return kept


def refusal(host: str, module: str, error: Unacceptable) -> str:
    """The sentence about a host whose answer is not used."""
    return (
        f"{host} did not answer as {module} does: {error}. Nothing of this answer is used. See whether somebody else"
        " has control of the host"
    )
