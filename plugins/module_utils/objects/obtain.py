# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object of an xdp_program task: compiled, given in the task, or found on the target; then checked and opened."""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import os
import sys
import typing as t

from ..errors import FleetError
from ..state.files import sha256
from ..state.trusted import Read, reader
from .image import Image, ObjectFacts
from .object_file import check_kernel, inspect_to_load

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ..libbpf.library import Libbpf
    from ..state.replacing import ReplacedFile
    from .build import Build


class Obtained(t.NamedTuple):
    """`files` are to be written if they differ; `built` None: nothing was to be compiled.

    In check mode, the image has no content if the wanted object is not there yet. `lacking`: what to answer instead of
    doing anything, as the object is none of those that content_checksums has.
    """

    image: Image
    files: t.Sequence["ReplacedFile"] = ()
    built: t.Optional["Build"] = None
    lacking: t.Optional[t.Dict[str, t.Any]] = None

    def steps(self, written: t.Sequence["ReplacedFile"]) -> t.List[str]:
        """What writing these files changes, in words."""
        return self.built.steps(written) if self.built else [f"write {file.path}" for file in written]

    def diff(self, written: t.Sequence["ReplacedFile"]) -> t.Dict[str, t.Any]:
        """'before' and 'after' of what the object is compiled from; empty if that does not change."""
        return self.built.diff() if self.built and self.steps(written) else {}


def obtain(module: "AnsibleModule", lib: "Libbpf") -> Obtained:
    """As the options object, content, build, checksum and allow_unsafe_paths say. Raises FleetError."""
    options = module.params
    if options["checksum"]:
        options["checksum"] = options["checksum"].lower()
    if options["build"] is None:
        return _find(module, lib)
    from .build import make_in_task  # imported here, because a target compiles what it imports

    built = make_in_task(module, lib)
    if built is None:
        return Obtained(Image(ObjectFacts(options["object"], options["checksum"])))
    _check_checksum(module, built.content)
    check_kernel(built.inspected.elf, options["object"])
    return Obtained(built.inspected.image, built.files, built)


def _find(module: "AnsibleModule", lib: "Libbpf") -> Obtained:
    path, wanted, given = module.params["object"], module.params["checksum"], module.params["content"]
    if not os.path.isabs(path) or os.path.isdir(path):
        raise FleetError(f"object {path} is not the absolute path of a file")
    read = reader(module.params["allow_unsafe_paths"], "to load")
    found = read(path)
    if given is not None:
        return _given(module, lib, given, read)
    if module.params["content_checksums"] is not None:
        there = None if found is None else sha256(found)
        if found is None or there not in [each.lower() for each in module.params["content_checksums"]]:
            return Obtained(Image(), lacking={"byte_order": sys.byteorder, "checksum": there})
        return _with_content(module, lib, found, read)
    if found is None:
        if module.check_mode:
            return Obtained(Image(ObjectFacts(path, wanted)))
        raise FleetError(
            f"there is no object {path} on this host; build it with ebpf.fleet.bpf_object, or copy it there"
        )
    if module.check_mode and wanted and wanted != sha256(found):
        module.warn(
            f"{path} has the checksum {sha256(found)}, not {wanted} yet: check mode assumes that an earlier task"
            f" puts that object there"
        )
        return Obtained(Image(ObjectFacts(path, wanted)))
    _check_checksum(module, found)
    return Obtained(inspect_to_load(lib, path, found).image)


def _given(module: "AnsibleModule", lib: "Libbpf", given: str, read: Read) -> Obtained:
    import base64

    try:
        content = base64.b64decode(given, validate=True)
    except ValueError as error:
        raise FleetError(f"content is not Base64 ({error}); pass what ansible.builtin.slurp returns") from error
    return _with_content(module, lib, content, read)


def _with_content(module: "AnsibleModule", lib: "Libbpf", content: bytes, read: Read) -> Obtained:
    """It is compared with the file, and so written if need be, once more under the lock."""
    from ..state.replacing import ReplacedFile

    path = module.params["object"]
    _check_checksum(module, content)
    return Obtained(inspect_to_load(lib, path, content).image, (ReplacedFile(module, path, content, read),))


def _check_checksum(module: "AnsibleModule", content: bytes) -> None:
    wanted = module.params["checksum"]
    if wanted and wanted != sha256(content):
        raise FleetError(
            f"{module.params['object']} has the checksum {sha256(content)}, not {wanted}: refused, and nothing was"
            f" changed"
        )
