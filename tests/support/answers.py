# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of an honest host answer."""

from __future__ import annotations

import copy
import typing as t

Answer = t.Dict[str, t.Any]

TAG = "644ee9a75611c6d0"
CHECKSUM = "6f1ed002ab5595859014ebf0951522d9f2cb1a0dfb3ba1ac22ffcb0b9a6d9d1b"
COMPONENT = {
    "slot": 1,
    "program_id": 241,
    "name": "xdp_filter",
    "tag": TAG,
    "priority": 50,
    "chain_call_actions": ["pass"],
}
RUNNING = {
    "mode": "native",
    "program_id": 238,
    "name": "packet_count",
    "tag": TAG,
    "by": "link",
    "link_ids": [12],
    "components": [COMPONENT],
}


def counter(packets: int = 189) -> Answer:
    """One interface of xdp_counter_facts."""
    return {
        "packets": packets,
        "bytes": packets * 64,
        "per_cpu": [{"cpu": 0, "packets": packets, "bytes": packets * 64}],
        "mode": "native",
        "exact": True,
        "inexact_because": None,
        "program_id": 238,
        "program_name": "packet_count",
        "tag": TAG,
        "variables_digest": "0f343b0931126a20",
        "loaded_at": "2026-02-12T16:40:02Z",
        "attached": True,
        "moved": False,
    }


def answers() -> t.Dict[str, Answer]:
    """By module."""
    counts = {"added": 17, "updated": 2, "removed": 0, "entries": 100000, "max_entries": 200000}
    attachment = {
        "interface": "eth0",
        "ifindex": 2,
        "mode": "native",
        "program_id": 238,
        "tag": TAG,
        "variables_digest": "0f343b0931126a20",
        "link_id": 12,
        "dispatcher": {
            "program_id": 240,
            "slot": 0,
            "priority": 5,
            "chain_call_actions": ["pass"],
            "others": [COMPONENT],
        },
        "map_ids": [87, 88],
        "pin_path": "/sys/fs/bpf/ebpf_fleet/packet_count/eth0",
        "state": "attached",
        "persistent": True,
    }
    return copy.deepcopy(  # tests change what they get
        {
            "xdp_counter_facts": {
                "changed": False,
                "ansible_facts": {
                    "xdp_counter": {
                        "collected_at": "2026-02-12T16:55:51Z",
                        "boot_id": "0d7c1f4c-6e1c-4d52-93d5-9a5b1f7d4f0a",
                        "program": "packet_count",
                        "totals": {"packets": 196, "bytes": 12544},
                        "interfaces": {"eth0": counter(), "eth0.10": counter(7)},
                        "trace": {
                            "lines": [{"task": "ping", "pid": 1, "cpu": 1, "timestamp": 2.5, "message": "a\nb"}],
                            "lost": 0,
                            "seconds": 2.001,
                        },
                    }
                },
            },
            "bpf_facts": {
                "changed": False,
                "ansible_facts": {
                    "bpf": {
                        "kernel": "6.1.0-30-amd64",
                        "architecture": "x86_64",
                        "btf": True,
                        "jit": {"enable": 1, "harden": None, "available": True},
                        "lockdown": None,
                        "capabilities": ["cap_bpf"],
                        "bpffs": "/sys/fs/bpf",
                        "tracefs": None,
                        "libbpf": "1.1",
                        "clang": None,
                        "bpftool": "7.1.0",
                        "features": {"xdp_link": True, "frags": None, "dispatcher": False},
                        "interfaces": {
                            "eth0": {
                                "ifindex": 2,
                                "driver": "virtio_net",
                                "mtu": 1500,
                                "queues": {"rx": 1, "tx": 1},
                                "xdp": [
                                    {
                                        "mode": "native",
                                        "program_id": 238,
                                        "name": "packet_count",
                                        "tag": TAG,
                                        "link_id": 12,
                                        "owner": "ebpf.fleet",
                                        "pin_path": "/sys/fs/bpf/ebpf_fleet/packet_count/eth0",
                                    }
                                ],
                            },
                            "eth1": {
                                "ifindex": 4,
                                "driver": "virtio_net",
                                "mtu": 1500,
                                "queues": None,
                                "xdp": [
                                    {
                                        "mode": "native",
                                        "program_id": 240,
                                        "name": "xdp_dispatcher",
                                        "tag": TAG,
                                        "link_id": None,
                                        "owner": "another",
                                        "pin_path": None,
                                        "dispatcher": {
                                            "version": 2,
                                            "components": [{**COMPONENT, "owner": "another", "pin_path": None}],
                                            "trouble": None,
                                        },
                                    }
                                ],
                            },
                            "\\xff\\xfe": {"ifindex": 3, "driver": None, "mtu": 1500, "queues": None, "xdp": []},
                        },
                        "problems": ["There is no clang. Install the package clang."],
                        "obstacles": [
                            {
                                "problem": "There is no clang.",
                                "remedy": "Install the package clang.",
                                "stops": "build",
                                "interface": None,
                            }
                        ],
                    }
                },
            },
            "bpf_program_info": {
                "changed": False,
                "programs": [
                    {
                        "id": 238,
                        "type": "xdp",
                        "name": "packet_count",
                        "tag": TAG,
                        "gpl": True,
                        "loaded_at": "2026-02-12T16:40:02Z",
                        "uid": 0,
                        "bytes_xlated": 8,
                        "bytes_jited": 16,
                        "memlock": 4096,
                        "map_ids": [87, 88],
                        "btf_id": 3,
                        "run_time_ns": 0,
                        "run_cnt": 0,
                        "pins": ["/sys/fs/bpf/ebpf_fleet/packet_count/eth0/program"],
                        "object": {"path": "/usr/local/lib/ebpf_fleet/packet_count.bpf.o", "checksum": CHECKSUM},
                        "attachments": [
                            {
                                "by": "link",
                                "link_id": 12,
                                "link_type": "xdp",
                                "interface": "eth0",
                                "ifindex": 2,
                                "mode": "native",
                                "pins": [],
                                "dispatcher": None,
                            }
                        ],
                        "xlated": ["int packet_count(struct xdp_md * ctx):", "; \treturn 2;", "   0: (95) exit"],
                        "jited": ["   0: retq"],
                        "problems": [],
                    }
                ],
                "disassembler": "/usr/bin/llvm-objdump",
            },
            "bpf_object_info": {
                "changed": False,
                "objects": [
                    {
                        "path": "/usr/local/lib/ebpf_fleet/packet_count.bpf.o",
                        "exists": True,
                        "checksum": CHECKSUM,
                        "file_type": "ELF 64-bit LSB relocatable, eBPF",
                        "license": "Dual BSD/GPL",
                        "has_btf": True,
                        "programs": [{"name": "packet_count", "section": "xdp", "instructions": 1}],
                        "maps": [
                            {
                                "name": "packet_c.bss",
                                "type": "array",
                                "key_size": 4,
                                "value_size": 4,
                                "max_entries": 1,
                            }
                        ],
                        "problems": [],
                        "disassembly": ["       0:\t95 00 00 00 00 00 00 00\texit"],
                    },
                    {"path": "/gone", "exists": False},
                ],
            },
            "xdp_program": {
                "changed": True,
                "attachments": [
                    attachment,
                    {"interface": "eth1", "state": "failed", "error": "there is no interface eth1"},
                ],
                "steps": ["eth0: load packet_count"],
                "diff": {"before": {"eth0": {"state": "absent"}}, "after": {"eth0": {"state": "attached"}}},
                "build": {"checksum": CHECKSUM, "reasons": []},
                "needs_content": {"byte_order": "little", "checksum": None},
                "reached": [{"asked": "gateway", "answer": "192.0.2.1 answered by ICMP", "seconds": 0.01}],
                "xdp": {"eth0": [copy.deepcopy(RUNNING)]},
                "provisional": {
                    "token": "5f0c1d2e3a4b5968",
                    "before": {"eth0": []},
                    "after": {"eth0": [copy.deepcopy(RUNNING)]},
                },
            },
            "xdp_confirm": {
                "changed": False,
                "xdp": {"eth0": [copy.deepcopy(RUNNING)]},
                "attachments": [attachment],
                "kept": True,
            },
            "bpf_map": {
                "changed": True,
                **counts,
                "maps": [{"interface": "eth0", "id": 87, **counts}, {"interface": "eth1", "id": None, **counts}],
                "steps": ["add 17, update 2 of the entries of block4 on eth0"],
                "diff": {"before": {"block4 on eth0": {}}, "after": {"block4 on eth0": {"192.0.2.0/24": 1}}},
                "provisional": {"token": "0123456789abcdef"},
                "reached": [{"asked": "gateway", "answer": "192.0.2.1 answered by ICMP", "seconds": 0.01}],
            },
            "bpf_map_info": {
                "changed": False,
                "maps": [
                    {
                        "interface": "eth0",
                        "id": 87,
                        "name": "verdicts",
                        "type": "percpu_array",
                        "key_type": "__u32",
                        "value_type": "struct count",
                        "max_entries": 5,
                        "pin_path": "/sys/fs/bpf/ebpf_fleet/blocklist/eth0/maps/verdicts",
                        "entries_total": 5,
                        "truncated": False,
                        "entries": [{"key": 0, "value": {"packets": 12, "bytes": 960}}],
                        "problem": None,
                    }
                ],
            },
            "xdp_metrics": {
                "changed": True,
                "file": "/var/lib/prometheus/node-exporter/ebpf_fleet.prom",
                "series": 12,
                "problems": [],
                "steps": ["write /var/lib/ebpf_fleet/metrics.json", "start the timer"],
                "diff": {"before": "", "after": "{}"},
            },
            "xdp_pull": {
                "changed": True,
                "steps": ["write /var/lib/ebpf_fleet_pull/settings.json", "start the timer"],
                "last": {
                    "at": 1795780000,
                    "commit": "8cb28872f1c1",
                    "problem": None,
                    "kept_at": 1795780000,
                    "kept_commit": "8cb28872f1c1",
                },
                "diff": {"before": "", "after": "{}"},
            },
            "xdp_counter_check": {
                "changed": False,
                "interfaces": {"eth0": {"counted": 42, "arrived": None}},
                "idle": ["eth0.10"],
            },
        }
    )
