# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's variables may be: all that its argument spec accepts. What it makes of what it knows of a host."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import BOOLEANS_TRUE
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = pathlib.Path(__file__).parents[2] / "roles/xdp_counter"


def test_every_word_for_true() -> None:
    words = yaml_load((ROLE / "vars/main.yml").read_text())["xdp_counter_true"]
    # A set has only one of 1, 1.0 and True.
    assert set(words) == {str(word).lower() for word in BOOLEANS_TRUE} | {"true", "1", "1.0"}


def test_every_bool_is_taken_by_its_words() -> None:
    """The string "no" is true to Jinja, and neither true nor false to a module's choices."""
    options = yaml_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    bools = [name for name, option in options.items() if option["type"] == "bool"]
    assert bools == ["xdp_counter_persist", "xdp_counter_install_packages"]
    text = "".join(path.read_text() for folder in ("tasks", "vars") for path in (ROLE / folder).iterdir())
    for name in bools:
        read = len(re.findall(rf"\b{name}\b(?! is defined)", text)) - len(re.findall(rf"-e {name}=", text))
        assert read == len(re.findall(rf"\b{name} \| string \| lower in xdp_counter_true", text)) == 1


def trusted(path: str) -> t.Any:
    return DataLoader().load_from_file(str(ROLE / path), trusted_as_template=True)


def evaluated(expression: str, **variables: t.Any) -> t.Any:
    """An expression with the variables of the role, of the task that compiles, and these."""
    (task,) = trusted("tasks/build_controller.yml")
    every = {**trusted("defaults/main.yml"), **trusted("vars/main.yml"), **task["vars"], "ansible_facts": {}}
    templar = Templar(DataLoader(), variables={**every, "xdp_counter_interfaces": ["eth0"], **variables})
    return templar.evaluate_expression(trust_as_template(expression))


@pytest.mark.parametrize(
    ("known", "parts", "byte_order"),
    [
        ({}, ["ask_and_build_controller"], ""),
        ({"xdp_counter_uname": {"stdout": "s390x\r\n"}}, ["build_controller"], "big"),
        ({"xdp_counter_uname": {"stdout": "aarch64\n"}}, ["build_controller"], "little"),
        ({"ansible_facts": {"architecture": "s390x"}}, ["build_controller"], "big"),
        ({"ansible_facts": {"architecture": "x86_64"}}, ["build_controller"], "little"),
        ({"ansible_facts": {"bpf": {"architecture": "ppc64"}}}, ["build_controller"], "big"),
        ({"ansible_facts": {"bpf": {"architecture": "ppc64le"}}}, ["build_controller"], "little"),
        ({"ansible_facts": {"bpf": "nonsense", "architecture": "-target bpfeb"}}, ["build_controller"], "little"),
    ],
)
def test_the_byte_order_of_a_host(known: t.Dict[str, t.Any], parts: t.List[str], byte_order: str) -> None:
    needed = evaluated("xdp_counter_parts.present | map('trim') | select", xdp_counter_build="controller", **known)
    assert list(needed) == parts
    assert evaluated("byte_order", **known) == byte_order


def test_only_the_controller_asks_for_the_byte_order() -> None:
    for build, parts in (("target", []), ("prebuilt", ["build_prebuilt"])):
        needed = evaluated("xdp_counter_parts.present | map('trim') | select", xdp_counter_build=build)
        assert list(needed) == parts
