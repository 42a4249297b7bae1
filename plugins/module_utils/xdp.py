# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply for the XDP programs of a host: the spine of the module xdp_program."""

from __future__ import annotations

import contextlib
import os
import resource
import typing as t

from . import pins
from .errors import FleetError
from .image import Image
from .kernel_functions import kernel_has
from .libbpf import Libbpf
from .locks import LOCK_SECONDS, lock
from .mounts import is_mounted, mount
from .observe import PLAIN_MTU, Seen, observe
from .plan import FRAGS_TWIN, Plan, Wanted, describe, plan

if t.TYPE_CHECKING:
    from .files import ReplacedFile

# A target compiles what it imports, in each task: what is seldom needed is imported where it is.


class Request(t.NamedTuple):
    """What to do. `interfaces` None: all interfaces that the name is on.

    rollback_after: seconds in which a change of what runs on an interface must be confirmed, 0: it need not be.
    at_boot: it brings back what was deployed, and leaves what is to be brought back alone.
    """

    wanted: Wanted
    root: str
    interfaces: t.Optional[t.Sequence[str]]
    keep_going: bool
    check: bool
    rollback_after: int = 0
    at_boot: bool = False


class Provisional(t.NamedTuple):
    """The token with which to confirm it, and what has run on each interface before and after, in words."""

    token: str
    before: t.Dict[str, t.List[str]]
    after: t.Dict[str, t.List[str]]


class Outcome(t.NamedTuple):
    """What was done, or in check mode would be. `errors` by interface, when the others were done all the same.

    `files` are those that were written. provisional: a change that is still to be confirmed.
    """

    plans: t.Tuple[Plan, ...]
    attachments: t.List[t.Dict[str, t.Any]]
    errors: t.Dict[str, str]
    mounts: bool
    files: t.Tuple[ReplacedFile, ...] = ()
    provisional: t.Optional[Provisional] = None


def change(
    lib: Libbpf,
    request: Request,
    image: Image,
    warn: t.Callable[[str], None],
    files: t.Sequence[ReplacedFile] = (),
) -> Outcome:
    """Raises FleetError, with nothing changed, where the request cannot be met. `files`: to be written."""
    needs_mount = not is_mounted(request.root) and request.wanted.state in ("attached", "loaded")
    if not request.check:
        _raise_file_limit()
        if needs_mount:
            with lock():
                if not is_mounted(request.root):  # another run has done it meanwhile
                    mount("bpf", pins.BPFFS)
    provisional = None
    after: t.Dict[str, Seen] = {}
    # Another run's change may be provisional for as long as ours would be.
    patience = LOCK_SECONDS + request.rollback_after
    with contextlib.nullcontext() if request.check else lock(seconds=patience):
        plans, errors = _plans(lib, request)
        differing = tuple(file for file in files if file.look()) if _sound(plans, errors) else ()
        if not request.check:
            if os.path.isdir(pins.PROVISIONAL):
                from .provisional import sweep

                sweep()
            if any(os.path.exists(each.seen.place.record + pins.NEW) for each in plans):
                from .private_files import remove_unfinished

                for each in plans:
                    remove_unfinished(each.seen.place.record)
            if differing or any(each.steps for each in plans):
                from .transaction import Transaction

                transaction = Transaction(lib, request, plans, errors, differing)
                provisional = transaction.run(image, warn, lambda seen: _attachments(request, plans, seen, errors))
            if request.wanted.state == "absent":
                from .private_files import remove_empty_folders

                remove_empty_folders(request.root, request.wanted.name)
            after = {} if provisional else look(lib, [each for each in plans if each.steps])
    for each in plans:
        for warning in each.warnings:
            warn(warning)
    done = _sound(plans, errors)
    attachments = _attachments(request, plans, after, errors)
    return Outcome(done, attachments, errors, needs_mount, differing if done else (), provisional)


def _sound(plans: t.Iterable[Plan], errors: t.Container[str]) -> t.Tuple[Plan, ...]:
    return tuple(plan for plan in plans if plan.seen.interface not in errors)


def look(lib: Libbpf, plans: t.Iterable[Plan]) -> t.Dict[str, Seen]:
    return {seen.interface: seen for seen in observe(lib, [each.seen.place for each in plans])}


def _attachments(
    request: Request, plans: t.Sequence[Plan], after: t.Mapping[str, Seen], errors: t.Mapping[str, str]
) -> t.List[t.Dict[str, t.Any]]:
    attachments = [_attachment(request.wanted, p, after.get(p.seen.interface)) for p in plans]
    planned = {p.seen.interface for p in plans}
    attachments += [
        {"interface": name, "state": "failed", "error": error} for name, error in errors.items() if name not in planned
    ]
    for attachment in attachments:
        if attachment["interface"] in errors:
            attachment["error"] = errors[attachment["interface"]]
    return attachments


def _plans(lib: Libbpf, request: Request) -> t.Tuple[t.List[Plan], t.Dict[str, str]]:
    wanted = request.wanted
    if request.interfaces is None:
        places = pins.places(request.root, wanted.name)
    else:
        places = [pins.Place(request.root, wanted.name, name) for name in request.interfaces]
    seen = observe(lib, places)
    if not request.at_boot and _concerns_boot(wanted):
        from . import boot  # here, too: seldom needed

        seen = boot.observe(seen)
    wanted = wanted._replace(frags=_needs_frags(wanted, seen) and kernel_has("bpf_xdp_get_buff_len"))
    plans, errors = [], {}
    for each in seen:
        try:
            plans.append(plan(wanted, each))
        except FleetError as error:
            errors[each.interface] = str(error)
    if errors and not request.keep_going:
        raise FleetError(" ".join(errors.values()))
    return plans, errors


def _concerns_boot(wanted: Wanted) -> bool:
    if wanted.persist == "true" or os.path.exists(pins.MANIFESTS):
        return True
    return wanted.persist == "auto" and os.path.isdir(pins.SYSTEMD_RUNS)


def _raise_file_limit() -> None:
    """An upgrade holds some ten file descriptors for each interface until it is done."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _attachment(wanted: Wanted, planned: Plan, after: t.Optional[Seen]) -> t.Dict[str, t.Any]:
    """One interface of the result; in check mode (after is None) what only a real run can know is null."""
    seen = after or planned.seen
    state = (describe(after) if after else planned.after)["state"]
    same = bool(after) or not planned.steps
    program = seen.running if same else None
    return {
        "interface": seen.interface,
        "ifindex": seen.ifindex,
        "mode": seen.mode if same else None,
        "program_id": program.id if program else None,
        "tag": program.tag if program else None,
        "link_id": seen.link.id if same and seen.link else None,
        "map_ids": list(program.map_ids) if program else [],
        "pin_path": seen.place.folder if state != "absent" else None,
        "state": "loaded" if state == "detached" and wanted.state == "loaded" else state,
        "persistent": bool(planned.after.get("persistent")),
    }


def _needs_frags(wanted: Wanted, seen: t.Iterable[Seen]) -> bool:
    twins = any(p.name.endswith(FRAGS_TWIN) for p in wanted.object.programs)
    return twins and any(each.mtu > PLAIN_MTU for each in seen)
