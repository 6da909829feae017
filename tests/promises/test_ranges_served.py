"""A4: whatever range is asked of a progressive file over HTTP, exactly those bytes come."""

import hashlib

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sfserver.media.encode.sample import make_sample
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("A4")
QUALITIES = ("720p", "360p")
Span = tuple[int | None, int | None]


@pytest.fixture(scope="module")
def files(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Publish six seconds in two rungs with sound; return the whole file of each, by path."""
    clip = tmp_path_factory.mktemp("ranges") / "clip.mp4"
    make_sample(clip, seconds=6, width=1280, height=720)
    accepted = server.upload(clip)
    assert server.wait(accepted["job_id"])["status"] == "ready"
    paths = [f"/api/stream/{accepted['video_id']}/{quality}" for quality in QUALITIES]
    return {path: server.http.get(path).content for path in paths}


def spans(size: int) -> st.SearchStrategy[Span]:
    """Draw first and last byte; a missing first makes a suffix, a missing last an open end."""
    place = st.one_of(st.integers(0, size - 1), st.sampled_from([0, 1, size - 2, size - 1]))
    near = st.builds(lambda at, more: (at, at + more), place, st.integers(0, 70_000))
    behind = st.builds(lambda at, more: (at, size - 1 + more), place, st.integers(0, 10**12))
    opened = st.builds(lambda at: (at, None), place)
    suffix = st.builds(lambda length: (None, length), st.integers(1, size + 10))
    return st.one_of(near, near, behind, opened, suffix)


def expected(span: Span, size: int) -> tuple[int, int]:
    """Return start and end (exclusive) of what RFC 9110, 14.1.2, selects."""
    first, last = span
    if first is None:
        return max(0, size - (last or 0)), size
    return first, size if last is None else min(size, last + 1)


@sizes(500, 2000)
def test_a_range_is_a_slice(server: EmbeddedServer, files: dict[str, bytes], proof: Proof, size: int) -> None:
    asked = st.sampled_from(sorted(files)).flatmap(lambda path: st.tuples(st.just(path), spans(len(files[path]))))
    quiet = list(HealthCheck)

    @seed(proof.seed)
    @settings(max_examples=size, suppress_health_check=quiet, deadline=None, database=None, phases=[Phase.generate])
    @given(asked)
    def check(asked: tuple[str, Span]) -> None:
        path, span = asked
        whole = files[path]
        first, last = ("" if place is None else str(place) for place in span)
        answer = ranged(server.http, path, f"bytes={first}-{last}")
        start, end = expected(span, len(whole))
        proof.count(1)
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"
        assert answer.headers["content-length"] == str(end - start)
        assert answer.content == whole[start:end], span

    check()


@sizes(1, 20)
def test_pieces_put_together_are_the_whole(
    server: EmbeddedServer, files: dict[str, bytes], proof: Proof, size: int
) -> None:
    for path, whole in files.items():
        for _ in range(size):
            with proof.cell(path):
                digest, at = hashlib.sha256(), 0
                while at < len(whole):
                    end = at + proof.random.randint(1, 300_000)
                    digest.update(ranged(server.http, path, f"bytes={at}-{end - 1}").content)
                    at = end
                assert digest.digest() == hashlib.sha256(whole).digest()


@sizes(10, 200)
def test_many_readers_do_not_mix(server: EmbeddedServer, files: dict[str, bytes], proof: Proof, size: int) -> None:
    """Half-read answers that are dropped, then whole ones on the same connections."""
    (path, whole), *_ = files.items()
    for _ in range(size):
        with proof.cell("a dropped answer"):
            start = proof.random.randrange(len(whole) - 100)
            with server.http.stream("GET", path, headers={"Range": f"bytes={start}-"}) as answer:
                assert next(answer.iter_bytes(64)) == whole[start : start + 64]
            assert ranged(server.http, path, f"bytes={start}-{start + 99}").content == whole[start : start + 100]


def ranged(http: httpx.Client, path: str, header: str) -> httpx.Response:
    answer = http.get(path, headers={"Range": header})
    assert answer.status_code == 206, answer.text[:200]
    return answer
