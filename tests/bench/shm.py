"""Shared memory: publish, validated read, changed slots, and the hand-over to another process by spinning or by bell,
beside ZeroMQ over ipc and a unix datagram carrying the same 64 bytes."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import zmq

from bookshm.bell import Bell
from bookshm.book import BookWriter
from bookshm.book_reader import BookReader
from bookshm.run import RunDir
from core.clock import SystemClock
from core.types import Quote
from tests.bench.measure import Row, calls, percentiles
from tests.strategies.market import HL, instrument

CLOCK = SystemClock()
MESSAGES = 4000
PAUSE_S = 0.0004
RECORD = struct.Struct("=q56x")
SPAWN = multiprocessing.get_context("spawn")


def rows() -> list[Row]:
    path = Path("/dev/shm") / f"tandem-bench-{os.getpid()}-{secrets.token_hex(3)}"
    run = RunDir.join(path, 1.0, CLOCK)
    try:
        return [*_local(run), *_hand_over(run)]
    finally:
        run.leave()


def _local(run: RunDir) -> list[Row]:
    book = BookWriter(run, HL, CLOCK, 256, 4096)
    slot = book.add(instrument(HL))
    reader = BookReader(run, HL, CLOCK, 500_000_000, 3_000_000_000)
    now = CLOCK.mono_ns

    def publish() -> None:
        book.publish_quote(slot, 1.0, 2.0, 3.0, 4.0, 5, now())

    book.set_status(True, "")
    book.prove_symbol(slot, now())
    published = calls(publish, batch=100)
    raw = calls(lambda: reader.read_raw(slot), batch=100)
    publish()
    book.prove_symbol(slot, now())
    whole = calls(lambda: reader.quote(slot), batch=20, rounds=500)
    changed = calls(reader.changed, batch=100)
    book.close()
    return [
        Row(hop="publish: latest, ring, heartbeat", median_us=published[0], p99_us=published[1], goal_median_us=0.5),
        Row(hop="validated read", median_us=raw[0], p99_us=raw[1], goal_median_us=0.2),
        Row(hop="validated read with age and verdict", median_us=whole[0], p99_us=whole[1]),
        Row(hop="which of 256 slots changed", median_us=changed[0], p99_us=changed[1], goal_median_us=1.0),
    ]


def _hand_over(run: RunDir) -> list[Row]:
    zmq_path = Path(tempfile.mkdtemp()) / "bench.ipc"
    unix_path = Path(tempfile.mkdtemp()) / "bench.sock"
    spin = _measure(_spin_reader, run, _book_sender(run, bell=False))
    bell = _measure(_bell_reader, run, _book_sender(run, bell=True))
    over_zmq = _measure(_zmq_reader, zmq_path, _zmq_sender(zmq_path))
    over_unix = _measure(_unix_reader, unix_path, _unix_sender(unix_path))
    return [
        Row(hop="hand-over, spinning reader", median_us=spin[0], p99_us=spin[1], goal_median_us=0.5, goal_p99_us=5.0,
            peer="unix datagram", peer_median_us=over_unix[0]),
        Row(hop="hand-over, sleeping reader (bell)", median_us=bell[0], p99_us=bell[1], goal_median_us=8.0, goal_p99_us=30.0,
            peer="ZeroMQ ipc", peer_median_us=over_zmq[0]),
        Row(hop="  peer: unix datagram, blocking", median_us=over_unix[0], p99_us=over_unix[1]),
        Row(hop="  peer: ZeroMQ PUSH/PULL over ipc", median_us=over_zmq[0], p99_us=over_zmq[1]),
    ]  # fmt: skip


Sender = tuple[Callable[[int], None], Callable[[], None]]


def _measure(reader: Callable[[Any, Connection], None], argument: Any, sender: Sender) -> tuple[float, float]:
    """Start the reader process, send MESSAGES with a pause between them, and take its latencies."""
    send, close = sender
    ours, theirs = SPAWN.Pipe()
    where = argument.path if isinstance(argument, RunDir) else argument
    process = SPAWN.Process(target=reader, args=(where, theirs))
    process.start()
    ours.recv()  # ready
    for _ in range(MESSAGES):
        send(time.monotonic_ns())
        time.sleep(PAUSE_S)
    latencies = ours.recv()
    process.join()
    close()
    return percentiles(latencies)


def _book_sender(run: RunDir, *, bell: bool) -> Sender:
    book = BookWriter(run, HL, CLOCK, 256, 4096)
    slot = book.add(instrument(HL))
    book.set_status(True, "")

    def send(now_ns: int) -> None:
        book.heartbeat(now_ns)
        book.publish_quote(slot, 1.0, 2.0, 3.0, 4.0, 5, time.monotonic_ns())
        if bell:
            book.ring_bells()

    return send, book.close


def _spin_reader(path: Path, pipe: Connection) -> None:
    reader = BookReader(path, HL, CLOCK, 500_000_000, 3_000_000_000)
    slot = _slot(reader)
    pipe.send("ready")
    latencies, last = [], 0
    deadline_ns = CLOCK.mono_ns() + 30_000_000_000
    while len(latencies) < MESSAGES * 9 // 10 and CLOCK.mono_ns() < deadline_ns:
        raw = reader.read_raw(slot)
        now_ns = CLOCK.mono_ns()
        if raw is not None and raw[0] != last:
            if last:
                latencies.append(now_ns - raw[6])
            last = raw[0]
    pipe.send(latencies)


def _bell_reader(path: Path, pipe: Connection) -> None:
    reader = BookReader(path, HL, CLOCK, 500_000_000, 3_000_000_000)
    slot = _slot(reader)
    bell = Bell(RunDir.observe(path), "bench")
    poll = select.epoll()
    poll.register(bell.fileno(), select.EPOLLIN)
    time.sleep(0.3)  # writers look for new bells at their heartbeat
    pipe.send("ready")
    latencies, last = [], 0
    deadline_ns = CLOCK.mono_ns() + 30_000_000_000
    while len(latencies) < MESSAGES * 9 // 10 and CLOCK.mono_ns() < deadline_ns:
        poll.poll(0.05)
        raw = reader.read_raw(slot)
        now_ns = CLOCK.mono_ns()
        bell.drain()
        if raw is not None and raw[0] != last:
            if last:
                latencies.append(now_ns - raw[6])
            last = raw[0]
    bell.close()
    pipe.send(latencies)


def _slot(reader: BookReader) -> int:
    while (slot := reader.slot("BTC")) is None or not isinstance(reader.peek(slot), Quote | tuple):
        time.sleep(0.01)
    return slot


def _zmq_sender(path: Path) -> Sender:
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.bind(f"ipc://{path}")

    def close() -> None:
        push.close(0)
        context.term()

    return lambda now_ns: push.send(RECORD.pack(time.monotonic_ns())), close


def _zmq_reader(path: Path, pipe: Connection) -> None:
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.connect(f"ipc://{path}")
    time.sleep(0.3)
    pipe.send("ready")
    latencies = []
    for _ in range(MESSAGES):
        data = pull.recv()
        latencies.append(time.monotonic_ns() - RECORD.unpack(data)[0])
    pull.close(0)
    context.term()
    pipe.send(latencies)


def _unix_sender(path: Path) -> Sender:
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(now_ns: int) -> None:
        out.sendto(RECORD.pack(time.monotonic_ns()), str(path))

    return send, out.close


def _unix_reader(path: Path, pipe: Connection) -> None:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(path))
    pipe.send("ready")
    latencies = []
    for _ in range(MESSAGES):
        data = server.recv(64)
        latencies.append(time.monotonic_ns() - RECORD.unpack(data)[0])
    server.close()
    pipe.send(latencies)
