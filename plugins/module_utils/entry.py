# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does first: find libbpf and check for root. Also turns errors into messages for the user."""

from __future__ import annotations

import contextlib
import gc
import os
import typing as t

from . import once  # first
from .errors import FleetError
from .libbpf.library import BpfError, Libbpf, LibbpfMissing

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

__all__ = (
    "PACKAGES",
    "check_given",
    "errors_to_user",
    "garbage_kept",
    "message_of",
    "once",
    "require_libbpf",
    "require_root",
)  # once, so that it does not count as unused
PACKAGES = (
    "libbpf1 (in Debian 11 and Ubuntu 20.04 and 22.04 libbpf0) on Debian, Ubuntu and SUSE,"
    " libbpf on Fedora, RHEL and Amazon Linux"
)


def require_libbpf() -> Libbpf:
    try:
        return Libbpf()
    except LibbpfMissing as error:
        raise FleetError(_missing(error)) from error


def _missing(error: LibbpfMissing) -> str:
    return (
        f"libbpf (libbpf.so.1, or libbpf.so.0 from 0.3 on) cannot be used on this host: {error};"
        f" install the package that contains it: {PACKAGES}"
    )


def require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise FleetError(f"{what} needs root and this ran as uid {os.geteuid()}; set become: true (ad hoc: --become)")


@contextlib.contextmanager
def garbage_kept() -> t.Iterator[None]:
    """Meanwhile Python does not look for cycles of garbage.

    What we do ends soon, and makes few; to look for them among a million entries takes longer than all else.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def errors_to_user(module: AnsibleModule) -> t.Iterator[None]:
    """Report an exception through fail_json()."""
    with garbage_kept():
        try:
            check_given(module)
            yield
        except (FleetError, LibbpfMissing, OSError, ValueError, OverflowError) as error:
            module.fail_json(msg=message_of(error))


def check_given(module: AnsibleModule) -> None:
    """What ansible-core checked already, once more: it takes an option that is null for one that is given."""
    from ansible.module_utils.common import validation  # here: boot.pyz has no ansible-core

    given = _given(module.params)
    try:
        validation.check_required_one_of(module.required_one_of, given)
        validation.check_required_together(module.required_together, given)
        validation.check_required_if(module.required_if, given)
        for name, spec in module.argument_spec.items():
            for each in given.get(name, ()) if "required_one_of" in spec else ():
                validation.check_required_one_of(spec["required_one_of"], _given(each), [name])
    except TypeError as error:
        raise FleetError(str(error)) from error


def _given(options: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    return {name: value for name, value in options.items() if value is not None}


def message_of(error: Exception) -> str:
    if isinstance(error, LibbpfMissing):  # too old: it lacks a call that only some modules need
        return _missing(error)
    if isinstance(error, OSError):
        from .kernel.remedies import remedy  # here: a target compiles what it imports, and rarely needs this

        path = error.filename if isinstance(error.filename, str) else None
        words = f"cannot use {path or 'a call of the operating system'}"
        if isinstance(error, BpfError):
            words = f"the kernel refused {error.action}"
        return "; ".join(filter(None, [f"{words}: {error.strerror}", remedy(error.errno or 0, path)]))
    if isinstance(error, (ValueError, OverflowError)):  # a NUL in a path, a number too large for its C type
        return f"an option has a value that cannot be used: {error}"
    return str(error)
