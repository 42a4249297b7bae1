# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for get-pip.py in ansible-test: pip from Python's own ensurepip, then the asked-for pip from the index."""

import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
arguments = [each for each in sys.argv[1:] if each not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments]))
