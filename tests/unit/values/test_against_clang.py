# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The codec against clang, for both byte orders: generated types in C, each with an initialised variable.

The bytes that clang writes into the object are those that the codec must make of the same value.
"""

from __future__ import annotations

import random
import struct
import subprocess
import typing as t

import pytest
from ansible_collections.ebpf.fleet.plugins.module_utils.libbpf.layouts import Layout, Layouts
from ansible_collections.ebpf.fleet.plugins.module_utils.values.codec import codec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

EXAMPLES = 60  # types in one source
ORDERS = {"little": ("bpfel", "<"), "big": ("bpfeb", ">")}
HEAD = """
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef int number;
#ifdef __BIG_ENDIAN__
#define BE16(x) (x)
#define BE32(x) (x)
#define BE64(x) (x)
#else
#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)
#define BE64(x) __builtin_bswap64(x)
#endif
enum action { ABORTED, DROP, PASS = 7, LAST = 2000000000 };
enum around { BELOW = -5, ZERO = 0, ABOVE = 5 };
enum __attribute__((packed)) small { FEW = 1, MANY = 200 };
"""
ENUMS = {
    "enum action": {"ABORTED": 0, "DROP": 1, "PASS": 7, "LAST": 2000000000},
    "enum around": {"BELOW": -5, "ZERO": 0, "ABOVE": 5},
    "enum small": {"FEW": 1, "MANY": 200},
}
INTEGERS = {  # bits, and whether they are signed
    "char": (8, True),
    "signed char": (8, True),
    "__u8": (8, False),
    "short": (16, True),
    "__u16": (16, False),
    "number": (32, True),
    "__u32": (32, False),
    "const volatile unsigned int": (32, False),
    "long": (64, True),
    "__u64": (64, False),
}
NETWORK = {"__be16": 16, "__be32": 32, "__be64": 64}


class Made(t.NamedTuple):
    """A type and a value of it. In C the declared name goes between `before` and `after`."""

    before: str
    after: str
    initial: str
    value: t.Any


def limits(bits: int, signed: bool) -> t.Tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def literal(number: int, signed: bool = False) -> str:
    if number == -(2**63):
        return "(-9223372036854775807LL - 1)"
    return f"{number}{'LL' if signed else 'ULL'}"


class Generator:
    """Random types and values. Sixty nested types are more than hypothesis' own strategies can draw at once."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def fresh(self) -> str:
        self.names += 1
        return f"m{self.names}"

    def any(self, depth: int = 0) -> Made:
        kinds = ["integer"] * 4 + ["network", "enum", "bool", "float", "text"]
        if depth < 3:
            kinds += ["struct"] * 4 + ["union", "array", "array"]
        return t.cast(Made, getattr(self, self.random.choice(kinds))(*([depth] if depth < 3 else [3])))

    def within(self, low: int, high: int) -> int:
        return self.random.choice([low, high, self.random.randint(low, high), self.random.randint(low, high)])

    def integer(self, _depth: int) -> Made:
        name, (bits, signed) = self.random.choice(list(INTEGERS.items()))
        number = self.within(*limits(bits, signed))
        return Made(name, "", literal(number, signed), number)

    def network(self, _depth: int) -> Made:
        name, bits = self.random.choice(list(NETWORK.items()))
        number = self.within(*limits(bits, False))
        return Made(name, "", f"BE{bits}({literal(number)})", number)

    def enum(self, _depth: int) -> Made:
        kind = self.random.choice(list(ENUMS))
        name = self.random.choice(list(ENUMS[kind]))
        return Made(kind, "", name, name)

    def bool(self, _depth: int) -> Made:
        value = self.random.random() < 0.5
        return Made("_Bool", "", str(int(value)), value)

    def float(self, _depth: int) -> Made:
        value = self.random.randint(-(2**20), 2**20) / 64  # which both kinds can hold
        return Made(self.random.choice(["float", "double"]), "", repr(value), value)

    def text(self, _depth: int) -> Made:
        size = self.random.randint(2, 20)
        value = "".join(self.random.choice("abcXYZ 0.:-") for _each in range(self.random.randint(0, size - 1)))
        return Made("char", f"[{size}]", f'"{value}"', value)

    def array(self, depth: int) -> Made:
        length = self.random.randint(1, 4)
        element = self.any(depth + 1)
        if (element.before, element.after) == ("char", ""):  # an array of these is a text
            element = element._replace(before="signed char")
        if element.after.startswith("["):  # an array of texts or arrays
            return Made(
                element.before, f"[{length}]{element.after}", f"{{{element.initial}}}", [element.value]
            )  # the rest is zero
        return Made(
            element.before, f"[{length}]", f"{{{', '.join([element.initial] * length)}}}", [element.value] * length
        )

    def struct(self, depth: int) -> Made:
        lines, initials, value = [], [], {}
        for _each in range(self.random.randint(1, 6)):
            which = self.random.random()
            if which < 0.25:
                line, initial, more = self.bit_field()
            elif which < 0.35 and depth < 3:  # anonymous
                inner = self.struct(depth + 1) if self.random.random() < 0.5 else self.union(depth + 1)
                line, initial, more = f"{inner.before};", inner.initial[1:-1], inner.value
            else:
                name, member = self.fresh(), self.any(depth + 1)
                aligned = f" __attribute__((aligned({self.random.choice([1, 2, 4, 8, 16])})))"
                line = f"{member.before} {name}{member.after}{aligned if self.random.random() < 0.1 else ''};"
                initial, more = f".{name} = {member.initial}", {name: member.value}
            lines.append(line)
            initials += [initial] if initial else []
            value.update(more)
        attribute = self.random.choice(["", "", "", " __attribute__((packed))", " __attribute__((aligned(8)))"])
        return Made(f"struct {{ {' '.join(lines)} }}{attribute}", "", f"{{{', '.join(initials)}}}", value)

    def bit_field(self) -> t.Tuple[str, str, t.Dict[str, t.Any]]:
        if self.random.random() < 0.2:
            return f"int : {self.random.randint(0, 9)};", "", {}
        name, which = self.fresh(), self.random.random()
        if which < 0.1:
            value = self.random.random() < 0.5
            return f"_Bool {name} : 1;", f".{name} = {int(value)}", {name: value}
        if which < 0.2:
            enum = self.random.choice(["DROP", "PASS"])
            return f"enum action {name} : {self.random.randint(3, 32)};", f".{name} = {enum}", {name: enum}
        kind, (bits, signed) = self.random.choice([each for each in INTEGERS.items() if each[0] != "char"])
        width = self.random.randint(1, bits)
        number = self.within(*limits(width, signed))
        return f"{kind} {name} : {width};", f".{name} = {literal(number, signed)}", {name: number}

    def union(self, depth: int) -> Made:
        """The value of one member; the others share its bytes."""
        members = [(self.fresh(), self.any(depth + 1)) for _each in range(self.random.randint(1, 3))]
        name, chosen = self.random.choice(members)
        lines = " ".join(f"{each.before} {of}{each.after};" for of, each in members)
        return Made(f"union {{ {lines} }}", "", f"{{.{name} = {chosen.initial}}}", {name: chosen.value})


class Object:
    """The sections of an object of either byte order, and where its variables lie. elf(5)"""

    def __init__(self, image: bytes, mark: str) -> None:
        (at,), (size, count, names) = (
            struct.unpack_from(f"{mark}Q", image, 40),
            struct.unpack_from(f"{mark}HHH", image, 58),
        )
        headers = [struct.unpack_from(f"{mark}IIQQQQIIQQ", image, at + size * index) for index in range(count)]
        contents = [image[each[4] : each[4] + each[5]] if each[1] != 8 else bytes(each[5]) for each in headers]

        def text(table: bytes, offset: int) -> str:
            return table[offset : table.index(0, offset)].decode()

        self.sections = {text(contents[names], each[0]): data for each, data in zip(headers, contents)}
        self.variables: t.Dict[str, bytes] = {}
        for each, data in zip(headers, contents):
            for name, info, _other, section, value, length in (
                struct.iter_unpack(f"{mark}IBBHQQ", data) if each[1] == 2 else ()
            ):
                if info & 0xF == 1 and section < count:  # STT_OBJECT
                    found = contents[section][value : value + length]
                    self.variables[text(contents[each[6]], name)] = found


def compiled(source: str, order: str) -> Object:
    target, mark = ORDERS[order]
    words = ["clang", "-target", target, "-g", "-O2", "-Wno-everything", "-c", "-x", "c", "-", "-o", "-"]
    done = subprocess.run(words, input=(HEAD + source).encode(), stdout=subprocess.PIPE, check=True)
    return Object(done.stdout, mark)


def layouts(made: Object) -> t.Tuple[Layouts, t.Dict[str, Layout]]:
    types = Layouts(made.sections[".BTF"])
    found = {}
    for section, number in types.sections():
        if not section.startswith("."):
            continue
        found.update({each.name: each.layout for each in types.layout(number).members})
    return types, found


def holds(found: t.Any, given: t.Any) -> bool:
    """Whether what was read has all that was given. Of a union more is read than was given, of an array the rest."""
    if isinstance(given, dict):
        return all(holds(found[name], value) for name, value in given.items())
    if isinstance(given, list):
        return all(holds(*pair) for pair in zip(found, given)) and len(found) >= len(given)
    return type(found) is type(given) and bool(found == given)


@pytest.mark.parametrize("order", ORDERS)
@settings(
    max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
@given(seed=some.integers(0, 2**64))
def test_bytes_are_those_of_clang(order: str, seed: int) -> None:
    generator = Generator(seed)
    examples = {f"v{number}": generator.any() for number in range(EXAMPLES)}
    source = "".join(f"{each.before} {name}{each.after} = {each.initial};\n" for name, each in examples.items())
    made = compiled(source, order)
    types, found = layouts(made)
    for name, each in examples.items():
        declared = f"{each.before} {name}{each.after} = {each.initial}"
        data = made.variables[name]
        assert found[name].size == len(data), declared
        one = codec(types, found[name], name, order=order)
        assert one.encode(each.value).hex() == data.hex(), declared
        part, mask = one.part(each.value)
        assert part == data and len(mask) == len(data), declared
        assert not any(byte & ~ones for byte, ones in zip(part, mask)), declared  # what is not named is zero
        assert holds(one.decode(data), each.value), declared
        if "union" not in declared:  # bytes of a different member may be senseless as a boolean or float
            assert one.encode(one.decode(data)) == data, declared
