# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""clang and llvm-objdump on the target."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import re
import sys
import typing as t

from ..errors import FleetError
from ..state.trusted import check_for_later, is_trusted
from .elf import TARGETS

PURPOSE = "to compile and load"
Run = t.Callable[..., t.Tuple[int, str, str]]  # AnsibleModule.run_command

HEADERS = {
    "bpf": "libbpf-dev on Debian and Ubuntu, libbpf-devel on Fedora, RHEL and SUSE",
    "linux": "linux-libc-dev on Debian and Ubuntu, kernel-headers on Fedora and RHEL, linux-glibc-devel on SUSE",
}
HEADERS["asm"] = HEADERS["asm-generic"] = HEADERS["linux"]
ELSEWHERE = (
    "or build on the controller, which needs no compiler here: xdp_build: controller (role xdp), or xdp_counter_build:"
    " controller (role xdp_counter)"
)


class Compiler(t.NamedTuple):
    """A clang, identified by its file: asking it for its version takes longer than the rest of a run."""

    path: str
    size: int
    mtime_ns: int


class Source(t.NamedTuple):
    """A C file; `path` is its path on the target, now or later."""

    path: str
    content: bytes


def find_compiler(clang: str, allow_unsafe: bool) -> Compiler:
    path = next(_executables(clang or ""), None)
    if not path:
        raise FleetError(
            f"{clang} is not on this host: install the package clang (and, for its headers, {HEADERS['bpf']}),"
            f" or set the option clang to its path; {ELSEWHERE}"
        )
    if not allow_unsafe:
        check_for_later(path, PURPOSE)
    real = os.path.realpath(path)
    found = os.stat(real)
    return Compiler(real, found.st_size, found.st_mtime_ns)


def which(name: str) -> t.Optional[str]:
    """A tool, by name or path; never one that other users can change, as root is going to run it."""
    return next(filter(is_trusted, _executables(name)), None)


def _executables(name: str) -> t.Iterator[str]:
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/local/bin", "/usr/bin"]
    paths = [name] if "/" in name else [f"{folder}/{name}" for folder in folders]
    return (path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK))


def arguments(
    defines: t.Mapping[str, t.Any],
    cflags: t.Sequence[str],
    include_dirs: t.Sequence[str],
    cpu: str,
    byte_order: str = sys.byteorder,
) -> t.List[str]:
    """The compiler flags, as they are recorded beside the object."""
    named = []
    for name, value in sorted(defines.items()):
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise FleetError(f"defines: {name!r} is not the name of a C macro")
        value = int(value) if isinstance(value, bool) else value
        named.append(f"-D{name}" if value is None or value == "" else f"-D{name}={value}")
    relative = [folder for folder in include_dirs if not os.path.isabs(folder)]
    if relative:
        raise FleetError(f"include_dirs: {relative[0]} is not an absolute path")
    includes = [f"-I{folder}" for folder in include_dirs]
    target = "bpf" if byte_order == sys.byteorder else TARGETS[byte_order]
    return ["-O2", "-g", "-target", target, f"-mcpu={cpu}", *named, *includes, *cflags]


def find_llvm_objdump(beside: t.Optional[str] = None) -> t.Optional[str]:
    """The one in the folder of `beside`, or on the PATH, or with a version in its name, as with Debian's clang."""
    import glob  # imported here, because a target loads what it imports

    versioned = glob.glob("/usr/bin/llvm-objdump-[0-9]*") + glob.glob("/usr/lib*/llvm*/bin/llvm-objdump")
    newest_first = sorted(versioned, key=lambda path: [int(each) for each in re.findall(r"\d+", path)], reverse=True)
    first = [os.path.join(os.path.dirname(beside), "llvm-objdump")] if beside else []
    return next(filter(None, map(which, [*first, "llvm-objdump", *newest_first])), None)
