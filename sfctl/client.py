"""Typed client of the HTTP API: wire models in and out, every refusal a `ClientError`."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from sfctl.errors import ClientError, CliError, ServerUnreachableError
from sfctl.exits import Exit, exit_for_status
from sfserver.wire.accounts import SignInLink, UserRead
from sfserver.wire.jobs import JobExplain, JobRead, JobStatusRead, UploadAccepted
from sfserver.wire.page import Page
from sfserver.wire.problem import Problem
from sfserver.wire.system import HealthRead
from sfserver.wire.videos import VideoLinks, VideoRead

Model = TypeVar("Model", bound=BaseModel)
_PAGE_LIMIT = 100


class Client:
    """Synchronous client of one server as one user; `transport` replaces the network in tests."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.token = check_url(url), token
        self._http = httpx.Client(
            base_url=self.url,
            headers=auth_headers(token),
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            transport=transport,
            trust_env=not is_loopback(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def absolute(self, url: str) -> str:
        """Complete a path of a link model to a URL; anything but http(s) is refused."""
        full = urljoin(self.url + "/", url)
        if urlsplit(full).scheme not in {"http", "https"}:
            raise _nonsense(self.url, f"a link with scheme {urlsplit(full).scheme!r}")
        return full

    def health(self) -> HealthRead:
        """Read the health of the server; a body with status `down` comes as 503 and is no error here."""
        response = self._send("GET", "/api/health", accept_status=503)
        return read_model(response, HealthRead)

    def me(self) -> UserRead:
        """Read who is signed in."""
        return read_model(self._send("GET", "/api/users/me"), UserRead)

    def jobs(self, *, status: str | None = None) -> Iterator[JobRead]:
        """Walk over all jobs, newest first, page by page as they are used."""
        return self._walk("/api/jobs", Page[JobRead], {"status": status} if status else {})

    def job(self, job_id: str) -> JobRead:
        """Read a job."""
        return read_model(self._send("GET", _path("jobs", job_id)), JobRead)

    def job_status(self, job_id: str) -> JobStatusRead:
        """Read where a job stands."""
        return read_model(self._send("GET", _path("jobs", job_id, "status")), JobStatusRead)

    def explain(self, job_id: str) -> JobExplain:
        """Read why a job did what it did."""
        return read_model(self._send("GET", _path("jobs", job_id, "explain")), JobExplain)

    def cancel_job(self, job_id: str) -> None:
        """Cancel a running job; one that has ended is left alone, and refused with `job_finished`."""
        self._send("POST", _path("jobs", job_id, "cancel"))

    def retry_job(self, job_id: str) -> JobRead:
        """Set a job that failed or was cancelled going again."""
        return read_model(self._send("POST", _path("jobs", job_id, "retry")), JobRead)

    def reprocess(self, video_id: str, stage: str | None = None) -> UploadAccepted:
        """Process a video again, all of it or one stage; return the job that does it."""
        what = ("stages", stage, "redo") if stage else ("reprocess",)
        return read_model(self._send("POST", _path("videos", video_id, *what)), UploadAccepted)

    def poster(self, video_id: str, kind: str, size: str) -> bytes:
        """Read the poster of a video as `jpg` or `webp`, `large` or `small`."""
        return self._send("GET", _path("videos", video_id, f"poster.{kind}"), params={"size": size}).content

    def videos(self, *, status: str | None = None) -> Iterator[VideoRead]:
        """Walk over all videos, newest first, page by page as they are used."""
        return self._walk("/api/videos", Page[VideoRead], {"status": status} if status else {})

    def video(self, video_id: str) -> VideoRead:
        """Read a video."""
        return read_model(self._send("GET", _path("videos", video_id)), VideoRead)

    def delete_video(self, video_id: str, *, purge: bool = False) -> None:
        """Move a video to the trash, or with `purge` remove everything of it."""
        self._send("DELETE", _path("videos", video_id), params={"purge": "1"} if purge else None)

    def links(self, video_id: str) -> VideoLinks:
        """Read the signed URLs of a video, all of them absolute."""
        links = read_model(self._send("GET", _path("videos", video_id, "links")), VideoLinks)
        files = [file.model_copy(update={"url": self.absolute(file.url)}) for file in links.files]
        dash = self.absolute(links.dash) if links.dash else None
        return links.model_copy(update={"hls": self.absolute(links.hls), "dash": dash, "files": files})

    def find_links(self, video_id: str) -> VideoLinks | None:
        """Read the signed URLs of a video, None while nothing of it can be played."""
        try:
            return self.links(video_id)
        except ClientError as error:
            if error.code != "unknown_rendition":
                raise
            return None

    def read_playlist(self, url: str) -> str:
        """Read a playlist by its signed URL, which needs no token and gets none."""
        request = self._http.build_request("GET", url)
        request.headers.pop("Authorization", None)
        with mapped_errors(self.url):
            response = self._http.send(request)
        if not response.is_success:
            raise problem_of(response)
        return response.text

    def sign_in_link(self, next_path: str) -> str:
        """Make a URL that signs one browser in once and leads to `next_path`."""
        response = self._send("POST", "/api/auth/one-time", json={"next": next_path})
        return self.absolute(read_model(response, SignInLink).url)

    @contextmanager
    def stream_file(self, video_id: str, quality: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open a progressive file for reading; 200, 206 and 416 are the caller's to judge."""
        with (
            mapped_errors(self.url),
            self._http.stream("GET", _path("stream", video_id, quality), headers=headers) as response,
        ):
            if response.status_code not in {200, 206, 416}:
                response.read()
                raise problem_of(response)
            yield response

    def _walk(self, path: str, page_model: type[Page[Model]], params: Mapping[str, str]) -> Iterator[Model]:
        cursor: str | None = None
        while True:
            query = {**params, "limit": str(_PAGE_LIMIT), **({"cursor": cursor} if cursor else {})}
            page = read_model(self._send("GET", path, params=query), page_model)
            yield from page.items
            if page.next_cursor is None or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
        accept_status: int | None = None,
    ) -> httpx.Response:
        with mapped_errors(self.url):
            response = self._http.request(method, path, params=params, json=json)
        if response.is_success or response.status_code == accept_status:
            return response
        raise problem_of(response)


def check_url(url: str) -> str:
    """Return a base URL without its trailing slash; refuse what is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CliError(
            f"not a server address: {url}", hint="an address looks like http://127.0.0.1:8420", exit_code=Exit.USAGE
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine, where no proxy helps."""
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}


def auth_headers(token: str | None) -> dict[str, str]:
    """Make the headers that every request carries."""
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def mapped_errors(url: str) -> Iterator[None]:
    """Turn what httpx raises into a `ServerUnreachableError`."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise ServerUnreachableError(url, "it took too long to answer") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ServerUnreachableError(url, re.sub(r"^\[Errno \d+\] ", "", str(error)) or type(error).__name__) from error


def problem_of(response: httpx.Response) -> ClientError:
    """Read an answer that is no success (RFC 9457, or whatever a proxy said) as an error."""
    status = response.status_code
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return ClientError(
            f"the server answered {status} {response.reason_phrase}".rstrip(),
            code=f"http_{status}",
            status=status,
            exit_code=exit_for_status(status),
            request_id=response.headers.get("x-request-id"),
        )
    return ClientError(
        problem.title,
        code=problem.code,
        status=status,
        exit_code=exit_for_status(status),
        why=problem.detail,
        hint=problem.hint,
        request_id=problem.request_id,
    )


def read_model(response: httpx.Response, model: type[Model]) -> Model:
    """Read a successful answer as `model`."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _nonsense(str(response.request.url), f"{error.error_count()} fields are not as expected") from error


def _nonsense(url: str, why: str) -> ClientError:
    return ClientError(
        f"cannot understand the answer of {url}",
        code="bad_answer",
        status=0,
        exit_code=Exit.FAILED,
        why=why,
        hint="is this a StreamForge server, and of the same version? `sfctl status` shows it",
    )


def _path(*parts: str) -> str:
    return "/api/" + "/".join(quote(part, safe="") for part in parts)
