"""An HLS player without a screen: follows lists as RFC 8216 says, at real time, and counts when it has nothing to show.

It plays one picture and the sound beside it from the start on, holds at most so many seconds ahead, and stalls when
either has run out.
"""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urljoin

import httpx

_AHEAD_S = 30.0
_TICK_S = 0.02
_SEEN_S = 0.05  # nobody sees a picture that stands still for a frame


@dataclass(frozen=True)
class Piece:
    """One segment of a list."""

    duration_s: float
    url: str
    offset: int
    length: int


@dataclass(frozen=True)
class MediaList:
    """A media playlist as a player reads it."""

    target_s: int
    init_url: str
    pieces: list[Piece]
    has_ended: bool


@dataclass
class Watched:
    """What somebody saw: seconds played, and each stall's length.

    Once the last picture is shown, a player does not know that it was: `end_told_s` later the list says so.
    """

    played_s: float = 0.0
    stalls_s: list[float] = field(default_factory=list)
    end_told_s: float | None = None


def first_variants(text: str, url: str) -> list[tuple[int, str]]:
    """Return the height and the list of each variant of a multivariant playlist, in its order."""
    lines = text.splitlines()
    found = []
    for line, uri in pairwise(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            found.append((int(line.partition("RESOLUTION=")[2].partition(",")[0].partition("x")[2]), urljoin(url, uri)))
    return found


def sound_list(text: str, url: str) -> str | None:
    """Return the list of the sound that a multivariant playlist names."""
    line = next((line for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO")), None)
    return urljoin(url, line.partition('URI="')[2].partition('"')[0]) if line else None


def read_list(text: str, url: str) -> MediaList:
    """Read a media playlist of byte ranges."""
    target_s, init_url, pieces = 0, "", list[Piece]()
    duration_s, place = 0.0, (0, 0)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        match name:
            case "#EXT-X-TARGETDURATION":
                target_s = int(value)
            case "#EXT-X-MAP":
                init_url = urljoin(url, value.partition('URI="')[2].partition('"')[0])
            case "#EXTINF":
                duration_s = float(value.partition(",")[0])
            case "#EXT-X-BYTERANGE":
                length, _, offset = value.partition("@")
                place = int(offset), int(length)
            case _ if line and not line.startswith("#"):
                pieces.append(Piece(duration_s, urljoin(url, line), *place))
    return MediaList(target_s, init_url, pieces, "#EXT-X-ENDLIST" in text)


class Player:
    """Plays lists in step; `http` needs no rights, as the lists' addresses carry them."""

    def __init__(self, http: httpx.Client, urls: list[str]) -> None:
        self._tracks = [_Followed(http, url) for url in urls]

    def play(self, most_s: float) -> Watched:
        """Play to the end, or for so many seconds of wall time after the first picture."""
        watched, stalled_at = Watched(), None
        for track in self._tracks:
            track.follow(time.monotonic(), 0.0)
        began = before = time.monotonic()
        while (now := time.monotonic()) < began + most_s:
            for track in self._tracks:
                track.follow(now, watched.played_s)
            shortest = min(self._tracks, key=lambda track: track.buffered_s)
            buffered_s = shortest.buffered_s
            if stalled_at is None:
                watched.played_s = min(buffered_s, watched.played_s + now - before)
            before = now
            is_empty = watched.played_s >= buffered_s
            if is_empty and shortest.is_over:
                watched.end_told_s = 0.0 if stalled_at is None else now - stalled_at
                return watched
            if is_empty and stalled_at is None:
                stalled_at = now
            elif not is_empty and stalled_at is not None:
                watched.stalls_s += [now - stalled_at] * (now - stalled_at >= _SEEN_S)
                stalled_at = None
            time.sleep(_TICK_S)
        if stalled_at is not None:
            watched.stalls_s.append(time.monotonic() - stalled_at)
        return watched


class _Followed:
    """One list: asked for again after its target duration, after half of it where nothing was new (RFC 8216, 6.3.4)."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http, self._url = http, url
        self._list = MediaList(0, "", [], has_ended=False)
        self._due_at = 0.0
        self._taken = -1
        self.buffered_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to come."""
        return self._list.has_ended and self._taken >= len(self._list.pieces)

    def follow(self, now: float, played_s: float) -> None:
        """Ask for the list if it is time to, and for what fits into the buffer."""
        if now >= self._due_at and not self._list.has_ended:
            known = len(self._list.pieces)
            self._list = read_list(self._get(self._url).text, self._url)
            is_new = len(self._list.pieces) > known
            self._due_at = now + self._list.target_s / (1 if is_new else 2)
        if self._taken < 0 and self._list.pieces:
            self._get(self._list.init_url)
            self._taken = 0
        while 0 <= self._taken < len(self._list.pieces) and self.buffered_s < played_s + _AHEAD_S:
            self._take(self._list.pieces[self._taken])

    def _take(self, piece: Piece) -> None:
        wanted = {"Range": f"bytes={piece.offset}-{piece.offset + piece.length - 1}"}
        assert len(self._get(piece.url, wanted).content) == piece.length, f"{piece.url} is cut short"
        self._taken, self.buffered_s = self._taken + 1, self.buffered_s + piece.duration_s

    def _get(self, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
        answer = self._http.get(url, headers=headers)
        assert answer.is_success, f"{answer.status_code} for {url}"
        return answer
