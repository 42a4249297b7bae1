# SPDX-License-Identifier: GPL-3.0-or-later
"""table.py COUNTS SENT: the fleet's counts beside the packets sent; exit code 1 if they differ.

COUNTS is the report of ebpf.fleet.facts; SENT has a line "HOST INTERFACE PACKETS" for each wire.
"""

import json
import sys

LINE = "{:8} {:10} {:8} {:>10} {:>10}   {}"


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        counted = {(row["host"], row["interface"] or "-"): row for row in json.load(file)}  # "-": not read
    with open(sys.argv[2], encoding="utf-8") as file:
        sent = {(host, interface): int(packets) for host, interface, packets in map(str.split, file)}
    print(LINE.format("HOST", "INTERFACE", "MODE", "SENT", "COUNTED", ""))
    differ = 0
    for key in sorted(sent.keys() | counted.keys()):
        row = counted.get(key, {"mode": None, "packets": None})
        equal = sent.get(key) == row["packets"]
        differ += not equal
        print(
            LINE.format(
                *key, row["mode"] or "-", sent.get(key, "-"), str(row["packets"]), "equal" if equal else "DIFFERENT"
            )
        )
    return 1 if differ or not sent else 0


sys.exit(main())
