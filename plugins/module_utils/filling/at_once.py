# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace all entries of a map at once: the same program is loaded with a new, filled map, and swapped in its link."""

from __future__ import annotations

import contextlib
import typing as t

from ..deploy.change import change
from ..deploy.current import FRAGS_TWIN
from ..deploy.filling import Compared, fillings_of
from ..deploy.request import Request, Wanted, reachable_of
from ..deploy.results import Outcome
from ..deploy.results import result_of as result_of_change
from ..deploy.settings import settings_of, with_sizes
from ..deploy.steps import Fill
from ..entries.difference import Difference
from ..errors import FleetError
from ..libbpf.kinds import as_made
from ..libbpf.library import Libbpf
from ..objects.image import Image
from ..objects.object_file import inspect_to_load
from ..persist.manifests import Manifest, read_manifest
from ..state.deployed import Deployed
from ..state.files import sha256
from ..state.identity import former_roots, root_of_namespace
from ..state.locks import LOCK_SECONDS, lock, of_changes
from ..state.places import Place
from ..state.records import read_record
from ..state.trusted import Read
from .change import check_restored, diff_of, facts_of, result_of
from .named import deployed_places


def replace_at_once(
    lib: Libbpf,
    options: t.Mapping[str, t.Any],
    check: bool,
    warn: t.Callable[[str], None],
    read: Read,
    runner: t.Callable[[], bytes],
) -> t.Dict[str, t.Any]:
    """The result of bpf_map. What runs on these interfaces is deployed once more, but for the entries as it is.

    Raises FleetError.
    """
    if options["map"] is None:
        raise FleetError("replace: at_once needs name and map: it loads the program of the map once more")
    if options["persist"] == "false":
        raise FleetError("persist: false and replace: at_once do not go together: use replace: in_place")
    with contextlib.ExitStack() as held:
        if not check:  # before it looks at what is deployed: a different run may be about to roll that back
            held.enter_context(lock(of_changes(), LOCK_SECONDS + options["rollback_after"], warn))
        request, image = _request(lib, options, check, read, runner)
        return _result(request.wanted, change(lib, request, image, warn, locked=True))


def _request(
    lib: Libbpf, options: t.Mapping[str, t.Any], check: bool, read: Read, runner: t.Callable[[], bytes]
) -> t.Tuple[Request, Image]:
    places = deployed_places(lib, options, "to fill")
    if options["persist"] == "true":
        for place in places:
            check_restored(place)
    deployed = _same(places)
    image = with_sizes(inspect_to_load(lib, deployed.object, _content(places, deployed, read)).image, deployed.sizes)
    manifest = next(filter(None, map(_manifest, places)), None)
    names = {each.name for each in image.facts.programs}
    program = deployed.program
    if program.endswith(FRAGS_TWIN) and program[: -len(FRAGS_TWIN)] in names:
        program = program[: -len(FRAGS_TWIN)]
    wanted = Wanted(
        state="loaded",  # it stays attached, or detached, as it is
        name=options["name"],
        object=image.facts,
        program=program,
        mode=deployed.mode,
        unsafe=manifest.unsafe if manifest else options["allow_unsafe_paths"],  # a list that is read is not the pins
        sizes=deployed.sizes,
        replace=bool(manifest and manifest.replace),
        settings=settings_of(lib, image, deployed.variables),  # the others are in maps, which stay
        fillings=fillings_of(lib, image, [options], read),
    )
    request = Request(
        wanted=wanted,
        root=root_of_namespace(options["pin_root"]),
        interfaces=[place.interface for place in places],
        keep_going=False,
        check=check,
        rollback_after=options["rollback_after"],
        runner=runner,
        former=former_roots(options["pin_root"]),
        reachable=reachable_of(options),
    )
    return request, image


def _result(wanted: Wanted, outcome: Outcome) -> t.Dict[str, t.Any]:
    (filling,) = wanted.fillings
    shape = as_made(wanted.object.shared_maps[filling.pin].shape, cpus=1)
    maps, changed = [], {}
    for plan in outcome.plans:
        seen = plan.seen.entries.get(filling.pin)
        step = next((step for step in plan.steps if isinstance(step, Fill)), None)
        info = plan.seen.maps.get(filling.pin)
        found = Compared(filling, shape, seen, Difference())
        maps.append(facts_of(plan.seen.interface, None if step or not info else info.id, found, step))
        if step:
            changed[f"{filling.name} on {plan.seen.interface}"] = (filling, step)
    of_program = result_of_change(outcome)  # it may have more to do, such as to repair a pin
    result = {
        **result_of(maps),
        "changed": of_program["changed"],
        "steps": of_program["steps"],
        "diff": diff_of(changed),
    }
    if outcome.provisional:
        result["provisional"] = {"token": outcome.provisional.token}
        if outcome.provisional.reached:
            result["reached"] = outcome.provisional.reached
    return result


def _same(places: t.Sequence[Place]) -> Deployed:
    """What is deployed on all of them. Raises FleetError if that is not the same."""
    records = {place.interface: read_record(place) for place in places}
    deployed = [each.deployed for each in records.values() if each]
    missing = [name for name, each in records.items() if not each]
    if missing or not deployed:
        raise FleetError(
            f"how {', '.join(missing) or 'the program'} was deployed is not recorded: run the xdp_program task that"
            " deploys it"
        )
    if any(each != deployed[0] for each in deployed):
        raise FleetError(
            f"{', '.join(records)} have different versions or settings of {places[0].name}: name interfaces that have"
            " the same, or deploy one version on all of them first"
        )
    return deployed[0]


def _manifest(place: Place) -> t.Optional[Manifest]:
    return _manifest_and_object(place)[0]


def _manifest_and_object(place: Place) -> t.Tuple[t.Optional[Manifest], bytes]:
    with contextlib.suppress(FleetError):
        return read_manifest(place)
    return None, b""


def _content(places: t.Sequence[Place], deployed: Deployed, read: Read) -> bytes:
    """The object that runs: from its file, else from a manifest."""
    content = read(deployed.object)
    if content is not None and sha256(content) == deployed.checksum:
        return content
    for place in places:
        manifest, kept = _manifest_and_object(place)
        if manifest and manifest.deployed.checksum == deployed.checksum:
            return kept
    raise FleetError(
        f"{deployed.object} is no longer the object that runs, and replace: at_once loads that once more: run the"
        " xdp_program task with map_entries, or use replace: in_place"
    )
