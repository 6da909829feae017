"""What endpoints are handed: the runtime, and a session that is one transaction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from sfserver.tasks.work import Work


@dataclass(frozen=True)
class Runtime(Work):
    """Everything a composition root builds: what work needs, and the secret that signs media URLs.

    `walls` says what confines the media processes, for health.
    """

    signing_key: bytes
    version: str
    walls: Callable[[], str] = lambda: "unknown"


def get_runtime(request: Request) -> Runtime:
    """Return what the composition root built."""
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


def read_session(runtime: RuntimeDep) -> Iterator[Session]:
    """Yield a session for reading."""
    with runtime.database.read() as session:
        yield session


def write_session(runtime: RuntimeDep) -> Iterator[Session]:
    """Yield a session that is committed before the answer leaves."""
    with runtime.database.write() as session:
        yield session


ReadSession = Annotated[Session, Depends(read_session, scope="function")]
WriteSession = Annotated[Session, Depends(write_session, scope="function")]
