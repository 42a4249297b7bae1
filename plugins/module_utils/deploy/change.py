# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply for the XDP programs of a host: the spine of the module xdp_program."""

from __future__ import annotations

import contextlib
import os
import resource
import typing as t

from ..errors import FleetError
from ..state.bpffs import is_mounted
from ..state.locks import LOCK_SECONDS, lock
from ..state.places import BPFFS, MANIFESTS, NEW, PROVISIONAL, UNREAD, Place, places_of
from .observe import PLAIN_MTU, Seen, observe
from .plan import FRAGS_TWIN, plan
from .planned import Plan
from .request import PRESENT, Request, Wanted
from .results import Outcome, attachments, look, without_errors

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..objects.image import Image
    from ..state.replacing import ReplacedFile

# A target compiles what it imports, in each task: rarely needed modules are imported where they are used.


def change(
    lib: Libbpf,
    request: Request,
    image: Image,
    warn: t.Callable[[str], None],
    files: t.Sequence[ReplacedFile] = (),
) -> Outcome:
    """Carry out a request. `files` are written too. Raises FleetError, with nothing changed, if it cannot be met."""
    wanted = request.wanted
    mounts = wanted.state in PRESENT and not is_mounted(request.root)
    if not request.check:
        _raise_file_limit()
        if mounts:
            _mount_bpffs(request.root)
    provisional = None
    after: t.Dict[str, Seen] = {}
    # The provisional change of a different run may last as long as ours would.
    timeout = LOCK_SECONDS + request.rollback_after
    with contextlib.nullcontext() if request.check else lock(seconds=timeout):
        plans, errors = _plans(lib, request)
        changed_files = tuple(file for file in files if file.differs()) if without_errors(plans, errors) else ()
        if not request.check:
            _clean_up(plans)
            if changed_files or any(each.steps for each in plans):
                from .transaction import Transaction

                provisional = Transaction(lib, request, plans, errors, changed_files).run(image, warn)
            if wanted.state == "absent":
                from ..state.private_files import remove_empty_folders

                remove_empty_folders(request.root, wanted.name)
            after = {} if provisional else look(lib, [each for each in plans if each.steps])
    for each in plans:
        for warning in each.warnings:
            warn(warning)
    applied = without_errors(plans, errors)
    found = attachments(wanted, plans, after, errors)
    return Outcome(applied, found, errors, mounts, changed_files if applied else (), provisional)


def _raise_file_limit() -> None:
    """An upgrade holds about ten file descriptors for each interface until it is done."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _mount_bpffs(root: str) -> None:
    from ..kernel.mounts import mount

    with lock():
        if not is_mounted(root):  # a different run did it meanwhile
            mount("bpf", BPFFS)


def _clean_up(plans: t.Iterable[Plan]) -> None:
    """Remove what killed runs left in /run, and their empty folders; have systemd read the units that they changed."""
    if os.path.isdir(PROVISIONAL):
        from .provisional import sweep

        sweep()
    if os.path.isdir(UNREAD):
        from ..persist import persistence

        persistence.sweep()
    for each in plans:
        seen, place = each.seen, each.seen.place
        unfinished = [place.record] if os.path.exists(place.record + NEW) else []
        if seen.persistence and not os.path.exists(place.manifest) and os.path.isdir(MANIFESTS):
            unfinished.append(place.manifest)
        for path in unfinished:
            from ..state.private_files import remove_unfinished

            remove_unfinished(path)


def _plans(lib: Libbpf, request: Request) -> t.Tuple[t.List[Plan], t.Dict[str, str]]:
    wanted = request.wanted
    if request.interfaces is None:
        places = places_of(request.root, wanted.name)
    else:
        places = [Place(request.root, wanted.name, name) for name in request.interfaces]
    seen = observe(lib, places)
    if request.runner and _concerns_boot(wanted):
        from ..persist import persistence

        found = persistence.observe([(each.place, each.ifindex) for each in seen], request.runner)
        seen = [each._replace(persistence=one) for each, one in zip(seen, found)]
    wanted = wanted._replace(frags=_needs_frags(wanted, seen))
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
    if wanted.persist == "true" or os.path.exists(MANIFESTS):
        return True
    if wanted.persist != "auto":
        return False
    from ..persist.persistence import is_possible

    return is_possible()


def _needs_frags(wanted: Wanted, seen: t.Iterable[Seen]) -> bool:
    """Whether an interface may get a program for packets of several buffers, and the kernel supports them."""
    twins = any(p.name.endswith(FRAGS_TWIN) for p in wanted.object.programs)
    if not twins or all(each.mtu <= PLAIN_MTU for each in seen):
        return False
    from ..kernel.symbols import kernel_has

    return kernel_has("bpf_xdp_get_buff_len")
