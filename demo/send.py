# SPDX-License-Identifier: GPL-3.0-or-later
"""send.py PORT COUNT SIZE: send Ethernet frames from one CPU and print the port's count of sent packets.

Bounded and paced: a veth queues 256 frames, and drops further ones while it is full.
"""

import json
import os
import socket
import subprocess
import sys
import time

BURST = 32
PAUSE_SECONDS = 0.001
LOCAL_EXPERIMENTAL = b"\x88\xb5"  # IEEE 802, EtherType for experiments: no host answers it


def main() -> None:
    port, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one CPU counts them all: 1, 2, 3 …
    frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + LOCAL_EXPERIMENTAL + bytes(size - 14)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((port, 0))
        for number in range(count):
            wire.send(frame)
            if number % BURST == BURST - 1:
                time.sleep(PAUSE_SECONDS)
    shown = subprocess.run(["ip", "-json", "-stats", "link", "show", "dev", port], check=True, stdout=subprocess.PIPE)
    print(json.loads(shown.stdout)[0]["stats64"]["tx"]["packets"])


main()
