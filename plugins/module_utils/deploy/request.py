# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was requested: the options of xdp_program, or the contents of a manifest, as values."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import typing as t

from ..attach.interfaces import check_interface_name, resolve
from ..errors import FleetError
from ..objects.image import Image, ObjectFacts
from ..state.bpffs import check_root
from ..state.identity import former_roots, root_of_namespace
from ..state.places import check_name
from ..state.trusted import check_trusted, reader

if t.TYPE_CHECKING:
    from ..libbpf.library import Libbpf
    from ..reach.targets import Target
    from .contents import Contents
    from .declared import Filling, Setting

LONGEST_ROLLBACK = 3600  # seconds
PRESENT = ("attached", "loaded")


class Wanted(t.NamedTuple):
    """The wanted state of a program, the same on all interfaces.

    `frags`: the kernel supports packets of several buffers. persist: "true", "false", "auto" (where the host supports
    it), None (keep the current setting). generic: attach in this mode, although `mode` says otherwise. `cpus`: the
    possible ones, if the size of a map depends on them; `contents`: those of the object's maps by pin, for an upgrade.
    `settings`: variables that the task sets, constants among them; `sizes`: max_entries of maps by name; `fillings`:
    entries of maps. unsafe: pin even where other users could change the pins. `dispatcher`: whether it shares an
    interface with others (auto, never, always), at which priority and after which `actions` of its own the next runs;
    None: as the object says.
    """

    state: str
    name: str
    object: ObjectFacts = ObjectFacts("", None)
    program: t.Optional[str] = None
    mode: str = "auto"
    replace: bool = False
    reset_maps: bool = False
    frags: bool = False
    persist: t.Optional[str] = None
    generic: bool = False
    cpus: int = 1
    contents: "t.Mapping[str, Contents]" = {}
    settings: "t.Tuple[Setting, ...]" = ()
    sizes: t.Mapping[str, int] = {}
    fillings: "t.Tuple[Filling, ...]" = ()
    unsafe: bool = False
    dispatcher: str = "auto"
    priority: t.Optional[int] = None
    actions: t.Optional[t.Tuple[str, ...]] = None


class Request(t.NamedTuple):
    """What to do. `interfaces` None: all interfaces that the name is on.

    rollback_after: seconds within which a change of what runs on an interface must be confirmed; 0: no confirmation.
    reachable: what the host must reach within these, after the change.
    former: pin roots in which an older release may have pinned what is this network namespace's.
    runner: returns the program with which a host restores its programs; None: do not change what is restored.
    """

    wanted: Wanted
    root: str
    interfaces: t.Optional[t.Sequence[str]]
    keep_going: bool
    check: bool
    rollback_after: int = 0
    runner: t.Optional[t.Callable[[], bytes]] = None
    former: t.Sequence[str] = ()
    reachable: "t.Tuple[Target, ...]" = ()


def with_declared(
    lib: "Libbpf", request: Request, image: Image, options: t.Mapping[str, t.Any]
) -> t.Tuple[Request, Image]:
    """With the options variables, map_sizes and map_entries, as the object's BTF has them. Raises FleetError."""
    from .filling import fillings_of  # here: a target compiles what it imports, and most tasks do not need this
    from .settings import settings_of, sizes_of, with_sizes

    try:
        sizes = sizes_of(image, options["map_sizes"] or {})
        image = with_sizes(image, sizes)
        wanted = request.wanted._replace(
            object=image.facts,
            sizes=sizes,
            settings=settings_of(lib, image, options["variables"] or {}),
            fillings=fillings_of(
                lib, image, options["map_entries"] or (), reader(options["allow_unsafe_paths"], "to fill a map from")
            ),
        )
    except ValueError as error:
        raise FleetError(f"{image.facts.path} has BTF that cannot be used: {error}") from error
    return request._replace(wanted=wanted), image


def check_options(options: t.Mapping[str, t.Any]) -> None:
    """Check what the argument spec of xdp_program cannot. Raises FleetError."""
    if options["interfaces"] is not None and not options["interfaces"]:
        raise FleetError(
            "interfaces is an empty list; name at least one, or omit it to use all interfaces with this program"
        )
    for name in options["interfaces"] or ():
        check_interface_name(name)
    check_rollback_after(options["rollback_after"])
    reachable_of(options)
    if options["priority"] is not None and not 0 <= options["priority"] < 1 << 32:
        raise FleetError(f"priority is {options['priority']}: give a number from 0 to {(1 << 32) - 1}")
    if options["dispatcher"] == "never" and (
        options["priority"] is not None or options["chain_call_actions"] is not None
    ):
        raise FleetError("priority and chain_call_actions are for a dispatcher, and dispatcher: never has none")
    if not 0 <= options["check_seconds"] < 2**31:
        raise FleetError(f"check_seconds is {options['check_seconds']}: give 0 or more")
    root = root_of_namespace(options["pin_root"])
    check_root(root)
    if not options["allow_unsafe_paths"]:
        for each in (options["pin_root"], root):
            check_trusted(each, "to pin in")


def _actions(given: t.Iterable[str]) -> t.Tuple[str, ...]:
    from ..sharing.config import in_order  # here: a target compiles what it imports, and few tasks need this

    return in_order(given)


def check_rollback_after(seconds: int) -> None:
    if not 0 <= seconds <= LONGEST_ROLLBACK:
        raise FleetError(f"rollback_after is {seconds}: give a number of seconds from 0 to {LONGEST_ROLLBACK}")


def reachable_of(options: t.Mapping[str, t.Any]) -> "t.Tuple[Target, ...]":
    """Raises FleetError if the option reachable cannot be used."""
    if not options["reachable"]:
        return ()
    from ..reach.targets import targets_of  # here: a target compiles what it imports, and few tasks need this

    found = targets_of(options["reachable"])
    if not options["rollback_after"]:
        raise FleetError(
            f"reachable ({', '.join(map(str, found))}) is asked while a change can still be rolled back, and with"
            " rollback_after: 0 a change is final at once: set rollback_after, such as 60"
        )
    return found


def request_of(options: t.Mapping[str, t.Any], image: Image, check: bool, runner: t.Callable[[], bytes]) -> Request:
    """The options of xdp_program, with the object that they name. Raises FleetError."""
    facts = image.facts
    name = options["name"] or options["program"]
    if not name and image.content:
        name = facts.xdp_program(None)
    if not name:
        raise FleetError("the object does not exist yet, so check mode cannot know its program: set name or program")
    if image.content:
        facts.xdp_program(options["program"])
    wanted = Wanted(
        state=options["state"],
        name=check_name(name),
        object=facts,
        program=options["program"],
        mode=options["mode"],
        replace=options["on_conflict"] == "replace",
        reset_maps=options["maps"] == "reset",
        persist=options["persist"],
        unsafe=options["allow_unsafe_paths"],
        dispatcher=options["dispatcher"],
        priority=options["priority"],
        actions=None if options["chain_call_actions"] is None else _actions(options["chain_call_actions"]),
    )
    return Request(
        wanted=wanted,
        root=root_of_namespace(options["pin_root"]),
        interfaces=None if options["interfaces"] is None else resolve(options["interfaces"]),
        keep_going=options["on_error"] == "continue",
        check=check,
        rollback_after=options["rollback_after"],
        runner=runner,
        former=former_roots(options["pin_root"]),
        reachable=reachable_of(options),
    )
