"""Bytes and names of the journal's files; no state, no threads. `executor.journal` says how they are used.

    <first sequence, 16 hex>.seg    segment: 16 bytes of magic and version, records, zeros up to its reserved size
    next.seg                        the following segment, its blocks already taken from the disk
    <sequence, 16 hex>.image        the executor's whole state as of that sequence
    torn-<sequence>-<offset>.bin    bytes found after the last good record, kept for people, never read again

    record   0        4        8                16
             | length | crc32  | sequence       | body: msgpack of AnyRecord, `length` bytes
    image    0        8        12       16               24
             | magic  | length | crc32  | sequence       | body

Little endian; a record's crc covers length, sequence and body. Sequences count from 1 without gaps over all segments.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.durable import replace_file, write_file
from core.errors import ConfigError
from executor.records import AnyRecord

MAX_RECORD_BYTES = 256 * 1024
TORN_KEPT = 20
MAGIC = b"TANDEMJ\x01" + bytes(8)
NEXT_NAME = "next.seg"

_IMAGE_MAGIC = b"TANDEMI\x01"
_FRAME = struct.Struct("<IIQ")
_CRC_PART = struct.Struct("<IQ")
_IMAGE_FRAME = struct.Struct("<8sIIQ")
_SEGMENT_NAME = re.compile(r"^([0-9a-f]{16})\.seg$")
_IMAGE_NAME = re.compile(r"^([0-9a-f]{16})\.image$")

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(AnyRecord)


def encode(record: AnyRecord, sequence: int) -> bytes:
    """One record as it lies in a segment."""
    body = _encoder.encode(record)
    length = len(body)
    crc = zlib.crc32(body, zlib.crc32(_CRC_PART.pack(length, sequence)))
    return _FRAME.pack(length, crc, sequence) + body


def decode(body: bytes, path: Path, sequence: int) -> AnyRecord:
    """A record's body. Its crc was right, so what does not decode was written by another version: ConfigError."""
    try:
        record: AnyRecord = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path}: record {sequence} is not one that this version knows ({error}); run the version that wrote it"
        ) from error
    return record


def segments(directory: Path) -> list[tuple[int, Path]]:
    """First sequence and path of every segment, oldest first."""
    return _numbered(directory, _SEGMENT_NAME)


def images(directory: Path) -> list[tuple[int, Path]]:
    """Sequence and path of every image, oldest first."""
    return _numbered(directory, _IMAGE_NAME)


def scan(path: Path, first: int, offset: int = len(MAGIC)) -> Iterator[tuple[int, bytes, int]]:
    """Good records of one segment as (sequence, body, offset behind it), from the record `first` at `offset`.

    Ends at the first that is short, fails its crc or is not the successor of the one before. Raises ConfigError for a
    file that is no segment of this version.
    """
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise ConfigError(f"{path}: is not a journal segment of this version (it begins with {magic[:8]!r})")
        file.seek(offset)
        sequence = first
        while True:
            head = file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                return
            length, crc, stamped = _FRAME.unpack(head)
            if stamped != sequence or not 0 < length <= MAX_RECORD_BYTES:
                return
            body = file.read(length)
            if len(body) < length or zlib.crc32(body, zlib.crc32(_CRC_PART.pack(length, sequence))) != crc:
                return
            offset += _FRAME.size + length
            yield sequence, body, offset
            sequence += 1


def reserve_next(directory: Path, size: int) -> None:
    """Make next.seg whole: magic, zeros, all blocks taken. One left by an earlier life is written anew. OSError."""
    path = directory / NEXT_NAME
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, MAGIC, 0)
        os.fsync(fd)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fd)


def cut_tail(fd: int, directory: Path, sequence: int, end: int) -> tuple[int, Path] | None:
    """Overwrite what lies behind `end` with zeros, after keeping a copy; (bytes kept, copy), None when all was zero.

    Overwritten, not truncated: the blocks stay ours, so that a start on a full disk still has room to record.
    """
    size = os.fstat(fd).st_size
    tail = os.pread(fd, size - end, end).rstrip(b"\0") if size > end else b""
    if not tail:
        return None
    copy = directory / f"torn-{sequence:016x}-{end}.bin"
    write_file(copy, tail)
    os.pwrite(fd, bytes(len(tail)), end)
    os.fsync(fd)
    for old in sorted(directory.glob("torn-*.bin"), key=lambda path: path.stat().st_mtime_ns)[:-TORN_KEPT]:
        old.unlink()
    return len(tail), copy


def write_image(directory: Path, sequence: int, body: bytes) -> None:
    """Raises OSError; nothing has changed then."""
    frame = _IMAGE_FRAME.pack(_IMAGE_MAGIC, len(body), zlib.crc32(body), sequence)
    replace_file(directory / f"{sequence:016x}.image", frame + body)


def read_image(path: Path, sequence: int) -> bytes | None:
    """The body, or None when the file is not whole."""
    data = path.read_bytes()
    if len(data) < _IMAGE_FRAME.size:
        return None
    body = data[_IMAGE_FRAME.size :]
    whole = _IMAGE_FRAME.unpack_from(data) == (_IMAGE_MAGIC, len(body), zlib.crc32(body), sequence)
    return body if whole else None


def _numbered(directory: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    found = ((name.match(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1], 16), path) for match, path in found if match)
