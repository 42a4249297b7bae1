# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's variables may be: all that its argument spec accepts."""

from __future__ import annotations

import pathlib
import re

from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import BOOLEANS_TRUE

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
