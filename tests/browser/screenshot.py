# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renew docs/report.png: make screenshot"""

from __future__ import annotations

import pathlib
import tempfile

from chromium import chromium, fleet, opened, write
from paths import ROOT


def main() -> None:
    hosts = {name: answer for name, answer in fleet(16).items() if name.startswith("web")}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        with opened(browser, write(pathlib.Path(folder), hosts), 1200) as (page, _said):
            page.screenshot(path=ROOT / "docs/report.png")


if __name__ == "__main__":
    main()
