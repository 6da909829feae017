"""Fetching a file by ranges into something that may hold its beginning already (RFC 9110, 13.1.5 and 14)."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sfctl.errors import CliError, ServerUnreachableError
from sfctl.exits import Exit

if TYPE_CHECKING:
    import httpx

    from sfctl.client import Client


class Target(Protocol):
    """Where a file goes: `offset` bytes of the representation `etag` are there already."""

    offset: int
    etag: str | None

    def restart(self, etag: str | None) -> None:
        """Throw away what is there: another representation comes."""

    def write(self, data: bytes) -> None:
        """Append."""

    def close(self) -> None:
        """Let go of the file, whole or not."""

    def finish(self) -> Path | None:
        """Put the whole file in its place and return that, None where it has none."""


class FileTarget:
    """`FILE.part`, and its entity tag in `FILE.part.etag`, until the file is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._tag = path.with_name(path.name + ".part.etag")
        try:
            self.etag = self._tag.read_text() if self._part.exists() and self._tag.exists() else None
            # Without its tag nobody knows what the bytes are of.
            self._file = self._part.open("ab" if self.etag else "wb")
        except OSError as error:
            raise CliError(f"cannot write {self._part}", why=error.strerror, exit_code=Exit.USAGE) from error
        self.offset = self._file.tell()

    def restart(self, etag: str | None) -> None:
        """Empty the part file and remember what it will be a part of."""
        self._file.truncate(0)
        self.offset, self.etag = 0, etag
        if etag:
            self._tag.write_text(etag)
        else:
            self._tag.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append to the part file."""
        try:
            self._file.write(data)
        except OSError as error:
            hint = "run it again to continue"
            raise CliError(f"cannot write {self._part}", why=error.strerror, hint=hint) from error
        self.offset += len(data)

    def close(self) -> None:
        """Bring the bytes to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def finish(self) -> Path:
        """Rename the part file."""
        self._part.replace(self._path)
        self._tag.unlink(missing_ok=True)
        return self._path


class PipeTarget:
    """A pipe: what is written is gone, so the file must not change under way."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.offset = 0
        self.etag: str | None = None

    def restart(self, etag: str | None) -> None:
        """Start, or fail where something else was written already."""
        if self.offset:
            raise CliError("the file changed while it was downloaded", hint="run it again")
        self.etag = etag

    def write(self, data: bytes) -> None:
        """Pass on."""
        self._pipe.write(data)
        self.offset += len(data)

    def close(self) -> None:
        """Pass on what is left."""
        self._pipe.flush()

    def finish(self) -> None:
        """There is no place to put it."""


def fetch(client: "Client", video_id: str, quality: str, target: Target, on_bytes: Callable[[int, int], None]) -> None:
    """Fetch what `target` lacks; `on_bytes` hears how many bytes are there, of how many.

    Raises `ServerUnreachableError` where the connection broke, with what came in the target.
    """
    headers = {"Accept-Encoding": "identity"}
    if target.offset and target.etag:
        headers |= {"Range": f"bytes={target.offset}-", "If-Range": target.etag}
    with client.stream_file(video_id, quality, headers) as response:
        total = _prepare(client, response, target)
        if response.status_code != 416:
            # No chunk size: what has arrived when the connection breaks must reach the target.
            for data in response.iter_raw():
                target.write(data)
                on_bytes(target.offset, total)
    if target.offset != total:
        raise ServerUnreachableError(client.url, f"the answer ended after {target.offset} of {total} bytes")


def _prepare(client: "Client", response: "httpx.Response", target: Target) -> int:
    """Bring the target in line with an answer and return the size of the whole file in bytes."""
    content_range = response.headers.get("content-range", "")
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
        if match and int(match[1]) == target.offset:
            return int(match[2])
    elif response.status_code == 416:
        # Asked for what follows the end: the part was whole already.
        if content_range == f"bytes */{target.offset}":
            return target.offset
        target.restart(None)
    elif response.headers.get("content-length", "").isdigit():
        etag = response.headers.get("etag", "")
        # If-Range takes strong tags only (RFC 9110, 13.1.5).
        target.restart(None if etag.startswith("W/") else etag or None)
        return int(response.headers["content-length"])
    raise ServerUnreachableError(client.url, f"an answer that does not fit: {response.status_code} {content_range}")
