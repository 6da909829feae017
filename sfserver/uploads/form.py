"""A multipart form parsed while it streams (RFC 7578): text fields are kept, the one file goes through a callback."""

from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from sfserver.errors import BadRequestError, EmptyUploadError

_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 8 * 1024


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    value: bytearray = field(default_factory=bytearray)


class StreamedForm:
    """Feed it a request body; it fills `fields` and `file_name` and hands the file's bytes to `on_file_data`.

    Raises `BadRequestError` for anything that is not one well-formed form with at most one file.
    """

    def __init__(self, content_type: str, on_file_data: Callable[[bytes], None]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise EmptyUploadError("this is not a multipart form")
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self._on_file_data = on_file_data
        self._part = _Part()
        self._parts = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._add_header(self._header_name, data[start:end]),
                "on_header_value": lambda data, start, end: self._add_header(self._header_value, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the body."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise BadRequestError(f"the form is malformed: {error}") from error

    def finish(self) -> None:
        """Say that the body is over; a form cut off is an error."""
        if not self._is_complete:
            raise BadRequestError("the form ends before its last boundary")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_FIELDS:
            raise BadRequestError(f"more than {_MAX_FIELDS} form fields")
        self._part = _Part()

    def _add_header(self, buffer: bytearray, data: bytes) -> None:
        buffer += data
        if len(buffer) > _MAX_HEADER_BYTES:
            raise BadRequestError("a form field's header is too long")

    def _end_header(self) -> None:
        self._part.headers[self._header_name.decode("latin-1").lower()] = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition = self._part.headers.get("content-disposition", b"").decode("utf-8", "replace")
        message = Message()
        message["Content-Disposition"] = disposition
        self._part.name = str(message.get_param("name", "", "content-disposition"))
        self._part.is_file = self._part.name == "file"
        if self._part.is_file:
            if self.file_name is not None:
                raise BadRequestError("one upload takes one file")
            self.file_name = message.get_filename("") or ""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._on_file_data(data[start:end])
            return
        self._part.value += data[start:end]
        if len(self._part.value) > _MAX_FIELD_BYTES:
            raise BadRequestError("a form field is too long")

    def _end_part(self) -> None:
        if not self._part.is_file:
            self.fields[self._part.name] = self._part.value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._is_complete = True
