# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from fixtures import _prerequisites, compiled, fleet, host, host_names, release

__all__ = ["_prerequisites", "compiled", "fleet", "host", "host_names", "release"]
