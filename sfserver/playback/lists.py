"""The chunks of a track as far as they are known, and the HLS lists over them, which only grow."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from sfserver.media.mp4 import hls
from sfserver.media.mp4.segments import Segment, cut_iframes, cut_segments
from sfserver.playback.growing import GrowingText
from sfserver.publications.reading import Chunk, Publication, Track
from sfserver.publications.service import LEAST_SEGMENTS

_FRESH_S = 0.5
_FEW = 50


@dataclass(frozen=True)
class Cut:
    """A segment, the number of the chunk it lies in, and the GOP of the video with which it ends (exclusive)."""

    chunk: int
    segment: Segment
    end_gop: int


@dataclass
class KnownChunks:
    """The chunks of a track from its first one on, as far as they were there when they were last looked for."""

    publication: Publication
    track: Track
    chunks: list[Chunk] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    is_complete: bool = False
    asked_at: float = -1e9
    lock: Lock = field(default_factory=Lock)
    _lists: dict[str, GrowingText] = field(default_factory=dict)

    @property
    def is_fresh(self) -> bool:
        """Whether it was looked for moments ago, or will never become more."""
        return self.is_complete or time.monotonic() - self.asked_at < _FRESH_S

    @property
    def end_gop(self) -> int:
        """The GOP before which everything is known."""
        return self.cuts[-1].end_gop if self.cuts else 0

    @property
    def has_begun(self) -> bool:
        """Whether there is enough of it for a player to begin."""
        return len(self.cuts) >= LEAST_SEGMENTS

    def extend(self, chunks: list[Chunk]) -> None:
        """Take the chunks that go on where the last one ended; the lock is held."""
        for chunk in chunks:
            if chunk.number < len(self.chunks):
                continue
            if chunk.number > len(self.chunks):
                break
            self.chunks.append(chunk)
            self.cuts += self._cut(chunk)
        self.asked_at = time.monotonic()

    def segments_of(self, number: int) -> list[Segment]:
        """Return the segments of a chunk."""
        chunk = self.chunks[number]
        rule, timescale = self.publication.rule, self.track.timescale
        return cut_segments(chunk.index, timescale, rule, first_gop=chunk.first_gop, start=chunk.start)

    def is_written(self, kind: str) -> bool:
        """Whether a list lacks only a few entries: a long one takes its time."""
        text = self._lists.get(kind)
        return (len(self.chunks) if kind == "iframes" else len(self.cuts)) - (text.parts if text else 0) <= _FEW

    def playlist(self, kind: str, *, packed: bool, before_gop: int | None = None) -> bytes:
        """Return a list: `live` (of what ends before a GOP, if that is said), `vod` or `iframes`.

        Costs what is new since the last time.
        """
        with self.lock:
            if kind == "live":
                return self._live(packed=packed, before_gop=before_gop)
            text = self._text(kind, "../")
            if kind == "iframes":
                self._write_iframes(text)
            else:
                self._write(text, "../", len(self.cuts))
            return text.whole(hls.END_LIST, packed=packed)

    def _live(self, *, packed: bool, before_gop: int | None) -> bytes:
        """Return the list that grows. One that is too short for a player shows nothing."""
        text, count = self._text("live", "../../"), len(self.cuts)
        while self.publication.live and before_gop is not None and count and self.cuts[count - 1].end_gop > before_gop:
            count -= 1
        if not self.publication.live or count >= LEAST_SEGMENTS:
            self._write(text, "../../", count)
        return text.whole(hls.END_LIST if self._has_ended() else "", packed=packed)

    def _text(self, kind: str, root: str) -> GrowingText:
        text = self._lists.get(kind)
        if text is None:
            init, target_s = f"{root}{self.track.path}/init.mp4", self.publication.target_s
            is_index = kind == "iframes"
            head = hls.iframe_head(init, target_s) if is_index else hls.media_head(init, target_s, live=kind == "live")
            text = self._lists[kind] = GrowingText(head)
        return text

    def _write(self, text: GrowingText, root: str, count: int) -> None:
        for cut in self.cuts[text.parts : count]:
            text.append(hls.segment_lines(f"{root}{self.track.path}/{cut.chunk}.m4s", [cut.segment]))

    def _write_iframes(self, text: GrowingText) -> None:
        for chunk in self.chunks[text.parts :]:
            iframes = cut_iframes(chunk.index, self.track.timescale, start=chunk.start)
            text.append(hls.segment_lines(f"../{self.track.path}/{chunk.number}.m4s", iframes))

    def _cut(self, chunk: Chunk) -> list[Cut]:
        firsts = self.publication.rule.firsts(chunk.first_gop, len(chunk.index.sizes))
        if not firsts:
            return []
        ends = [chunk.first_gop + end for end in (*firsts[1:], len(chunk.index.sizes))]
        return [Cut(chunk.number, *pair) for pair in zip(self.segments_of(chunk.number), ends, strict=True)]

    def _has_ended(self) -> bool:
        """Whether everybody who follows the list has seen its last segment by now.

        Chromium's own HLS loses a last segment that comes together with the end.
        """
        published_at, wait = self.publication.published_at, timedelta(seconds=2 * self.publication.target_s)
        is_short = len(self.cuts) < LEAST_SEGMENTS  # nobody was shown anything of it before
        return published_at is not None and (is_short or datetime.now(UTC) - published_at >= wait)
