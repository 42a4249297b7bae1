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
from ..libbpf.kinds import SIZED_BY_CPUS
from ..state.bpffs import reach
from ..state.locks import LOCK_SECONDS, lock, of_changes, of_objects
from ..state.places import DISPATCHERS, MANIFESTS, MARKS, NEW, PROVISIONAL, UNREAD, Place, places_of
from ..state.trusted import check_pins
from .current import FRAGS_TWIN, is_unchanged
from .observe import PLAIN_MTU, Seen, observe
from .planned import Order, Plan, describe
from .request import PRESENT, Request, Wanted
from .results import Outcome, attachments, errors_of_request, look, of_request, without_errors

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..objects.image import Image
    from ..state.replacing import ReplacedFile
    from .results import Provisional

# A target compiles what it imports, in each task: rarely needed modules are imported where they are used.


def change(
    lib: Libbpf,
    request: Request,
    image: Image,
    warn: t.Callable[[str], None],
    files: t.Sequence[ReplacedFile] = (),
    locked: bool = False,
) -> Outcome:
    """Carry out a request. `files` are written too. Raises FleetError, with nothing changed, if it cannot be met.

    locked: the caller has the lock of_changes(), as the request depends on what is deployed; then there are no `files`.
    """
    wanted = request.wanted
    if not request.check:
        _raise_file_limit()
    mounts = reach(request.root, lasting=wanted.state in PRESENT, make=wanted.state in PRESENT and not request.check)
    provisional = None
    after: t.Dict[str, Seen] = {}
    # The provisional change of a different run may last as long as ours would.
    timeout = LOCK_SECONDS + request.rollback_after
    locks = [*of_objects(*(os.path.dirname(file.path) for file in files)), *of_changes()]
    with contextlib.nullcontext() if request.check or locked else lock(locks, timeout, warn):
        asked, errors = _plans(lib, request, image, warn)
        requested = {each.seen.place for each in asked}
        requested |= {Place(request.root, wanted.name, name) for name in errors}
        order = _in_order(lib, request, asked, errors, warn)
        written = tuple(file for file in files if file.differs()) if without_errors(order.plans, errors) else ()
        if not request.check:
            _clean_up(lib, order.plans)
            if written or any(each.steps for each in order.plans):
                from .transaction import Transaction

                transaction = Transaction(lib, request, order, requested, errors, written)
                provisional = transaction.run(image, warn)
            _clean_up_after(lib, request, {each.seen.place for each in without_errors(asked, errors)}, provisional)
            if not provisional:
                after = look(lib, [each for each in of_request(order.plans, requested) if each.steps])
    for each in order.plans:
        for warning in each.warnings:
            warn(warning)
    applied = without_errors(order.plans, errors)
    parts = tuple(part for group in order.groups for part in without_errors(group, errors))
    errors = errors_of_request(errors, requested)
    found = attachments(wanted, of_request(order.plans, requested), after, errors)
    return Outcome(applied, parts, found, errors, mounts, written if applied else (), provisional)


def _raise_file_limit() -> None:
    """An upgrade holds about ten file descriptors for each interface until it is done."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _clean_up(lib: Libbpf, plans: t.Iterable[Plan]) -> None:
    """Remove what killed runs left in /run, and their empty folders; have systemd read the units that they changed."""
    if os.path.isdir(PROVISIONAL):
        from .provisional import sweep

        sweep()
    if os.path.isdir(DISPATCHERS):
        from ..attach.dispatcher import sweep as sweep_dispatchers

        sweep_dispatchers(lib)
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


def _clean_up_after(
    lib: Libbpf, request: Request, done: t.Container[Place], provisional: t.Optional[Provisional]
) -> None:
    """Remove empty folders of a name that is absent, and the marks of what is no longer detached for a moment."""
    if request.wanted.state == "absent":
        from ..state.private_files import remove_empty_folders

        remove_empty_folders(request.root, request.wanted.name)
    if not provisional and os.path.isdir(MARKS):
        from .order import remove_marks

        remove_marks(lib, request.root, done)


def _plans(
    lib: Libbpf, request: Request, image: Image, warn: t.Callable[[str], None]
) -> t.Tuple[t.List[Plan], t.Dict[str, str]]:
    wanted = request.wanted
    if request.interfaces is None:
        places = places_of(request.root, wanted.name)
    else:
        places = [Place(request.root, wanted.name, name) for name in request.interfaces]
    former = {}
    if request.former:
        from ..attach.owners import former_places  # here: a target compiles what it imports, and few hosts need this

        former = former_places(lib, request.root, request.former, wanted.name)
    if request.interfaces is None:
        places += [place for place in former if place not in places]
    if not wanted.unsafe:
        check_pins([*places, *former.values()], "to pin in")
    seen = observe(lib, places, former)
    left = _left_elsewhere(seen, warn) if request.interfaces is None else set()
    if request.runner and _concerns_boot(wanted):
        from ..persist import persistence

        asked = {each.pin for each in wanted.fillings}
        found = persistence.observe([(each.place, each.ifindex) for each in seen], request.runner, asked)
        seen = [each._replace(persistence=one) for each, one in zip(seen, found)]
    wanted = wanted._replace(frags=_needs_frags(wanted, seen), cpus=_cpus(lib, wanted))
    if all(is_unchanged(wanted, each) for each in seen):
        return [_as_it_is(each) for each in seen], {}
    from .plans import plans_for

    plans, errors = plans_for(lib, wanted, seen, image, left)
    _stop_at(errors, request)
    return plans, errors


def _as_it_is(seen: Seen) -> Plan:
    now = describe(seen)
    return Plan(seen, (), now, now)


def _in_order(
    lib: Libbpf, request: Request, plans: t.Sequence[Plan], errors: t.Dict[str, str], warn: t.Callable[[str], None]
) -> Order:
    if os.path.isdir(MARKS) or any(_attaches(each) for each in plans):
        from .order import ordered

        order = ordered(lib, request, plans, errors, warn)
        _stop_at(errors, request)
        return order
    return Order(tuple(plans), tuple((plan,) for plan in plans))


def _attaches(planned: Plan) -> bool:
    if not planned.steps:
        return False
    from .steps import Attach

    return any(isinstance(step, Attach) for step in planned.steps)


def _stop_at(errors: t.Mapping[str, str], request: Request) -> None:
    if errors and not request.keep_going:
        raise FleetError(" ".join(errors.values()))


def _left_elsewhere(seen: t.Iterable[Seen], warn: t.Callable[[str], None]) -> t.Set[Place]:
    """What is attached in a different network namespace; all interfaces means those that are here."""
    left = set()
    for each in seen:
        if each.ours and each.ours.elsewhere:
            left.add(each.place)
            warn(
                f"{each.place.name}, which is pinned in {each.place.folder}, is left on {each.ours.where}."
                f" It is not restored after a reboot. To remove it there too, name it: interfaces: [{each.interface}]"
            )
    return left


def _cpus(lib: Libbpf, wanted: Wanted) -> int:
    """The possible CPUs, if the size of one of the object's maps depends on them."""
    if not any(each.shape.type in SIZED_BY_CPUS for each in wanted.object.maps):
        return 1
    from ..libbpf.maps import possible_cpus

    return possible_cpus(lib)


def _concerns_boot(wanted: Wanted) -> bool:
    if wanted.persist == "true" or os.path.exists(MANIFESTS):
        return True
    if wanted.persist != "auto":
        return False
    from ..persist.systemd import is_running

    return is_running()


def _needs_frags(wanted: Wanted, seen: t.Iterable[Seen]) -> bool:
    """Whether an interface may get a program for packets of several buffers, and the kernel supports them."""
    twins = any(p.name.endswith(FRAGS_TWIN) for p in wanted.object.programs)
    if not twins or all(each.mtu <= PLAIN_MTU for each in seen):
        return False
    from ..kernel.symbols import kernel_has

    return kernel_has("bpf_xdp_get_buff_len")
