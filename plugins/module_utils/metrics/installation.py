# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xdp_metrics brings onto a host and removes from it: four files, a link that enables the timer, the text file."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import os
import typing as t

from ..errors import FleetError
from ..libbpf.library import Libbpf
from ..persist.manifests import all_places
from ..persist.systemd import is_running, systemctl
from ..state.files import make_folders, read_file
from ..state.locks import lock, of_metrics
from ..state.places import MANIFESTS, NEW
from ..state.private_files import remove, remove_empty, write_private
from ..state.trusted import check_trusted
from . import timer
from .collected import Collected, collect, deployed_names
from .declared import Declared, read, written
from .writer import DECLARED, unfinished, write

_MODES = {timer.RUNNER: 0o600, DECLARED: 0o600, timer.SERVICE: 0o644, timer.TIMER: 0o644}
_FOLDERS = (os.path.dirname(timer.ENABLED), MANIFESTS)  # they may be ours alone


class Installed(t.NamedTuple):
    """What is there. `files`: the content of those in _MODES that are. `declared`: by the last task, if it can be read.

    `running`: the timer is enabled and active, as its file says. `leftovers`: what a killed run left.
    """

    files: t.Mapping[str, bytes]
    declared: t.Optional[Declared]
    running: bool
    leftovers: t.Tuple[str, ...]


class Step(t.NamedTuple):
    """A sentence, and what it says."""

    sentence: str
    do: t.Callable[[], t.Any]

    def __str__(self) -> str:
        return self.sentence


def install(lib: Libbpf, declared: Declared, runner: bytes, check: bool) -> t.Dict[str, t.Any]:
    """The result of xdp_metrics with state: present. Raises FleetError and OSError."""
    if not is_running():
        raise FleetError("this host does not run systemd, whose timers write the metrics")
    check_trusted(MANIFESTS, "to write metrics by")
    found: t.List[Collected] = []

    def plan(seen: Installed) -> t.List[Step]:
        steps = plan_present(seen, declared, runner)
        if not steps and os.path.exists(declared.file):
            return []
        writing = Step(f"write {declared.file}", lambda: found.append(write(lib, declared)))
        return [*steps, writing, Step("start the timer", _start)]

    result = _changed(plan, declared, check)
    collected = found[0] if found else collect(lib, declared)
    series = sum(len(each.samples) for each in collected.families)
    return {**result, "series": series, "problems": collected.errors}


def uninstall(removed: t.Optional[t.Sequence[str]], pin_root: str, check: bool) -> t.Dict[str, t.Any]:
    """The result of xdp_metrics with state: absent. Raises FleetError and OSError.

    removed: names of programs; all stays as it is while others are deployed. None: nothing stays.
    """

    def plan(seen: Installed) -> t.List[Step]:
        of = seen.declared.pin_root if seen.declared else pin_root
        if removed is not None and not deployed_names(of, all_places()) <= set(removed):
            return []
        return plan_absent(seen)

    return {**_changed(plan, None, check), "series": 0, "problems": []}


def _changed(
    plan: t.Callable[[Installed], t.List[Step]], declared: t.Optional[Declared], check: bool
) -> t.Dict[str, t.Any]:
    if check:
        seen = observe()
        steps = plan(seen)
    else:
        with lock(of_metrics()):
            seen = observe()
            steps = plan(seen)
            for each in steps:
                each.do()
    after = declared if steps else seen.declared
    texts = (written(each).decode() if each else "" for each in (seen.declared, after))
    return {
        "changed": bool(steps),
        "file": after.file if after else None,
        "steps": [str(each) for each in steps],
        "diff": dict(zip(("before", "after"), texts)),
    }


def observe() -> Installed:
    contents = {path: read_file(path) for path in _MODES}
    files = {path: content for path, content in contents.items() if content is not None}
    declared = None
    with contextlib.suppress(ValueError):  # damaged, or a later release's: this task writes it anew
        declared = read(files.get(DECLARED, b""))
    running = os.path.islink(timer.ENABLED) and timer.is_active()
    unfinished_files = [path + NEW for path in _MODES]
    if declared:
        unfinished_files.append(unfinished(declared.file))
    leftovers = tuple(path for path in unfinished_files if os.path.lexists(path))
    return Installed(files, declared, running, leftovers)


def plan_present(seen: Installed, declared: Declared, runner: bytes) -> t.List[Step]:
    steps = _cleanup(seen)
    # Before what says where it is: killed in between, the next run still finds it.
    before = seen.declared and seen.declared.file
    if before and before != declared.file and os.path.exists(before):
        steps.append(Step(f"remove {before}", _remove(before)))
    for path, content in (
        (timer.RUNNER, runner),
        (DECLARED, written(declared)),
        (timer.SERVICE, timer.service_file(declared.interval)),
        (timer.TIMER, timer.timer_file(declared.interval)),
    ):
        if seen.files.get(path) != content:
            steps.append(Step(f"write {path}", _write(path, content)))
    if not seen.running:
        steps.append(Step("enable the timer", _enable))
    return steps


def plan_absent(seen: Installed) -> t.List[Step]:
    steps = []
    enabled = os.path.lexists(timer.ENABLED)
    if enabled or seen.running or timer.TIMER in seen.files:
        steps.append(Step("stop the timer", _stop))
    # In this order, killed at any point, the next run still finds the text file, and what systemd has yet to forget.
    if seen.declared and os.path.exists(seen.declared.file):
        steps.append(Step(f"remove {seen.declared.file}", _remove(seen.declared.file)))
    steps += _cleanup(seen)
    if enabled:
        steps.append(Step("disable the timer", _remove(timer.ENABLED)))
    steps += _removals(seen, timer.TIMER, timer.SERVICE)
    last = _removals(seen, timer.RUNNER, DECLARED)
    if steps or last:
        steps.append(Step("have systemd read its units again", _reload))
    if not last and os.path.isdir(MANIFESTS) and not os.listdir(MANIFESTS):
        last.append(Step(f"remove {MANIFESTS}", lambda: remove_empty(MANIFESTS)))
    return steps + last


def _removals(seen: Installed, *paths: str) -> t.List[Step]:
    return [Step(f"remove {path}", _remove(path)) for path in paths if path in seen.files]


def _cleanup(seen: Installed) -> t.List[Step]:
    return [Step(f"remove {path}", _remove(path)) for path in seen.leftovers]


def _write(path: str, content: bytes) -> t.Callable[[], None]:
    return lambda: write_private(path, content, _MODES[path])


def _remove(path: str) -> t.Callable[[], None]:
    def do() -> None:
        remove(path)
        remove_empty(*_FOLDERS)

    return do


def _enable() -> None:
    make_folders(os.path.dirname(timer.ENABLED))
    if not os.path.lexists(timer.ENABLED):
        os.symlink(timer.TIMER, timer.ENABLED)


def _start() -> None:
    _reload()
    _systemctl("restart", f"{timer.NAME}.timer")


def _stop() -> None:
    systemctl("stop", f"{timer.NAME}.timer", f"{timer.NAME}.service")


def _reload() -> None:
    if is_running():
        _systemctl("daemon-reload")
        systemctl("reset-failed", f"{timer.NAME}.service", f"{timer.NAME}.timer")


def _systemctl(*words: str) -> None:
    done = systemctl(*words)
    if done.returncode:
        raise FleetError(f"systemctl {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
