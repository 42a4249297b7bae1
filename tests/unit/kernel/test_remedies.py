# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users read about an error number, on hosts that cannot be had here: locked down, filtered, out of space."""

from __future__ import annotations

import ctypes
import errno
import os
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.counting import trace
from ansible_collections.ebpf.fleet.plugins.module_utils.deploy import apply
from ansible_collections.ebpf.fleet.plugins.module_utils.entry import message_of
from ansible_collections.ebpf.fleet.plugins.module_utils.errors import FleetError, said
from ansible_collections.ebpf.fleet.plugins.module_utils.inspection import dump
from ansible_collections.ebpf.fleet.plugins.module_utils.kernel import mounts, remedies
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.library import BpfError

ROOT = "Uid: 0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
HOST = "         0          0 4294967295"
Say = t.Callable[..., None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """say(lockdown=…, status=…, uid_map=…): what the host's files contain."""

    def set_files(lockdown: str = "", status: str = ROOT, uid_map: str = HOST) -> None:
        files = {remedies.LOCKDOWN: lockdown, "/proc/self/status": status, "/proc/self/uid_map": uid_map}
        monkeypatch.setattr(remedies, "read_text", files.__getitem__)

    set_files()
    return set_files


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("none integrity [confidentiality]", "confidentiality"),
        ("none [integrity] confidentiality", "integrity"),
        ("[none] integrity confidentiality", "none"),
        ("", None),
    ],
)
def test_lockdown(say: Say, text: str, state: t.Optional[str]) -> None:
    say(lockdown=text)
    assert remedies.lockdown() == state
    in_force = f"the kernel is locked down for {state} (/sys/kernel/security/lockdown)"
    assert remedies.locked_down().startswith(in_force) == (state in ("integrity", "confidentiality"))


@pytest.mark.parametrize("state", ["integrity", "confidentiality"])
def test_what_a_lockdown_forbids_says_so(say: Say, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    say(lockdown=f"none [{state}]")
    words = f"the kernel is locked down for {state}"
    assert words in message_of(BpfError(errno.EPERM, "bpf_prog_load"))

    class Libc:
        def mount(self, *_arguments: t.Any) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_name, **_options: Libc())
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EPERM)
    with pytest.raises(FleetError, match=words) as caught:
        mounts.mount("tracefs", "/sys/kernel/tracing")
    assert "by hand" not in str(caught.value)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EBUSY)
    with pytest.raises(FleetError, match="mount it by hand"):
        mounts.mount("tracefs", "/sys/kernel/tracing")
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.ENODEV)
    with pytest.raises(FleetError, match="this kernel has no file system of type tracefs"):
        mounts.mount("tracefs", "/sys/kernel/tracing")


def test_trace_lines_under_confidentiality(say: Say) -> None:
    say(lockdown="none integrity [confidentiality]")
    with pytest.raises(FleetError, match=r"locked down for confidentiality .* unless it is booted with lockdown=integ"):
        trace._require_event()


@pytest.mark.parametrize("words", ["unknown func bpf_probe_read#4", "program of this type cannot use helper bpf_x#4"])
def test_helpers_under_a_lockdown(say: Say, words: str) -> None:
    error = BpfError(errno.EINVAL, "bpf_prog_load", words)
    assert apply._rejection(error) == f"Invalid argument. The end of the kernel's log:\n{words}"
    say(lockdown="none integrity [confidentiality]")
    assert apply._rejection(error).startswith("Invalid argument; the kernel is locked down for confidentiality")
    assert apply._rejection(error).endswith(f"The end of the kernel's log:\n{words}")


def test_withheld_addresses_under_confidentiality(say: Say) -> None:
    say(lockdown="none integrity [confidentiality]")
    restricted = "kernel.kptr_restrict is 2"  # on this machine, or not
    assert dump._why_withheld().startswith((restricted, "the kernel is locked down for confidentiality"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "run as root with CAP_BPF"),
        ({"uid_map": "0 1000 1"}, "this runs in a user namespace"),
        ({"status": ROOT.replace("Seccomp:\t0", "Seccomp:\t2")}, "a seccomp filter is in force"),
        ({"status": "CapEff:\t0000000000200000\n"}, "this runs without CAP_NET_ADMIN, CAP_BPF: run as root"),
    ],
)
def test_why_something_is_not_permitted(say: Say, files: t.Dict[str, str], words: str) -> None:
    say(**files)
    assert remedies.not_permitted().startswith(words)
    assert words in remedies.remedy(errno.EACCES)


def test_no_error_without_its_subject_and_remedy(say: Say) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/ebpf_fleet/x")
    assert said(full) == "No space left on device: '/run/ebpf_fleet/x'"
    assert said(BpfError(errno.ENOENT, "bpf_obj_get /a")) == "bpf_obj_get /a: No such file or directory"
    assert message_of(full) == (
        "cannot use /run/ebpf_fleet/x: No space left on device; free some space there, and run again"
    )
    unnamed = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert message_of(unnamed).startswith("cannot use a call of the operating system: Too many open files; raise")
    assert message_of(BpfError(errno.ENOSYS, "bpf_obj_get /a")) == (
        "the kernel refused bpf_obj_get /a: Function not implemented;"
        " this kernel has no such call: use one with CONFIG_BPF_SYSCALL"
    )


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM])
def test_a_file_has_no_remedy_of_a_call(say: Say, number: int) -> None:
    """It has not been removed just now, and no capability for bpf() is missing."""
    say(status="CapEff:\t0000000000200000\n")
    assert message_of(OSError(number, os.strerror(number), "/etc/a b")) == (
        f"cannot use /etc/a b: {os.strerror(number)}; `namei -l '/etc/a b'` shows what is there, and who may use it"
    )
    expected = "it has just been removed" if number == errno.ENOENT else "this runs without CAP_NET_ADMIN"
    assert expected in message_of(BpfError(number, "bpf_obj_get /a"))
    assert expected in message_of(OSError(number, os.strerror(number)))
