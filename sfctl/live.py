"""What streams: uploads by the byte and the events of jobs (Server-Sent Events, WHATWG HTML 9.2)."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpcore
import httpx
import httpx_sse
from pydantic import BaseModel, ValidationError

from sfctl.client import auth_headers, check_url, is_loopback, mapped_errors, problem_of, read_model
from sfctl.errors import ServerUnreachableError
from sfserver.wire.events import (
    DoneEvent,
    ErrorEvent,
    EventKind,
    PlayableEvent,
    ProgressEvent,
    SnapshotEvent,
    StageEvent,
    StateEvent,
)
from sfserver.wire.jobs import JobRead, UploadAccepted

JobEvent = SnapshotEvent | ProgressEvent | StateEvent | StageEvent | PlayableEvent | ErrorEvent | DoneEvent
EVENT_MODELS: dict[str, type[JobEvent]] = {
    EventKind.SNAPSHOT: SnapshotEvent,
    EventKind.PROGRESS: ProgressEvent,
    EventKind.STATE: StateEvent,
    EventKind.STAGE: StageEvent,
    EventKind.PLAYABLE: PlayableEvent,
    EventKind.ERROR: ErrorEvent,
    EventKind.DONE: DoneEvent,
}
# The server sends a comment every 15 s: silence for longer than two of them is a dead connection.
_SILENCE_S = 35.0
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 2.0, 5.0)


class CountedFile:
    """A file opened for upload that says how many bytes have been read of it."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes, self._sent = file, on_bytes, 0

    def read(self, size: int = -1) -> bytes:
        """Read and count; httpx asks for 64 KiB at a time."""
        data = self._file.read(size)
        self._sent += len(data)
        self._on_bytes(self._sent)
        return data

    def fileno(self) -> int:
        """Let httpx take the size from the file system."""
        return self._file.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, which resets the count."""
        self._sent = 0
        return self._file.seek(offset, whence)


class WatchedBody(httpx.AsyncByteStream):
    """A request body that stops when the server answers before it has all.

    A server that judges an upload by its first bytes answers, drains a little and closes; who goes on sending
    then gets a reset, and the answer is lost. HTTPS has no such check (TLS records that are no answer make a
    socket readable, too): there the proxy in front lingers.
    """

    def __init__(self, request: httpx.Request) -> None:
        if not isinstance(request.stream, httpx.AsyncByteStream):
            raise TypeError("a request that cannot be sent asynchronously")
        self._body = request.stream
        self._connection: httpcore.AsyncNetworkStream | None = None
        request.stream, request.extensions["trace"] = self, self._trace

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            if self._connection is not None and self._connection.get_extra_info("is_readable"):
                # httpcore takes this for the server's doing, stops sending and reads the answer.
                raise httpcore.WriteError("the server answered before it had all")
            yield part

    async def _trace(self, name: str, info: Mapping[str, object]) -> None:
        stream = info.get("return_value")
        if name == "connection.connect_tcp.complete" and isinstance(stream, httpcore.AsyncNetworkStream):
            self._connection = stream
        elif name == "connection.start_tls.started":
            self._connection = None


class LiveClient:
    """Asynchronous client for what streams; `give_up_s` bounds how long a server may be away from an open stream."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        give_up_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url, self._token, self._give_up_s = check_url(url), token, give_up_s
        self._http = self._make_client(httpx.Timeout(_SILENCE_S, connect=5.0), None, transport)
        # The answer to an upload comes once the last byte is safely stored, which a slow disk may delay; only new
        # connections are traced.
        self._uploads = self._make_client(httpx.Timeout(300.0, connect=5.0), 0, transport)

    def _make_client(
        self, timeout: httpx.Timeout, keepalive: int | None, transport: httpx.AsyncBaseTransport | None
    ) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers=auth_headers(self._token),
            timeout=timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=keepalive),
            transport=transport,
            trust_env=not is_loopback(self.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()
        await self._uploads.aclose()

    async def upload(self, path: Path, fields: Mapping[str, str], on_bytes: Callable[[int], None]) -> UploadAccepted:
        """Send a file as multipart form (RFC 7578) with constant memory; `on_bytes` hears the bytes sent so far."""
        name = path.name.encode(errors="replace").decode()
        with path.open("rb") as file, mapped_errors(self.url):
            counted = CountedFile(file, on_bytes)
            request = self._uploads.build_request(
                "POST",
                "/api/upload",
                data=dict(fields),
                files={"file": (name, counted, "application/octet-stream")},  # type: ignore[dict-item]
            )
            WatchedBody(request)
            response = await self._uploads.send(request)
        if not response.is_success:
            raise problem_of(response)
        return read_model(response, UploadAccepted)

    async def job(self, job_id: str) -> JobRead:
        """Read a job."""
        with mapped_errors(self.url):
            response = await self._http.get(f"/api/jobs/{job_id}")
        if not response.is_success:
            raise problem_of(response)
        return read_model(response, JobRead)

    async def follow(self, job_id: str, on_gap: Callable[[], None] | None = None) -> AsyncIterator[JobEvent]:
        """Yield the events of a job until `done`, each once.

        Reconnects with `Last-Event-ID` and tells `on_gap` of each gap.
        """
        last_id, heard, failures, down_since = "", 0, 0, None
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async for kind, event, sent_id in self._connection(job_id, last_id):
                    # A snapshot with a replay behind it has no id: until that is heard, the old one stands.
                    last_id, failures, down_since = sent_id or last_id, 0, None
                    seq = getattr(event, "seq", None) or 0
                    if not seq or seq > heard or kind == EventKind.DONE:
                        yield event
                    heard = max(heard, seq)
                    if kind == EventKind.DONE:
                        return
                why = "the server closed the stream"
            except ServerUnreachableError as error:
                why = error.why or error.what
            down_since = down_since or clock()
            if clock() - down_since > self._give_up_s:
                raise ServerUnreachableError(self.url, why)
            if on_gap:
                on_gap()
            await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1

    async def _connection(self, job_id: str, last_id: str) -> AsyncIterator[tuple[str, JobEvent, str]]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        path = f"/api/jobs/{job_id}/events"
        with mapped_errors(self.url):
            async with httpx_sse.aconnect_sse(self._http, "GET", path, headers=headers) as source:
                if source.response.status_code >= 500:
                    raise ServerUnreachableError(self.url, f"the server answered {source.response.status_code}")
                if not source.response.is_success:
                    await source.response.aread()
                    raise problem_of(source.response)
                async for sent in source.aiter_sse():
                    event = read_event(sent.event, sent.data)
                    if event is not None:
                        yield sent.event, event, sent.id


def read_event(kind: str, data: str) -> JobEvent | None:
    """Read an event; kinds and shapes of a newer server that this client does not know are None."""
    model: type[BaseModel] | None = EVENT_MODELS.get(kind)
    if model is None:
        return None
    try:
        return model.model_validate_json(data)  # type: ignore[return-value]
    except ValidationError:
        return None
