"""Forms parsed while they stream: however they are cut, the same comes out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.errors import BadRequestError
from sfserver.uploads.form import StreamedForm

BOUNDARY = "----boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, *, file_name: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def parse(body: bytes, cuts: list[int]) -> tuple[dict[str, str], str | None, bytes]:
    received = bytearray()
    form = StreamedForm(TYPE, received.extend)
    positions = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(positions):
        form.feed(body[start:end])
    form.finish()
    return form.fields, form.file_name, bytes(received)


@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 5000), max_size=20), after=st.booleans())
def test_any_file_arrives_whole_however_the_body_is_cut(data: bytes, cuts: list[int], *, after: bool) -> None:
    title, file = part("title", "Grüße 🎬".encode()), part("file", data, file_name="a.mp4")
    body = (file + title if after else title + file) + END
    assert parse(body, cuts) == ({"title": "Grüße 🎬"}, "a.mp4", data)


def test_a_boundary_look_alike_in_the_file_is_data() -> None:
    data = b"\r\n------boundar\r\n--" + b"--boundary--" * 3
    assert parse(part("file", data, file_name="x") + END, list(range(300)))[2] == data


@pytest.mark.parametrize(
    ("header", "expected"),
    [('filename="a b.mp4"', "a b.mp4"), ("filename*=UTF-8''gr%C3%BC%C3%9Fe.mp4", "grüße.mp4"), ('filename=""', "")],
)
def test_file_names_come_in_every_spelling(header: str, expected: str) -> None:
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; {header}\r\n\r\nx\r\n'.encode() + END
    assert parse(body, [])[1] == expected


@pytest.mark.parametrize(
    "body",
    [
        part("file", b"x", file_name="a"),
        part("file", b"x", file_name="a") + part("file", b"y", file_name="b") + END,
        part("title", b"t" * 70_000) + END,
        b"".join(part(f"f{n}", b"") for n in range(40)) + END,
        b"no boundary at all" * 10,
        f"--{BOUNDARY}\r\nX: {'y' * 10_000}\r\n\r\n\r\n".encode() + END,
    ],
    ids=["cut off", "two files", "long field", "many fields", "no form", "long header"],
)
def test_bad_forms_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(body, [])


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(BadRequestError):
        StreamedForm(content_type, bytearray().extend)
