# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of all interfaces as one: applied together, rolled back together, or held until they are confirmed."""

from __future__ import annotations

import typing as t

from ..errors import FleetError, undone_by
from .apply import Applier
from .planned import Order, Plan
from .request import Request
from .results import Provisional, attachments, errors_of_request, look, of_request, still_detached, without_errors
from .steps import changes_what_runs

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..objects.image import Image
    from ..state.places import Place
    from ..state.replacing import ReplacedFile
    from .observe import Seen

Warn = t.Callable[[str], None]


class Transaction:
    """Adds to `errors`, by interface, if the other interfaces are done nevertheless. Writes `files` too.

    `order` may have more than was `requested`: see order.py.
    """

    def __init__(
        self,
        lib: Libbpf,
        request: Request,
        order: Order,
        requested: t.Collection[Place],
        errors: t.Dict[str, str],
        files: t.Sequence[ReplacedFile],
    ) -> None:
        self._lib = lib
        self._request = request
        self._plans, self._groups = order
        self._requested = requested
        self._named = of_request(order.plans, requested)
        self._errors = errors
        self._files = files

    def run(self, image: Image, warn: Warn) -> t.Optional[Provisional]:
        """Apply the plans. Returns the change if it is still to be confirmed.

        Raises FleetError if an interface fails and on_error is not `continue`; then everything was rolled back.
        """
        request = self._request
        with Applier(self._lib, image, warn, request.runner, request.wanted.unsafe) as applier:
            for each in self._plans:
                self._try(applier.prepare, each)
            if request.rollback_after and any(
                changes_what_runs(step) for plan in self._without_errors() for step in plan.steps
            ):
                return self._hold(applier)
            self._commit(applier)
            return None

    def _without_errors(self) -> t.Tuple[Plan, ...]:
        return without_errors(self._plans, self._errors)

    def _commit(self, applier: Applier) -> None:
        with undone_by(applier.roll_back):
            for file in self._files if self._without_errors() else ():
                applier.replace(file)
            for group in self._groups:
                if of_request(group, self._requested):
                    self._commit_group(applier, group)
                else:
                    self._commit_left(applier, group)
            applier.finish()

    def _commit_group(self, applier: Applier, group: t.Sequence[Plan]) -> None:
        """All of a group or nothing, as the kernel allows some of it only after the rest."""
        interfaces = dict.fromkeys(plan.seen.interface for plan in group)
        at = next((name for name in interfaces if name in self._errors), "")
        if not at:
            try:
                with applier.together():
                    for part in group:
                        at = part.seen.interface
                        applier.commit(part)
                return
            except FleetError as error:
                if not self._request.keep_going:
                    raise
                self._errors[at] = str(error)
        why = f"{at} failed"
        if not errors_of_request({at: why}, self._requested):  # then nobody is told its error
            why += f": {self._errors[at]}"
        for name in interfaces:
            self._errors.setdefault(name, f"{name} was left as it was, because {why}")

    def _commit_left(self, applier: Applier, group: t.Sequence[Plan]) -> None:
        """What a killed run left detached: if that fails, the task does not."""
        try:
            with applier.together():
                for part in group:
                    applier.commit(part)
        except FleetError as error:
            applier.work.warn(still_detached(str(error)))
            failed = {part.seen.interface: str(error) for part in group}
            requested = errors_of_request(failed, self._requested)
            self._errors.update({name: failed[name] for name in failed if name not in requested})

    def _hold(self, applier: Applier) -> Provisional:
        """Have a holder make the change. It returns errors and warnings."""
        # Imported now: the holder outlives the file that contains the module. Under mitogen it cannot import at all: it
        # would wait for a thread that only its parent has.
        from ..attach import exactness, owners, refusal, stacked, ways, words  # noqa: F401
        from ..kernel import ethtool, remedies  # noqa: F401
        from .provisional import Change, hold

        for name in ways.NAMES:
            ways.way(name)

        work, warn = applier.work, applier.work.warn
        warnings: t.List[str] = []
        work.warn, work.provisional = warnings.append, True

        def make() -> t.Dict[str, t.Any]:
            self._commit(applier)
            seen = look(self._lib, self._named)
            return {"errors": self._errors, "warnings": warnings, "after": _running(seen.values())}

        def keep() -> t.Dict[str, t.Any]:
            applier.keep()
            seen = look(self._lib, self._named)
            errors = errors_of_request(self._errors, self._requested)
            return {"attachments": attachments(self._request.wanted, self._named, seen, errors)}

        change = Change(make, keep, applier.roll_back)
        token, made, reached = hold(self._request.rollback_after, change, self._request.reachable)
        self._errors.update(made["errors"])
        for warning in made["warnings"]:
            warn(warning)
        return Provisional(token, _running(plan.seen for plan in self._named), made["after"], reached)

    def _try(self, do: t.Callable[[Plan], None], plan: Plan) -> None:
        try:
            do(plan)
        except FleetError as error:
            if not self._request.keep_going:
                raise
            self._errors[plan.seen.interface] = str(error)


def _running(seen: t.Iterable[Seen]) -> t.Dict[str, t.List[t.Dict[str, t.Any]]]:
    return {each.interface: [hook.data() for hook in each.hooks] for each in seen}
