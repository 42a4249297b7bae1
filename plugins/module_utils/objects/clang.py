# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run clang. Apart from build.py, as most runs find an object that is up to date."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import typing as t

from ..errors import FleetError
from ..state.trusted import check_for_later, read_trusted
from .toolchain import ELSEWHERE, HEADERS, PURPOSE, Compiler, Run, Source

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_CROSS = {
    "little": "linux-libc-dev-amd64-cross: /usr/x86_64-linux-gnu/include",
    "big": "linux-libc-dev-s390x-cross: /usr/s390x-linux-gnu/include",
}


class Built(t.NamedTuple):
    """An object, the headers that it includes, and clang's version, as clang prints it.

    `begun_ns`: when it was compiled, as files have it in st_ctime_ns.
    """

    content: bytes
    headers: t.Tuple[str, ...]
    version: str
    begun_ns: int


def compiled(
    module: AnsibleModule, compiler: Compiler, source: Source, flags: t.Sequence[str], byte_order: str
) -> Built:
    """In a temporary folder. Raises FleetError."""
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        unsafe = module.params["allow_unsafe_paths"]
        built = compile_object(module.run_command, compiler, source, flags, folder, unsafe)
        if byte_order != sys.byteorder:
            check_headers(source, built.headers, byte_order)
        return built
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_headers(source: Source, headers: t.Iterable[str], byte_order: str) -> None:
    """Raises FleetError if one of `headers` says that the byte order is the other one, as this machine's own do.

    Such an object would be compiled without a word, and read the fields of packets in the wrong order.
    """
    wrong = {"little": "big", "big": "little"}[byte_order]
    found = next((path for path in headers if path.endswith(f"linux/byteorder/{wrong}_endian.h")), None)
    if found:
        raise FleetError(
            f"{source.path} cannot be compiled here for {byte_order}-endian hosts: it includes {found}, by a header of"
            f" this architecture; name a folder with the headers of such a host in include_dirs (on Debian, the"
            f" package {_CROSS[byte_order]}), or compile it on such a host"
        )


def check_arguments(arguments: t.Iterable[str], folder: str) -> None:
    """Raises FleetError if other users can change what these flags name: folders, headers, plugins, files of flags.

    `folder` is that in which clang runs.
    """
    before = ""
    for word in arguments:
        for path in _paths_in(word):
            path = os.path.join(folder, path)
            check_for_later(path, PURPOSE)
            if word.startswith(("@", "--config=")) or before == "--config":
                text = (read_trusted(path, PURPOSE) or b"").decode(errors="replace")
                check_arguments(text.replace('"', " ").replace("'", " ").split(), folder)
        before = word


def _paths_in(word: str) -> t.Iterator[str]:
    """Those in a flag such as -I/opt, -fplugin=/opt/a.so, @/opt/flags or -Wp,-include,/opt/a.h."""
    if not re.match(r"-[DU]|-f\w+-prefix-map=", word):  # they only replace text
        for part in word.split(","):
            found = re.search(r"(?:^|^-[\w-]+|[=@:])(\.{0,2}/.*)", part)
            if found:
                yield found.group(1)


def compile_object(
    run: Run, compiler: Compiler, source: Source, flags: t.Sequence[str], folder: str, allow_unsafe: bool
) -> Built:
    """Compile in the temporary `folder`. Which headers clang reads is known only afterwards: the caller checks them.

    The object does not show where it was built: the same source, headers, flags and compiler give the
    same bytes in any folder of any host. Raises FleetError with clang's own words.
    """
    if not allow_unsafe:
        check_arguments(flags, folder)
    version, includes = _ask(run, compiler)
    home, name = os.path.split(source.path)
    copy, out, depends = (os.path.join(folder, each) for each in (name, "object", "depends"))
    with open(copy, "wb") as file:
        file.write(source.content)
    begun = os.stat(copy).st_ctime_ns
    code, said, errors = run(
        [
            compiler.path,
            *flags,
            *includes,
            f"-iquote{home}",
            f"-ffile-prefix-map={folder}=.",
            "-MD",
            f"-MF{depends}",
            "-c",
            copy,
            "-o",
            out,
        ],
        cwd=folder,
        errors="replace",
    )
    if code == 0 and not os.path.exists(out):
        raise FleetError(f"{compiler.path} wrote no object for {source.path}: does its name end in .c?")
    if code:
        words = (errors or said).replace(folder, home).strip()
        raise FleetError(f"{source.path} does not compile: {compiler.path} says:\n{words}{_remedy(words)}")
    with open(out, "rb") as file:
        content = file.read()
    with open(depends, encoding="utf-8", errors="surrogateescape") as file:
        rule = file.read().replace("\\\n", " ").split("\n", 1)[0]
    paths = rule.split(":", 1)[1]
    headers = [os.path.join(folder, _unescape(path)) for path in re.findall(r"(?:\\ |\S)+", paths)]
    return Built(content, tuple(sorted(set(headers) - {copy})), version, begun)


def _unescape(path: str) -> str:
    """A path that Make has escaped."""
    return path.replace("\\ ", " ").replace("\\#", "#").replace("$$", "$")


def _ask(run: Run, compiler: Compiler) -> t.Tuple[str, t.List[str]]:
    """Its version, and flags that append its own search path: for -target bpf it omits /usr/include/ARCHITECTURE."""
    code, out, err = run([compiler.path, "-v", "-E", "-x", "c", "/dev/null"], errors="replace")
    if code:
        raise FleetError(f"{compiler.path} -v -E failed: {(err or out).strip()}")
    version = re.search(r".*\bclang version .*", err) or re.search(r".+", err)
    found = re.search(r"#include <\.\.\.>.*?\n(.*?)End of search list", err, re.S)
    folders = [line.strip() for line in found.group(1).splitlines()] if found else []
    return version.group().strip() if version else "", [word for each in folders for word in ("-idirafter", each)]


def _remedy(words: str) -> str:
    missing = re.search(r"'(([\w-]+)/[^']+)' file not found", words)
    package = HEADERS.get(missing.group(2)) if missing else None
    return f"\nThe header {missing.group(1)} is in the package {package}; {ELSEWHERE}" if missing and package else ""
