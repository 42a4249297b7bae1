# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host at each tick of a systemd timer: has ansible-pull keep the host as a git repository declares it.

pull.pyz is this package in one file, as boot.pyz is. ansible-pull runs two playbooks: one of ours, in which the same
file prepares the run (`pull.pyz prepare`) once the repository is there, and the user's.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
import typing as t

from ..entry import message_of
from ..errors import FleetError
from ..persist.packing import packed
from ..state.places import PULL, PULLING
from ..state.private_files import make_folder, remove, write_private
from ..state.trusted import check_trusted, read_trusted
from .settings import (
    ANSIBLE_HOME,
    CHECKOUT,
    COLLECTIONS,
    KEY,
    KNOWN_HOSTS,
    LAST,
    REFUSED,
    RUNNER,
    SETTINGS,
    Settings,
    read,
)

AGAIN = 24 * 3600  # seconds after which a commit that was rolled back is tried again
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALLED_OF = f"{ANSIBLE_HOME}/collections.of"
_PREPARED = f"{PULLING}/prepared"
_ROLLED_BACK = f"{PULLING}/rolled_back"  # written by deploy/provisional.py
_PLAYBOOK = f"{PULLING}/prepare.yml"
_PREPARE = """\
- name: Prepare this host's own run
  hosts: all
  gather_facts: false
  become: false
  tasks:
    - name: Install the collections that the repository requires, if they are others than before
      ansible.builtin.command:
        argv: [/bin/sh, {runner}, prepare]
      changed_when: false
"""
_HINT = (
    "install it from the distribution (Debian 13: apt-get install ansible-core git), or in a virtual environment"
    " (python3 -m venv /opt/ansible && /opt/ansible/bin/pip install ansible-core), and set"
    " command (xdp_pull_command) to"
    " its ansible-pull, such as /opt/ansible/bin/ansible-pull"
)


def runner() -> bytes:
    """pull.pyz: this package as a file that sh can run."""
    return packed("pulling.runner", "this host does not keep itself as declared")


def main(arguments: t.Sequence[str]) -> int:
    """pull.pyz [prepare]. Prints what it did, or why not, for the journal."""
    try:
        if list(arguments) == ["prepare"]:
            _prepare()
            return 0
        return _run()
    except (FleetError, OSError, ValueError) as error:
        sys.stderr.write(f"{message_of(error)}\n")
        return 1


def found_command(settings: Settings) -> str:
    """The path of ansible-pull. Raises FleetError if it is missing, or if others than root could change it."""
    path = shutil.which(settings.command, path=PATH)
    if not path:
        raise FleetError(f"this host has no {settings.command}, with which it would keep itself as declared; {_HINT}")
    check_trusted(path, "to run as root")
    return path


def settings_here() -> Settings:
    content = read_trusted(SETTINGS, "to run by as root")
    if content is None:
        raise FleetError(f"there is no {SETTINGS}; run the playbook ebpf.fleet.pull for this host again")
    try:
        return read(content)
    except ValueError as error:
        raise FleetError(
            f"{SETTINGS} is damaged: {error}; run the playbook ebpf.fleet.pull for this host again"
        ) from error


# A run


def _run() -> int:
    began = time.time()
    make_folder(PULLING)  # systemd has made it, unless this is run by hand
    for path in (_PREPARED, _ROLLED_BACK):
        remove(path)
    write_private(_PLAYBOOK, _PREPARE.format(runner=RUNNER).encode())
    make_folder(f"{COLLECTIONS}/ansible_collections")  # Ansible takes note of it only if it is there when it starts
    settings: t.Optional[Settings] = None
    try:
        settings = settings_here()
        command = [found_command(settings), *arguments_of(settings)]
        status, lines = _streamed(command, environment(settings, command[0]))
        problem = _problem(settings, status, lines)
    except (FleetError, OSError) as error:
        problem = message_of(error)
    prepared = _json(_PREPARED)
    _note(began, prepared.get("commit"), problem)
    shutil.rmtree(PULLING, ignore_errors=True)
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(
        f"this host is as {t.cast(Settings, settings).repository} declares it in {prepared.get('commit')}\n"
    )
    return 0


def arguments_of(settings: Settings) -> t.List[str]:
    """Those of ansible-pull. The connection is given as a variable, as the inventory may say ssh."""
    found = ["--url", settings.repository, "--directory", CHECKOUT, "--clean"]
    if settings.version:
        found += ["--checkout", settings.version]
    found += ["--inventory", settings.inventory, "--limit", settings.name]
    found += ["--extra-vars", json.dumps({"ansible_connection": "local", "xdp_pulled": True})]
    if settings.ssh[0]:
        found += ["--private-key", KEY]
    if settings.verify_commit:
        found.append("--verify-commit")
    return [*found, _PLAYBOOK, settings.playbook]


def environment(settings: Settings, command: str) -> t.Dict[str, str]:
    """Without what a user who starts this by hand has set for Ansible or git. All that Ansible keeps is in PULL."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    found = {
        "HOME": home,
        "PATH": f"{os.path.dirname(command)}:{PATH}",
        "LC_ALL": "C.UTF-8",  # a service has no locale, and Ansible requires UTF-8
        "NO_COLOR": "1",
        "ANSIBLE_HOME": ANSIBLE_HOME,
        "ANSIBLE_REMOTE_TEMP": f"{ANSIBLE_HOME}/tmp",
        "ANSIBLE_ASYNC_DIR": f"{ANSIBLE_HOME}/async",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",  # whose output is read below
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",  # the journal has all of it already
        "GIT_TERMINAL_PROMPT": "0",
    }
    if settings.ssh[1]:
        found["GIT_SSH_OPTS"] = (
            f"-o UserKnownHostsFile={KNOWN_HOSTS} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
        )
    for name in ("http_proxy", "https_proxy", "no_proxy", "SSH_AUTH_SOCK"):
        if name in os.environ:
            found[name] = os.environ[name]
    return found


def _streamed(command: t.Sequence[str], env: t.Mapping[str, str]) -> t.Tuple[int, t.List[str]]:
    """The status of a command, and its output, which is printed as it comes; what it says of errors comes last.

    Line by line, as ansible-pull hands on what it reads of both in pieces.
    """
    said: t.Tuple[t.List[str], t.List[str]] = [], []

    def hand_on(source: t.IO[str], to: t.IO[str], lines: t.List[str]) -> None:
        for line in source:
            to.write(line)
            to.flush()
            lines.append(line.rstrip("\n"))

    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=PULL,
        env=dict(env),
    ) as process:
        errors = threading.Thread(target=hand_on, args=(process.stderr, sys.stderr, said[1]))
        errors.start()
        hand_on(t.cast(t.IO[str], process.stdout), sys.stdout, said[0])
        errors.join()
    return process.returncode, [*said[0], *said[1]]


def _problem(settings: Settings, status: int, lines: t.Sequence[str]) -> str:
    """What has failed, in a sentence; empty if nothing has."""
    prepared = _json(_PREPARED)
    if not status and "commit" in prepared and "error" not in prepared:
        return ""
    where = f"{settings.repository}" + (f" at {settings.version}" if settings.version else "")
    if "error" in prepared:
        return str(prepared["error"])
    if "commit" not in prepared:
        return _before_prepared(settings, where, lines)
    commit, why = str(prepared["commit"]), ""
    with contextlib.suppress(OSError), open(_ROLLED_BACK, encoding="utf-8", errors="replace") as file:
        why = file.read()
    if why:
        write_private(REFUSED, json.dumps({"commit": commit, "at": int(time.time()), "why": why}).encode())
        return f"commit {commit} of {where} was rolled back: {why}. It is not tried again today"
    return f"{settings.playbook} of commit {commit} of {where} failed: {said_by_ansible(lines)}"


def _before_prepared(settings: Settings, where: str, lines: t.Sequence[str]) -> str:
    """Then nothing was changed on the host."""
    nothing = "; nothing was changed"
    if not any(re.search(r"\b(FAILED|UNREACHABLE)!", line) for line in lines):  # then the repository is there
        for kind, path in (("playbook", settings.playbook), ("inventory", settings.inventory)):
            if not os.path.exists(f"{CHECKOUT}/{path}"):
                return f"{where} has no {kind} {path}{nothing}"
        if any("leaves us with no targets" in line for line in lines):
            return f"{settings.inventory} of {where} has no host {settings.name}, which this host is{nothing}"
    return f"{where} could not be used: {said_by_ansible(lines)}{nothing}"


def said_by_ansible(lines: t.Sequence[str]) -> str:
    """Its last error, in one line, of the output of ansible, ansible-pull or ansible-playbook."""
    for number in range(len(lines) - 1, -1, -1):
        found = re.match(r"(?:fatal: )?\[?[^\s|]+\]?:? ?\|? ?(?:FAILED!|UNREACHABLE!|FAILED) ?=> (\{.*)", lines[number])
        if found:
            return _message("\n".join([found[1], *lines[number + 1 :]]))
        error = re.match(r"(?:\[ERROR\]: |ERROR! )(.+)", lines[number])
        if error and not error[1].startswith("Task failed"):
            return error[1]
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _message(text: str) -> str:
    """Of a result, which may go over several lines, and others may follow."""
    try:
        result = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        return text.split("\n", 1)[0]
    words = [str(result.get("msg", "")).strip(), str(result.get("stderr", "")).strip()]
    both = [each for at, each in enumerate(words) if each and (not at or each not in words[0])]
    return " ".join("; ".join(both).split()) or "it did not say why"


def _note(began: float, commit: t.Optional[str], problem: str) -> None:
    """For those who ask when this host has last been kept as declared."""
    before = _json(LAST)
    now = {"at": int(began), "commit": commit, "problem": problem or None}
    kept = {"kept_at": int(began), "kept_commit": commit}
    if problem:
        kept = {name: before.get(name) for name in kept}
    write_private(LAST, (json.dumps({**now, **kept}) + "\n").encode())


def _json(path: str) -> t.Dict[str, t.Any]:
    """Of a file of ours; empty if it is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


# Within it, when the repository is there


def _prepare() -> None:
    """Raises FleetError if the playbook is not to be run."""
    settings = settings_here()
    commit = _git("rev-parse", "HEAD")
    try:
        refused = _json(REFUSED)
        if refused.get("commit") == commit and time.time() - refused.get("at", 0) < AGAIN:
            raise FleetError(
                f"commit {commit} of {settings.repository} was rolled back before, and is not tried again today:"
                f" {refused.get('why')}. Another commit is; or remove {REFUSED}"
            )
        remove(REFUSED)
        _install_collections()
    except (FleetError, OSError) as error:
        write_private(_PREPARED, json.dumps({"commit": commit, "error": message_of(error)}).encode())
        raise
    write_private(_PREPARED, json.dumps({"commit": commit}).encode())


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", CHECKOUT, *words], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise FleetError(f"git {' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _install_collections() -> None:
    """As the repository requires; only if what it has in collections/ is different from what was installed of it."""
    required = f"{CHECKOUT}/collections/requirements.yml"
    if not os.path.exists(required):
        return
    tree = _git("rev-parse", "HEAD:collections")
    with contextlib.suppress(OSError), open(_INSTALLED_OF, encoding="ascii") as file:
        if file.read().strip() == tree:
            return
    new, old = f"{COLLECTIONS}.new", f"{COLLECTIONS}.old"
    for each in (new, old):
        shutil.rmtree(each, ignore_errors=True)
    galaxy = shutil.which("ansible-galaxy") or "ansible-galaxy"
    command = [galaxy, "collection", "install", "--requirements-file", required, "--collections-path", new]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=CHECKOUT, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split()) or "it did not say why"
        raise FleetError(f"collections/requirements.yml could not be installed; nothing was changed: {said}")
    remove(_INSTALLED_OF)
    os.rename(COLLECTIONS, old)
    os.rename(new, COLLECTIONS)
    write_private(_INSTALLED_OF, tree.encode())
    shutil.rmtree(old, ignore_errors=True)
