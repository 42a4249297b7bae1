# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a dispatcher, in its only map: struct xdp_dispatcher_config of libxdp, versions 1 to 3. Pure.

lib/libxdp/protocol.org of xdp-tools describes what a dispatcher is, and what each field means.
"""

# No annotations from __future__: with them a target takes twice as long to create each NamedTuple.
import struct
import typing as t

ACTIONS = ("aborted", "drop", "pass", "tx", "redirect")  # by the number of each: enum xdp_action
SLOTS = 10  # MAX_DISPATCHER_ACTIONS
EMPTY = 31  # XDP_DISPATCHER_RETVAL: what the function of an empty slot returns
DEFAULT_PRIORITY, DEFAULT_ACTIONS = 50, ("pass",)  # XDP_DEFAULT_RUN_PRIO, XDP_DEFAULT_CHAIN_CALL_ACTIONS
VERSIONS = (2, 3)  # those that can be made; one of version 1 can only be read

_MAGIC = 236
_FRAGS = 1 << 5  # BPF_F_XDP_HAS_FRAGS
_VERSION_1 = struct.Struct("=B3x20I")
_VERSION_2 = struct.Struct("=4B30I")


class Slot(t.NamedTuple):
    """Where a program stands in a dispatcher: lower priorities run first.

    `actions`: after which of its own the next program runs, in the order of ACTIONS. frags: it takes packets of several
    buffers.
    """

    priority: int = DEFAULT_PRIORITY
    actions: t.Tuple[str, ...] = DEFAULT_ACTIONS
    frags: bool = False

    def __str__(self) -> str:
        return f"priority {self.priority}, {words_of(self.actions)}"


class Config(t.NamedTuple):
    """`frags`: the dispatcher itself takes packets of several buffers, as all its programs do."""

    version: int
    slots: t.Tuple[Slot, ...]
    frags: bool = False


class Unreadable(ValueError):
    """The map does not have the configuration of a dispatcher that is known here; the text says what is there."""


def in_order(actions: t.Iterable[str]) -> t.Tuple[str, ...]:
    """Each action once, in the order of ACTIONS."""
    given = set(actions)
    return tuple(each for each in ACTIONS if each in given)


def words_of(actions: t.Sequence[str]) -> str:
    return f"the next program runs after {' or '.join(actions)}" if actions else "no program runs after it"


def bits_of(actions: t.Iterable[str]) -> int:
    """With that of an empty slot, after which the next program always runs."""
    return sum(1 << ACTIONS.index(each) for each in actions) | 1 << EMPTY


def _actions_of(bits: int) -> t.Tuple[str, ...]:
    return tuple(each for number, each in enumerate(ACTIONS) if bits >> number & 1)


def pack(config: Config) -> bytes:
    if config.version not in VERSIONS:
        raise ValueError(f"a dispatcher of version {config.version} cannot be made")
    slots, rest = config.slots, [0] * (SLOTS - len(config.slots))
    words = [*(bits_of(each.actions) for each in slots), *rest]
    words += [*(each.priority for each in slots), *rest]
    words += [*(_FRAGS if each.frags else 0 for each in slots), *rest]
    data = _VERSION_2.pack(_MAGIC, config.version, len(slots), config.frags, *words)
    return data + (bytes(4) if config.version == 3 else b"")  # whether it is bound to a device, and padding


def unpack(data: bytes) -> Config:
    """Raises Unreadable."""
    if len(data) == _VERSION_1.size:
        count, *words = _VERSION_1.unpack(data)
        return Config(1, _slots(count, words[:SLOTS], words[SLOTS:], [0] * SLOTS))
    if len(data) < _VERSION_2.size or data[0] != _MAGIC:
        raise Unreadable("its map does not have the configuration of a libxdp dispatcher")
    _magic, version, count, frags, *words = _VERSION_2.unpack_from(data)
    if version not in VERSIONS:
        raise Unreadable(f"it is a libxdp dispatcher of version {version}, and only versions 1 to 3 are known here")
    slots = _slots(count, words[:SLOTS], words[SLOTS : 2 * SLOTS], words[2 * SLOTS :])
    return Config(version, slots, bool(frags))


def _slots(
    count: int, actions: t.Sequence[int], priorities: t.Sequence[int], flags: t.Sequence[int]
) -> t.Tuple[Slot, ...]:
    if count > SLOTS:
        raise Unreadable(f"its configuration has {count} programs, and there can be {SLOTS}")
    every = zip(priorities[:count], actions, flags)
    return tuple(Slot(priority, _actions_of(bits), bool(flag & _FRAGS)) for priority, bits, flag in every)
