"""A small pooler in front of a real PostgreSQL: it lends sessions for a transaction, or until the client leaves."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SSL_REQUEST = 80877103
ENDS = (b"Q", b"S")  # messages of a client that the server answers with ReadyForQuery
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one message: its kind, and all of its bytes."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


class Pooler:
    """Serves clients with the sessions of a server.

    Args:
        host: of the server.
        port: of the server.
        by_transaction: whether a session goes back after each transaction; else when its client leaves.

    """

    def __init__(self, host: str, port: int, *, by_transaction: bool) -> None:
        self._server = host, port
        self._by_transaction = by_transaction
        self._idle: list[Streams] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        """Begin to serve on a free port."""
        serving = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = serving.sockets[0].getsockname()[1]
        return serving

    async def close(self) -> None:
        """End all sessions."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._client(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            session = await self._let_in(reader, writer)
            while session is not None:
                kind, message = await _message(reader)
                if kind == b"X":
                    break
                if self._by_transaction:
                    session = self._idle.pop() if self._idle else session
                await self._transaction(message, kind, reader, writer, session)
                if self._by_transaction:
                    self._idle.append(session)
            if session is not None and not self._by_transaction:
                session[1].close()
        writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        """Have the server let the client in; it is told of another process than the server's, as by real poolers."""
        length = await reader.readexactly(4)
        body = await reader.readexactly(struct.unpack("!i", length)[0] - 4)
        if struct.unpack("!i", body[:4])[0] == SSL_REQUEST:
            writer.write(b"N")
            return await self._let_in(reader, writer)
        session = await asyncio.open_connection(*self._server)
        self._writers.add(session[1])
        session[1].write(length + body)
        while True:
            kind, message = await _message(session[0])
            if kind == b"K":
                message = message[:5] + struct.pack("!i", 1) + message[9:]
            writer.write(message)
            if kind == b"Z":
                break
            if kind == b"E":
                return None
            if kind == b"R" and struct.unpack("!i", message[5:9])[0] in {3, 5, 10, 11}:
                session[1].write((await _message(reader))[1])
        if self._by_transaction:
            self._idle.append(session)
        return session

    async def _transaction(
        self,
        message: bytes,
        kind: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: Streams,
    ) -> None:
        """Pass messages on, from this one of the client until the server is in no transaction any more."""
        while True:
            session[1].write(message)
            while kind not in ENDS:
                kind, message = await _message(reader)
                session[1].write(message)
            status = b""
            while not status:
                answer, given = await _message(session[0])
                writer.write(given)
                status = given[5:6] if answer == b"Z" else b""
            if status == b"I":
                return
            kind, message = await _message(reader)


@contextmanager
def pooler(host: str, port: int, *, by_transaction: bool) -> Iterator[int]:
    """Run a pooler; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Pooler(host, port, by_transaction=by_transaction)
    serving = asyncio.run_coroutine_threadsafe(made.serve(), loop).result(10)
    try:
        yield made.port
    finally:
        loop.call_soon_threadsafe(serving.close)
        asyncio.run_coroutine_threadsafe(made.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
