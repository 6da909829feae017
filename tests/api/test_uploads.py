"""`POST /api/upload`: what is kept of it, what is refused, and that a refused one leaves nothing."""

import hashlib
import random

import pytest
from sqlalchemy import func, select

from sfserver.infra.queue.contract import Queue
from sfserver.models import Job, Upload, Video
from tests.api.conftest import MKV, Api, bearer

HEADS = {
    "mp4": b"\0\0\0\x20ftypisom",
    "mov": b"\0\0\0\x08wide",
    "avi": b"RIFF\0\0\0\0AVI LIST",
    "mkv": b"\x1a\x45\xdf\xa3",
    "flv": b"FLV\x01",
    "ogg": b"OggS",
    "mpeg": b"\0\0\x01\xba",
    "ts": (b"\x47" + bytes(187)) * 4,
    "m2ts": (bytes(4) + b"\x47" + bytes(187)) * 4,
}
NOT_VIDEO = {
    "text": b"hello, I am a text\n" * 300,
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    "dash": b"<?xml version='1.0'?><MPD></MPD>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "wave": b"RIFF\0\0\0\0WAVEfmt ",
    "zip": b"PK\x03\x04" + bytes(100),
    "one byte": b"\x47",
}


def rows(api: Api) -> tuple[int, int, int]:
    with api.runtime.database.read() as session:
        counts = [session.scalar(select(func.count()).select_from(model)) for model in (Upload, Video, Job)]
    return counts[0] or 0, counts[1] or 0, counts[2] or 0


def leftovers(api: Api) -> tuple[tuple[int, int, int], set[str], int]:
    """Return row counts, objects and temporary files."""
    return rows(api), api.objects(), len(list((api.runtime.settings.data_dir / "tmp").iterdir()))


NOTHING = ((0, 0, 0), set[str](), 0)


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """Return a form with boundary `b`, each part given by its Content-Disposition parameters and content."""
    head = b"--b\r\nContent-Disposition: form-data; "
    return b"".join(head + names.encode() + b"\r\n\r\n" + data + b"\r\n" for names, data in parts) + end


def post(api: Api, body: bytes, content_type: str = "multipart/form-data; boundary=b") -> dict[str, object]:
    answer = api.client.post("/api/upload", content=body, headers=api.signed_in | {"Content-Type": content_type})
    return {"status_code": answer.status_code, **answer.json()}


def test_an_upload_is_stored_and_queued(api: Api) -> None:
    fields = {"title": "Film", "description": "two\nlines", "visibility": "unlisted", "language": "de"}
    answer = api.upload(fields=fields)
    assert answer.status_code == 201
    accepted = answer.json()
    assert answer.headers["location"] == accepted["links"]["self"] == f"/api/jobs/{accepted['job_id']}"
    assert accepted["status"] == "queued"
    video = api.get(accepted["links"]["video"]).json()
    assert {name: video[name] for name in fields} == fields
    assert video["source"]["sha256"] == hashlib.sha256(MKV).hexdigest()
    assert video["source"]["size_bytes"] == len(MKV)
    assert api.rings[Queue.IO] == 1
    assert api.get(f"/api/stream/{accepted['job_id']}/source").content == MKV
    with api.runtime.database.read() as session:
        assert session.scalars(select(Upload.video_id)).one() == accepted["video_id"]


@pytest.mark.parametrize("first", [True, False])
def test_fields_come_before_or_after_the_file(api: Api, first: bool) -> None:
    parts = [('name="title"', "Früh".encode()), ('name="file"; filename="a.mkv"', MKV), ('name="unknown"', b"?")]
    accepted = post(api, form(*(parts if first else reversed(parts))))
    assert accepted["status_code"] == 201
    assert api.get(f"/api/videos/{accepted['video_id']}").json()["title"] == "Früh"


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000])
def test_every_byte_is_kept(api: Api, size: int) -> None:
    data = (HEADS["mkv"] + random.Random(size).randbytes(size))[: max(4, size)]
    accepted = api.upload(data + b"\r\n--")
    assert accepted.status_code == 201
    stored = api.get(f"/api/stream/{accepted.json()['video_id']}/source")
    assert stored.content == data + b"\r\n--"


@pytest.mark.parametrize(
    ("file_name", "title", "kept"),
    [
        ("Mein Film.mp4", "Mein Film", "Mein Film.mp4"),
        ("archive.tar.mkv", "archive.tar", "archive.tar.mkv"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\videos\\x.avi", "x", "x.avi"),
        (".mkv", ".mkv", ".mkv"),
        ("", "video", "video"),
        ("Größe.mov", "Größe", "Größe.mov"),
    ],
)
def test_the_title_is_the_file_name_without_its_extension(api: Api, file_name: str, title: str, kept: str) -> None:
    accepted = post(api, form((f'name="file"; filename="{file_name}"', MKV)))
    video = api.get(f"/api/videos/{accepted['video_id']}").json()
    assert (video["title"], video["source"]["file_name"]) == (title, kept)


def test_an_extended_file_name_is_read(api: Api) -> None:
    accepted = post(api, form(("name=\"file\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.mkv", MKV)))
    assert api.get(f"/api/videos/{accepted['video_id']}").json()["title"] == "Größe"


def test_control_characters_do_not_get_into_texts(api: Api) -> None:
    accepted = post(api, form(('name="title"', b"a\0b\x1b[31mc\x7f"), ('name="file"; filename="a.mkv"', MKV)))
    assert api.get(f"/api/videos/{accepted['video_id']}").json()["title"] == "ab[31mc"


@pytest.mark.parametrize("kind", HEADS)
def test_containers_are_known_by_their_first_bytes(api: Api, kind: str) -> None:
    assert api.upload(HEADS[kind] + bytes(1000), name="whatever.txt").status_code == 201


@pytest.mark.parametrize("kind", NOT_VIDEO)
def test_what_is_not_a_video_is_refused(api: Api, kind: str) -> None:
    answer = api.upload(NOT_VIDEO[kind], name="film.mp4")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
    assert leftovers(api) == NOTHING


def test_an_upload_without_a_byte_is_refused(api: Api) -> None:
    assert (api.upload(b"").status_code, api.upload(b"").json()["code"]) == (400, "empty_upload")
    for body in (form(("name=title", b"x")), form()):
        assert post(api, body)["code"] == "empty_upload"
    assert leftovers(api) == NOTHING


@pytest.mark.parametrize(
    "body",
    [
        form(('name="file"; filename="a"', MKV), end=b""),
        form(('name="file"; filename="a"', MKV), ('name="file"; filename="b"', MKV)),
        form(('name="file"; filename="a"', MKV), ('name="title"', b"x" * 100_000)),
        form(*[(f'name="f{n}"', b"x") for n in range(40)], ('name="file"; filename="a"', MKV)),
        form((f'name="file"; filename="{"a" * 10_000}"', MKV)),
        b"no form at all",
        b"--b\r\nbroken header\r\n\r\n",
        b"",
    ],
)
def test_a_broken_form_is_refused(api: Api, body: bytes) -> None:
    refused = post(api, body)
    assert (refused["status_code"], refused["code"]) == (400, "bad_request")
    assert leftovers(api) == NOTHING


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data", "video/mp4", "multipart/mixed; boundary=b"]
)
def test_what_is_no_form_holds_no_file(api: Api, content_type: str) -> None:
    refused = post(api, form(('name="file"; filename="a"', MKV)), content_type)
    assert (refused["status_code"], refused["code"]) == (400, "empty_upload")


@pytest.mark.parametrize(
    "field", [("visibility", "secret"), ("language", "x/y"), ("formats", "gif"), ("title", "x" * 301)]
)
def test_a_field_that_does_not_fit_is_named(api: Api, field: tuple[str, str]) -> None:
    refused = api.upload(fields=dict([field]))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert field[0] in refused.json()["detail"]
    assert leftovers(api) == NOTHING


def test_a_file_may_be_as_large_as_the_limit(api: Api) -> None:
    api.runtime.settings.limits.max_upload_bytes = len(MKV)
    assert api.upload(MKV).status_code == 201
    before = leftovers(api)
    refused = api.upload(MKV + b"!")
    assert (refused.status_code, refused.json()["code"]) == (413, "upload_too_large")
    assert str(len(MKV)) in refused.json()["detail"]
    assert leftovers(api) == before


def test_a_declared_length_is_judged_before_anything_is_read(api: Api) -> None:
    api.runtime.settings.limits.max_upload_bytes = 1000
    refused = api.upload(bytes(400_000))
    assert (refused.status_code, refused.headers["connection"]) == (413, "close")
    assert leftovers(api) == NOTHING


def test_an_upload_needs_a_user(api: Api) -> None:
    answer = api.client.post("/api/upload", files={"file": ("a", MKV)}, headers=bearer("sf_wrong"))
    assert answer.status_code == 401
    assert leftovers(api) == NOTHING


def test_an_unfinished_upload_is_swept_away(api: Api) -> None:
    from sfserver.uploads.service import IncomingFile, sweep_expired

    with api.runtime.database.read() as session:
        owner_id = session.scalars(select(Upload.owner_id)).first() or api.get("/api/users/me").json()["id"]
    incoming = IncomingFile(api.runtime, owner_id)
    incoming.write(MKV)
    incoming.seal()
    sweep_expired(api.runtime)
    assert rows(api) == (1, 0, 0)
    sweep_expired(api.runtime, all_unfinished=True)
    assert api.collect_garbage() == 1
    assert leftovers(api) == NOTHING
