# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xdp_pull brings onto a host and removes from it: a folder, two units, and a link that enables the timer."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import typing as t

from ..errors import FleetError
from ..persist.systemd import is_running
from ..state.files import read_file
from ..state.locks import lock, of_pulling
from ..state.places import NEW, PULL, PULLING, scan
from ..state.private_files import remove, remove_empty, write_private
from ..state.trusted import check_trusted
from .runner import found_command
from .settings import (
    KEY,
    KNOWN_HOSTS,
    LAST,
    RUNNER,
    SETTINGS,
    STAMP,
    TIMER,
    Settings,
    check_calendar,
    is_own_run,
    read,
    service_file,
    timer_file,
)

_HOMES = "ebpf_fleet_pull."  # what names of temporary folders in /run begin with
OLDEST = (2, 19)  # ansible-core, as meta/runtime.yml says
_MODES = {
    RUNNER: 0o600,
    KEY: 0o600,
    KNOWN_HOSTS: 0o600,
    SETTINGS: 0o600,
    TIMER.service_file: 0o644,
    TIMER.timer_file: 0o644,
}


class Installed(t.NamedTuple):
    """What is there. `files`: the content of those in _MODES that are. `settings`: if they can be read.

    `running`: the timer is enabled and active, as its file says. `others`: what else there is.
    """

    files: t.Mapping[str, bytes]
    settings: t.Optional[Settings]
    running: bool
    others: t.Tuple[str, ...]


class Step(t.NamedTuple):
    """A sentence, and what it says."""

    sentence: str
    do: t.Callable[[], t.Any]

    def __str__(self) -> str:
        return self.sentence


def install(settings: Settings, secrets: t.Mapping[str, bytes], runner: bytes, check: bool) -> t.Dict[str, t.Any]:
    """The result of xdp_pull with state: present. `secrets`: what KEY and KNOWN_HOSTS are to contain.

    Raises FleetError and OSError.
    """
    if not is_running():
        raise FleetError("this host does not run systemd, whose timers have it keep itself as declared")
    check_trusted(PULL, "to run by as root")
    wanted = {
        RUNNER: runner,
        **secrets,
        SETTINGS: settings.written(),
        TIMER.service_file: service_file(),
        TIMER.timer_file: timer_file(settings),
    }

    def plan(seen: Installed) -> t.List[Step]:
        before = seen.settings
        if not before or before.command != settings.command:
            check_command(settings)
        if not before or before.every != settings.every:
            check_calendar(settings.every)
        return plan_present(seen, wanted)

    return _changed(plan, settings, check)


def uninstall(check: bool) -> t.Dict[str, t.Any]:
    """The result of xdp_pull with state: absent. Raises FleetError and OSError."""

    def plan(seen: Installed) -> t.List[Step]:
        steps = plan_absent(seen)
        if steps and is_own_run():
            raise FleetError(
                "this is the run that would be ended: a host stops to keep itself as declared by"
                " `ansible-playbook ebpf.fleet.pull -e xdp_pull_state=absent` from a controller"
            )
        return steps

    return _changed(plan, None, check)


def check_command(settings: Settings) -> None:
    """Raises FleetError if the host has no ansible-pull, one that is too old, or no git."""
    command = found_command(settings)
    with tempfile.TemporaryDirectory(dir="/run", prefix=_HOMES) as home:  # it makes folders even to say its version
        env = {**os.environ, "ANSIBLE_HOME": home, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [command, "--version"], capture_output=True, text=True, errors="replace", env=env, cwd="/", check=False
        )
    found = re.search(r"\[core (\d+)\.(\d+)[^\]]*\]", done.stdout)
    if done.returncode or not found:
        said = " ".join((done.stderr or done.stdout).split())
        raise FleetError(f"{command} does not say its version: {said or 'it printed nothing'}")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise FleetError(
            f"{command} is that of ansible-core {found[1]}.{found[2]}, and this collection needs"
            f" {OLDEST[0]}.{OLDEST[1]} or later: python3 -m venv /opt/ansible && /opt/ansible/bin/pip install"
            " ansible-core, with a Python that has it, and set command (xdp_pull_command) to"
            " /opt/ansible/bin/ansible-pull"
        )
    if not shutil.which("git"):
        raise FleetError("this host has no git, with which ansible-pull reads a repository; install the package git")


def _changed(
    plan: t.Callable[[Installed], t.List[Step]], settings: t.Optional[Settings], check: bool
) -> t.Dict[str, t.Any]:
    if check:
        seen = observe()
        steps = plan(seen)
    else:
        with lock(of_pulling()):
            for left in [each for each in scan("/run") if each.name.startswith(_HOMES)]:  # by a run that was killed
                shutil.rmtree(left.path, ignore_errors=True)
            seen = observe()
            steps = plan(seen)
            for each in steps:
                each.do()
    after = settings if steps else seen.settings
    texts = (each.written().decode() if each else "" for each in (seen.settings, after))
    return {
        "changed": bool(steps),
        "steps": [str(each) for each in steps],
        "last": last() if settings else None,
        "diff": dict(zip(("before", "after"), texts)),
    }


def last() -> t.Optional[t.Dict[str, t.Any]]:
    """What the last run came to; None if there was none."""
    with contextlib.suppress(ValueError):
        found = json.loads(read_file(LAST) or b"null")
        if isinstance(found, dict):
            return {name: found.get(name) for name in ("at", "commit", "problem", "kept_at", "kept_commit")}
    return None


def observe() -> Installed:
    contents = {path: read_file(path) for path in _MODES}
    files = {path: content for path, content in contents.items() if content is not None}
    settings = None
    with contextlib.suppress(ValueError):  # damaged, or a later release's: this task writes it anew
        settings = read(files.get(SETTINGS, b""))
    unfinished = [f"{path}{NEW}" for path in (TIMER.service_file, TIMER.timer_file)]
    others = tuple(path for path in (PULL, PULLING, STAMP, TIMER.enabled, *unfinished) if os.path.lexists(path))
    return Installed(files, settings, bool(files) and TIMER.runs(), others)


def plan_present(seen: Installed, wanted: t.Mapping[str, bytes]) -> t.List[Step]:
    """Files that are not wanted any more, such as a key, are removed."""
    steps = []
    for path in _MODES:
        if path in wanted and seen.files.get(path) != wanted[path]:
            steps.append(Step(f"write {path}", _write(path, wanted[path])))
        elif path in seen.files and path not in wanted:
            steps.append(Step(f"remove {path}", _remove(path)))
    units = any(seen.files.get(path) != wanted[path] for path in (TIMER.service_file, TIMER.timer_file))
    if not seen.running:
        steps.append(Step("enable the timer", TIMER.enable))
    if units or not seen.running:
        steps.append(Step("start the timer", TIMER.start))
    return steps


def plan_absent(seen: Installed) -> t.List[Step]:
    """Its settings go last, so that the next run finds what a killed one left."""
    steps = []
    units = [path for path in (TIMER.timer_file, TIMER.service_file) if path in seen.files]
    if seen.running or units or TIMER.enabled in seen.others:
        steps.append(Step("stop the timer", TIMER.stop))
    if TIMER.enabled in seen.others:
        steps.append(Step("disable the timer", _remove(TIMER.enabled)))
    left = [path for path in seen.others if path.endswith(NEW) or path == STAMP]
    steps += [Step(f"remove {path}", _remove(path)) for path in (*units, *left)]
    trees = [path for path in (PULLING, PULL) if path in seen.others]
    if steps or trees:  # the files of units do not show that a run was killed before this
        steps.append(Step("have systemd read its units again", TIMER.reload))
    return steps + [Step(f"remove {path}", _remove_tree(path)) for path in trees]


def _write(path: str, content: bytes) -> t.Callable[[], None]:
    return lambda: write_private(path, content, _MODES[path])


def _remove(path: str) -> t.Callable[[], None]:
    def do() -> None:
        remove(path)
        remove_empty(os.path.dirname(TIMER.enabled))

    return do


def _remove_tree(path: str) -> t.Callable[[], None]:
    return lambda: shutil.rmtree(path, ignore_errors=True)
