# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that use the kernel of this machine: a host, a fleet, compiled objects."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import typing as t

import pytest
from commands import sh
from fleet import Fleet
from host import Host
from paths import BPF, ROOT

RELEASE = "2512cf6"  # the commit of the previous release
PARTS = ("galaxy.yml", "meta", "plugins", "roles", "playbooks", "files")


@pytest.fixture(scope="session", autouse=True)
def _prerequisites() -> None:
    """Check that the tests can run here, and fail with the reason if not."""
    # A shell that runs this in the background has it ignore SIGINT, and so would all modules that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert os.geteuid() == 0, "these tests load BPF programs: run them as root (make test uses sudo)"
    if not os.path.exists("/sys/fs/bpf/maps.debug") and not os.path.ismount("/sys/fs/bpf"):
        sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    os.chmod("/sys/fs/bpf", 0o700)  # as systemd mounts it; bpf_facts would call anything else a problem
    if not os.path.isdir("/sys/kernel/tracing/instances"):
        sh("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")


@pytest.fixture
def host() -> t.Iterator[Host]:
    with contextlib.closing(Host(f"ebpf-test-{os.getpid()}")) as made:
        yield made


@pytest.fixture
def host_names() -> t.Sequence[str]:
    """The hosts of `fleet`. A test file that needs different ones defines its own fixture of this name."""
    return ("one", "two")


@pytest.fixture
def fleet(tmp_path: pathlib.Path, host_names: t.Sequence[str]) -> t.Iterator[Fleet]:
    with contextlib.closing(Fleet(tmp_path, host_names)) as made:
        yield made


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[..., str]:
    """compiled(SOURCE, NAME=VALUE…): an object built once per session, from files/bpf, examples or the tests."""
    folder = tmp_path_factory.mktemp("objects")

    def compile_object(source: str, **defines: int) -> str:
        words = "".join(f"-{name}{value}" for name, value in sorted(defines.items()))
        path = folder / f"{source}{words}.bpf.o"
        if not path.exists():
            home = next(
                each
                for each in (BPF, ROOT / "files/bpf", ROOT / "examples" / source)
                if (each / f"{source}.bpf.c").exists()
            )
            flags = " ".join(f"-D{name}={value}" for name, value in defines.items())
            shutil.copy(home / f"{source}.bpf.c", folder)
            sh("make", "-s", "-f", ROOT / "files/bpf/Makefile", f"CFLAGS=-Wall {flags}", f"{source}.bpf.o", cwd=folder)
            (folder / f"{source}.bpf.o").rename(path)
        return str(path)

    return compile_object


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A collections folder that contains the previous release."""
    collections = tmp_path_factory.mktemp("release")
    home = collections / "ansible_collections/ebpf/fleet"
    home.mkdir(parents=True)
    try:
        archive = subprocess.run(
            ["git", "archive", RELEASE, *PARTS], cwd=ROOT, capture_output=True, check=True, env=_git_environment()
        )
    except FileNotFoundError:
        pytest.fail("git, which checks out the previous release, is not installed: type `apt-get install git`")
    except subprocess.CalledProcessError as error:
        pytest.fail(
            f"the previous release, commit {RELEASE}, is not in the history of {ROOT}"
            f" ({error.stderr.decode().strip()}): type `git -C {ROOT} fetch --unshallow`,"
            " or clone the repository again, with its history"
        )
    subprocess.run(["tar", "--extract", "--directory", home], input=archive.stdout, check=True)
    return collections


def _git_environment() -> t.Dict[str, str]:
    """Let git work when root runs the tests in a different user's checkout."""
    return {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
