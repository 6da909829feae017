"""`POST /api/upload`: one file in, parsed and stored while it streams."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from sfserver.accounts.access import SignedIn
from sfserver.deps import Runtime, RuntimeDep
from sfserver.errors import EmptyUploadError, StreamForgeError
from sfserver.jobs.reading import job_links
from sfserver.uploads.form import StreamedForm
from sfserver.uploads.service import IncomingFile, check_size, declared_length, parse_fields
from sfserver.wire.jobs import JobStatus, UploadAccepted

router = APIRouter(tags=["uploads"])
_BATCH_BYTES, _MOST_BYTES = 1 << 20, 4 << 20
_FORM_OVERHEAD_BYTES = 256 * 1024
_FORM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "title": {"type": "string", "maxLength": 300},
                        "description": {"type": "string", "maxLength": 20000},
                        "visibility": {"type": "string", "enum": ["public", "unlisted", "private"]},
                        "language": {"type": "string"},
                        "formats": {"type": "string", "enum": ["mp4", "mp4,webm"]},
                    },
                }
            }
        },
    }
}


@router.post("/api/upload", status_code=201, response_model=UploadAccepted, openapi_extra=_FORM_SCHEMA)
async def upload_video(request: Request, principal: SignedIn, runtime: RuntimeDep) -> Response:
    """Store a video and queue its processing; answered as soon as the last byte is safely stored."""
    limit = runtime.settings.limits.max_upload_bytes
    length = declared_length(request.headers.get("content-length"))
    check_size(max(0, length - _FORM_OVERHEAD_BYTES), limit)
    accepted = await _receive(request.headers.get("content-type", ""), request.stream(), runtime, principal.user_id)
    location = {"Location": accepted.links.self_}
    return Response(accepted.model_dump_json(by_alias=True), 201, location, media_type="application/json")


async def _receive(content_type: str, body: AsyncIterator[bytes], runtime: Runtime, owner_id: str) -> UploadAccepted:
    """Parse and store the body; leave nothing behind unless it is accepted whole."""
    incoming = await run_in_threadpool(IncomingFile, runtime, owner_id)
    try:
        form = StreamedForm(content_type, incoming.write)
        await _store(form, body)
        return await run_in_threadpool(_accept, form, incoming, runtime)
    except (StreamForgeError, ClientDisconnect, asyncio.CancelledError):
        await asyncio.shield(run_in_threadpool(incoming.abort))
        raise


def _accept(form: StreamedForm, incoming: IncomingFile, runtime: Runtime) -> UploadAccepted:
    form.finish()
    if form.file_name is None:
        raise EmptyUploadError
    fields = parse_fields(form.fields)
    incoming.seal()
    with runtime.database.write() as session:
        job = incoming.accept(session, form.file_name, fields)
    links = job_links(job.id, job.video_id)
    return UploadAccepted(job_id=job.id, video_id=job.video_id, status=JobStatus.QUEUED, links=links)


async def _store(form: StreamedForm, body: AsyncIterator[bytes]) -> None:
    """Parse and store the body on a thread while its next bytes arrive: a MiB at a time, more while it is busy."""
    gathered, storing = bytearray(), None
    try:
        async for chunk in body:
            gathered += chunk
            if len(gathered) >= (_BATCH_BYTES if storing is None or storing.done() else _MOST_BYTES):
                if storing is not None:
                    await storing
                storing = asyncio.create_task(run_in_threadpool(form.feed, bytes(gathered)))
                gathered.clear()
    finally:
        # Whatever happened, nobody may write any more when this is left.
        if storing is not None:
            await asyncio.shield(asyncio.wait({storing}))
    if storing is not None:
        await storing
    await run_in_threadpool(form.feed, bytes(gathered))
