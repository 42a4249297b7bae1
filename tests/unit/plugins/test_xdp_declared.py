# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to which host: an object only to those that do not have it. What a task declares: test_role.py."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import sys
import types
import typing as t

import pytest
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ebpf.fleet.plugins.action import xdp_declared
from ansible_collections.ebpf.fleet.plugins.plugin_utils import compiled_once

OWN, OTHER = sys.byteorder, {"little": "big", "big": "little"}[sys.byteorder]
Answer = t.Dict[str, t.Any]


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Host(xdp_declared.ActionModule):
    """A host with a file, in the place of the connection."""

    there: t.Optional[bytes]
    byte_order: str
    sent: t.List[str]

    def _execute_module(self, name: t.Any = None, options: t.Any = None, **_how: t.Any) -> Answer:
        assert name == "ebpf.fleet.xdp_program" and options["object"] == "/usr/local/lib/a/a.bpf.o"
        answer: Answer = {"changed": False, "attachments": [], "steps": [], "invocation": {"module_args": options}}
        if "content" in options:
            self.sent.append("content")
            content = base64.b64decode(options["content"])
            answer["changed"], self.there = content != self.there, content
            return answer
        self.sent.append("checksums")
        there = None if self.there is None else checksum(self.there)
        if there not in options["content_checksums"]:
            answer["needs_content"] = {"byte_order": self.byte_order, "checksum": there}
        return answer


Deploy = t.Callable[..., t.Tuple[Answer, t.List[str], t.Optional[bytes]]]


@pytest.fixture
def deploy(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """deploy(THERE, BYTE_ORDER, …): the result, what was sent, and the object that the host has then."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "run"))
    (tmp_path / "a.bpf.c").write_text("int a;\n")
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))

    def on_a_host(
        there: t.Optional[bytes], byte_order: str = OWN, **more: t.Any
    ) -> t.Tuple[Answer, t.List[str], t.Optional[bytes]]:
        program = {
            "name": "a",
            "stem": "a",
            "prefix": "",
            "state": "present",
            "build": "controller",
            "source": "a.bpf.c",
            "interfaces": ["eth0"],
            "defines": {},
            "cflags": [],
            "clang": "clang",
            "rollback_after": 0,
            "directory": "/usr/local/lib/a",
            "controller_directory": str(tmp_path / "cache"),
            "pin_root": "/sys/fs/bpf/x",
            **more,
        }
        task = {"args": {"program": program}, "check_mode": False, "async_val": 0, "module_defaults": [], "diff": False}
        host = Host(
            task=types.SimpleNamespace(**task, _role=None, get_search_path=lambda: [str(tmp_path)]),
            connection=types.SimpleNamespace(_shell=types.SimpleNamespace(tmpdir=None)),
            play_context=types.SimpleNamespace(),
            loader=loader,
            templar=Templar(loader, variables={}),
            shared_loader_obj=None,
        )
        host.there, host.byte_order, host.sent = there, byte_order, []
        result = host.run(task_vars={"inventory_hostname": "web1"})
        return result, host.sent, host.there

    return on_a_host


@pytest.fixture
def made(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.List[str]:
    """For which byte orders bpf_object has run. Its objects are the words for them."""
    ran: t.List[str] = []

    def run(options: t.Mapping[str, t.Any]) -> Answer:
        ran.append(options["byte_order"])
        if f"no {options['byte_order']}" in options["cflags"]:
            return {"failed": True, "msg": "it does not compile"}
        dest = pathlib.Path(options["dest"])
        dest.parent.mkdir(parents=True, exist_ok=True)
        dest.write_text(options["byte_order"])
        record = '{"compiler": ["/nowhere/clang"], "inputs": {}}'
        (dest.parent / f".{dest.name}.build.json").write_text(record)
        return {"checksum": checksum(dest.read_bytes())}

    monkeypatch.setattr(compiled_once, "run_module", run)
    return ran


def test_a_host_that_has_the_object_gets_none(deploy: Deploy, made: t.List[str]) -> None:
    for _host in range(3):
        result, sent, _there = deploy(OWN.encode())
        assert result["changed"] is False and sent == ["checksums"]
    assert made == [OWN]


@pytest.mark.parametrize("there", [None, b"older"])
def test_a_host_without_it_gets_it(deploy: Deploy, made: t.List[str], there: t.Optional[bytes]) -> None:
    result, sent, after = deploy(there)
    assert result["changed"] is True and sent == ["checksums", "content"] and after == OWN.encode()
    assert "needs_content" not in result and "content" not in result["invocation"]["module_args"]
    assert made == [OWN]


def test_hosts_of_the_other_byte_order(deploy: Deploy, made: t.List[str]) -> None:
    """The first one is asked twice; then it is known that there are such hosts. None is sent what it has."""
    _result, sent, after = deploy(OTHER.encode(), OTHER)
    assert sent == ["checksums", "checksums"] and made == [OWN, OTHER]
    result, sent, after = deploy(OTHER.encode(), OTHER)
    assert sent == ["checksums"] and result["changed"] is False
    result, sent, after = deploy(None, OTHER)
    assert sent == ["checksums", "content"] and after == OTHER.encode()
    assert deploy(OWN.encode())[1] == ["checksums"] and made == [OWN, OTHER]


def test_a_source_for_hosts_of_the_other_byte_order_only(deploy: Deploy, made: t.List[str]) -> None:
    for_others = {"cflags": [f"no {OWN}"]}
    assert deploy(None, OTHER, **for_others)[2] == OTHER.encode()
    with pytest.raises(AnsibleError, match="on the controller: it does not compile"):
        deploy(None, OWN, **for_others)
    assert made == [OWN, OTHER], "nor does it fail more than once"


def test_prebuilt(deploy: Deploy, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bpf.o").write_bytes(b"object")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    for path in ("a.bpf.o", f"{tmp_path}/a.bpf.o", "$FOLDER/a.bpf.o"):
        assert deploy(b"object", build="prebuilt", object=path)[1] == ["checksums"]
        assert deploy(None, OTHER, build="prebuilt", object=path)[1:] == (["checksums", "content"], b"object")
    with pytest.raises(AnsibleError, match=f"cannot read {tmp_path}/b.bpf.o on the controller: No such file"):
        deploy(None, build="prebuilt", object="b.bpf.o")


def test_an_object_that_somebody_exchanges(deploy: Deploy, made: t.List[str], tmp_path: pathlib.Path) -> None:
    deploy(OWN.encode())
    (found,) = tmp_path.glob("cache/*/a.bpf.o")
    found.write_text("planted")
    assert deploy(None)[2] == OWN.encode() and made == [OWN, OWN]


@pytest.mark.parametrize("given", [None, "packet_count", {"name": "a"}])
def test_who_else_uses_it(deploy: Deploy, given: t.Any) -> None:
    action = object.__new__(Host)
    action._task = types.SimpleNamespace(args={"program": given})
    with pytest.raises(AnsibleError, match="this module is for the roles xdp and xdp_counter"):
        action.run(task_vars={})
