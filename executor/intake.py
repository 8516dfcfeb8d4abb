"""The executor's door: commands in and reports out over a Unix SOCK_SEQPACKET socket, one message a datagram.

The executor never waits for a client: a report that does not fit into a client's buffer ends that connection, and the
client reads the account page and comes back. A peer of a foreign uid, a truncated message, one that does not decode, a
change of name within a connection: protocol errors, which end the connection and are counted. At most MAX_CLIENTS
connections; at most READ_BUDGET messages of one client before the others get their turn.

An exception of `on_command` is not caught here; it reaches the event loop's exception handler, which the executor's
main uses to end the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from core.errors import BusyError, ConfigError, Malformed
from core.log import Log
from core.messages import MAX_MESSAGE_BYTES, AnyCommand, AnyReport, decode_command, encode

MAX_CLIENTS = 32
READ_BUDGET = 16
ACCEPT_BUDGET = 16
BACKLOG = 16
_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class Session:
    """One connected client."""

    def __init__(self, intake: Intake, connection: socket.socket, peer_pid: int, peer_uid: int) -> None:
        self.peer_pid = peer_pid
        self.peer_uid = peer_uid
        self.strategy = ""  # the name its first command gave; "" before
        self._intake = intake
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self._connection.fileno() >= 0

    def send(self, report: AnyReport) -> bool:
        """Hand a report to the kernel; False when the client is gone or too slow, which ends the connection."""
        if not self.is_open:
            return False
        try:
            self._connection.send(encode(report), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.close("too slow: its buffer is full")
            return False
        except OSError as error:
            self.close(f"cannot be written to ({error.strerror})")
            return False
        return True

    def close(self, reason: str) -> None:
        """End the connection; the disconnect callback runs once. Idempotent."""
        if self.is_open:
            self._intake.forget(self, self._connection, reason)


class Intake:
    """The listening socket and its sessions. One loop, one thread."""

    def __init__(
        self,
        path: Path,
        allowed_uids: frozenset[int],
        on_command: Callable[[AnyCommand, Session], None],
        log: Log,
        on_disconnect: Callable[[Session], None] | None = None,
    ) -> None:
        self.path = path
        self.sessions: set[Session] = set()
        self.protocol_errors = 0
        self.refused = 0
        self._allowed_uids = allowed_uids
        self._on_command = on_command
        self._on_disconnect = on_disconnect
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen. Raises BusyError (somebody listens there) or ConfigError (the path cannot be used)."""
        self._listener = _listen(self.path)
        self._loop = loop
        loop.add_reader(self._listener.fileno(), self._accept)

    def broadcast(self, report: AnyReport) -> None:
        """To every client, for reports that nobody asked for."""
        for session in tuple(self.sessions):
            session.send(report)

    def close(self) -> None:
        """Stop listening, end all sessions, remove the socket file. Idempotent."""
        if self._listener is None or self._loop is None:
            return
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._listener = None
        for session in tuple(self.sessions):
            session.close("the executor stops")
        self.path.unlink(missing_ok=True)

    def forget(self, session: Session, connection: socket.socket, reason: str) -> None:
        """End one session's connection; called by the session only."""
        if self._loop is not None:
            self._loop.remove_reader(connection.fileno())
        connection.close()
        self.sessions.discard(session)
        self._log.info("client_left", client=session.strategy, client_pid=session.peer_pid, reason=reason)
        if self._on_disconnect is not None:
            self._on_disconnect(session)

    def _accept(self) -> None:
        for _ in range(ACCEPT_BUDGET):
            if self._listener is None:
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory: the connection waits in the backlog
                self._log.error("client_not_accepted", detail=error.strerror)
                return
            connection.setblocking(False)
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        refusal = None
        if uid not in self._allowed_uids:
            refusal = f"uid {uid} may not command this executor"
        elif len(self.sessions) >= MAX_CLIENTS:
            refusal = f"{MAX_CLIENTS} clients are connected already"
        if refusal is not None or self._loop is None:
            self.refused += 1
            self._log.warning("client_refused", client_pid=pid, client_uid=uid, reason=refusal)
            connection.close()
            return
        session = Session(self, connection, pid, uid)
        self.sessions.add(session)
        self._loop.add_reader(connection.fileno(), self._read, session, connection)

    def _read(self, session: Session, connection: socket.socket) -> None:
        for _ in range(READ_BUDGET):
            if not session.is_open:
                return
            try:
                data, _, flags, _ = connection.recvmsg(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                session.close(f"cannot be read from ({error.strerror})")
                return
            if not data:
                session.close("closed by the client")
                return
            if flags & socket.MSG_TRUNC:
                self._protocol_error(session, f"a message is longer than {MAX_MESSAGE_BYTES} bytes")
                return
            try:
                command = decode_command(data)
            except Malformed as error:
                self._protocol_error(session, str(error))
                return
            name = command.command_id.strategy
            if session.strategy and name != session.strategy:
                self._protocol_error(session, f"client {session.strategy!r} sent a command in the name of {name!r}")
                return
            session.strategy = name
            self._on_command(command, session)

    def _protocol_error(self, session: Session, detail: str) -> None:
        self.protocol_errors += 1
        self._log.warning("client_protocol_error", client=session.strategy, client_pid=session.peer_pid, detail=detail)
        session.close("protocol error")


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of one that nobody listens on any more."""
    _clear_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o660)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)  # a path over 107 bytes has no errno
        raise ConfigError(
            f"{path}: the executor's socket cannot be made ({reason}); check run.shm_dir and run.name"
        ) from error
    return listener


def _clear_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"{path}: is in the way of the executor's socket and is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:  # EAGAIN: its backlog is full, so somebody listens; EPROTOTYPE: another kind of socket
            raise BusyError(f"{path}: another process listens here ({error.strerror}); stop it first") from error
    raise BusyError(f"{path}: another executor listens here; stop it first")
