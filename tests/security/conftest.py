# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import typing as t

import pytest
from fixtures import _prerequisites, compiled, fleet, host, host_names, release
from user import User

__all__ = ["_prerequisites", "compiled", "fleet", "host", "host_names", "release"]


@pytest.fixture
def user() -> t.Iterator[User]:
    with contextlib.closing(User()) as made:
        yield made
