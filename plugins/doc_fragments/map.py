# Copyright (c) ebpf.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options about maps: how they are named, and their entries, which map_entries of xdp_program has one level down."""

from __future__ import annotations

import textwrap

_ENTRIES = r"""
entries:
  description:
    - Keys with their values, each as a dictionary of C(key) and C(value).
    - Both are typed by the program's BTF. Integers are numbers, also those in network order; enums are names; structs
      are dictionaries; arrays are lists; C(char[]) is text. Addresses are text, as V(192.0.2.1), V(2001:db8::1) or
      V(02:00:00:00:00:01), and keys of an LPM trie are prefixes, as V(192.0.2.0/24).
    - A struct value may be given in part. Then only the named members are compared and written, and the program keeps
      the others, such as a count of hits. A new entry begins with 0 in them.
    - A value of a per-CPU map is that of each CPU.
    - Without BTF, both are V(0x) and hexadecimal digits.
  type: list
  elements: dict
keys:
  description:
    - Keys that all have the same O(value), as in a list of addresses.
    - Up to some 10,000; larger lists belong into O(src), which the controller does not have to read for each host.
  type: list
  elements: raw
value:
  description:
    - The value of all O(keys), and of keys in O(src) without a value of their own. Without it all bits are 0.
  type: raw
src:
  description:
    - A file on the target with the entries, as M(ansible.builtin.copy) puts it there.
  type: path
format:
  description:
    - Format of O(src).
    - V(lines) - a key in each line. V(#) begins a comment, and empty lines are skipped.
    - V(json) - a list of keys, a list of dictionaries of C(key) and C(value), or a dictionary of values by key.
    - V(csv) - the first line names the columns. They are C(key), C(value), or members of them.
  type: str
  choices: [lines, json, csv]
  default: lines
state:
  description:
    - V(present) - the map has these entries.
    - V(absent) - the map does not have these keys.
    - An array always has all its keys. There V(absent) and O(exclusive) set values to 0.
  type: str
  choices: [present, absent]
  default: present
exclusive:
  description:
    - Remove all other entries.
  type: bool
  default: false
exclusive_within:
  description:
    - Remove other entries only if their keys have these members, as C(zone=3). Implies O(exclusive) for them.
  type: dict
replace:
  description:
    - V(in_place) - write what differs, first what is new or changed, then remove the rest. The kernel does this entry
      by entry, so for some milliseconds packets see a part of it.
    - V(at_once) - load the program once more with a new, filled map, and swap it in the link; of a map in a slot, put a
      new, filled map into the slot. Each packet sees either all of the old or all of the new entries. What the program
      writes into the map meanwhile is lost.
  type: str
  choices: [in_place, at_once]
  default: in_place
formats:
  description:
    - How to read and write members whose type does not tell, by path, as C(key.source=ipv4). Formats are V(ipv4),
      V(ipv6), V(mac), V(hex), V(text), V(number) and V(network_order).
  type: dict
diff_limit:
  description:
    - The number of entries that a diff shows. Counts are always complete.
  type: int
  default: 100
"""


_SLOT = """
slot:
  description:
    - If the map is a map of maps, the key of one of its slots. Keys and entries are then those of the map in it.
    - It is the index in an array of maps, and typed by BTF in a hash of maps.
  type: raw
"""


class ModuleDocFragment:
    DOCUMENTATION: str = r"""
options:
  name:
    description:
      - The name under which the program is deployed. Required with O(map).
    type: str
  interfaces:
    description:
      - The interfaces of the program. By default all that it is on.
    type: list
    elements: str
  map:
    description:
      - The name of the map, as in the source.
    type: str
  pinned:
    description:
      - Path of any other pinned map, in the place of O(name) and O(map).
    type: path
  allow_unsafe_paths:
    description:
      - Use pins and files even if users other than root can change them.
    type: bool
    default: false""" + textwrap.indent(_SLOT, " " * 2)

    ENTRIES: str = "options:" + textwrap.indent(_ENTRIES, " " * 2)

    WITHIN_XDP_PROGRAM: str = r"""
options:
  map_entries:
    description:
      - Entries of maps. They are written before the program is attached, or swapped in, so it never runs on an empty
        list.
    type: list
    elements: dict
    version_added: 0.2.0
    suboptions:
      map:
        description: The name of the map, as in the source.
        type: str
        required: true""" + textwrap.indent((_SLOT.rstrip() + _ENTRIES).replace("O(", "O(map_entries[]."), " " * 6)
