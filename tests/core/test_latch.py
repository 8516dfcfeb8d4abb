"""The halt latch: durable, readable by everybody, safe when it cannot be read, settable on a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core import durable
from core.errors import ConfigError
from core.latch import Halt, HaltLatch


def test_set_read_clear(tmp_path: Path) -> None:
    latch = HaltLatch(tmp_path / "state")
    assert latch.read() is None
    assert not latch.clear()
    assert latch.set("flatten by hand", 5)
    assert HaltLatch(tmp_path / "state").read() == Halt(reason="flatten by hand", since_wire_ns=5)
    assert not latch.set("a later reason", 6)
    assert latch.read() == Halt(reason="flatten by hand", since_wire_ns=5)
    assert latch.clear()
    assert latch.read() is None
    assert [path.name for path in (tmp_path / "state").iterdir()] == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"reason": 1}', b"\xff\xfe"])
def test_a_latch_without_a_readable_reason_still_halts(tmp_path: Path, content: bytes) -> None:
    latch = HaltLatch(tmp_path)
    latch.path.write_bytes(content)
    halt = latch.read()
    assert halt is not None
    assert "without a readable reason" in halt.reason


def test_a_latch_that_cannot_be_opened_still_halts(tmp_path: Path) -> None:
    latch = HaltLatch(tmp_path)
    latch.path.mkdir()
    halt = latch.read()
    assert halt is not None
    assert "cannot be read" in halt.reason


def test_it_is_synced_before_it_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append("rename"), replace(old, new))[1])
    HaltLatch(tmp_path).set("x", 1)
    assert order == ["fsync", "rename", "fsync"]


def test_on_a_full_disk_the_name_alone_halts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    latch = HaltLatch(tmp_path)
    assert latch.set("x", 1)
    assert latch.read() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["halt.latch"]


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match=r"halt latch cannot be written.*run\.state_dir"):
        HaltLatch(tmp_path / "state").set("x", 1)
