# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The architectures of guests: their kernel in Debian, clang's target, and the machine that qemu emulates."""

from __future__ import annotations

import typing as t


class Machine(t.NamedTuple):
    """`console`: what the kernel writes to; `output`: what the checks write to. May be one, which has both then.

    `packages`: what the userland has beside what all have; `modules`: of the kernel, loaded before the checks.

    `qemu`: command with its options; {log} and {printed} are the files of the first and the second.

    `parameters`: of the kernel.
    """

    kernel: str
    target: str
    qemu: str
    console: str
    output: str
    packages: t.Tuple[str, ...] = ()
    modules: t.Tuple[str, ...] = ("veth", "8021q", "bonding")
    parameters: str = ""


# Never kvm: a nested one may open and then hang. tb-size: without it qemu's memory grows to 1.5 GiB.
# single: a kernel that patched its own code while a second thread emulated it has panicked.
# no_timer_check: on a busy machine the timer comes too late for that check, and the kernel panics.
# qemu64: AVX, which libc would use, is slow to emulate. rdrand: without it the kernel waits for entropy.
MACHINES = {
    "amd64": Machine(
        kernel="linux-image-cloud-amd64",
        target="bpfel",
        qemu=(
            "qemu-system-x86_64 -accel tcg,thread=single,tb-size=64 -cpu qemu64,+rdrand"
            " -serial file:{log} -serial file:{printed}"
        ),
        console="ttyS0",
        output="ttyS1",
        parameters="no_timer_check",
    ),
    "arm64": Machine(
        kernel="linux-image-cloud-arm64",
        target="bpfel",
        qemu=(
            "qemu-system-aarch64 -machine virt -accel tcg,thread=single,tb-size=64 -cpu cortex-a72"
            " -serial file:{printed}"
        ),
        console="ttyAMA0",
        output="ttyAMA0",
        packages=("binutils",),  # native code; that of amd64 is looked at in the integration tests
    ),
    "s390x": Machine(
        kernel="linux-image-s390x",
        target="bpfeb",
        qemu=(
            "qemu-system-s390x -machine s390-ccw-virtio -accel tcg,thread=single,tb-size=64 -cpu max"
            " -chardev file,id=console,path={printed} -device sclpconsole,chardev=console"
        ),
        console="ttysclp0",
        output="ttysclp0",
    ),
}

# With the drivers of NICs, which the cloud flavour does not have, and what can be made of them.
WITH_NICS = MACHINES["amd64"]._replace(
    kernel="linux-image-amd64",
    modules=(
        *("virtio_pci", "virtio_net", "e1000", "e1000e", "vmxnet3", "igb"),
        *("veth", "8021q", "bonding", "macvlan", "bridge", "tun", "dummy"),
    ),
)
