"""Publications as they can be watched: rows turned into values that no session holds on to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.errors import MediaGoneError, UnknownRenditionError
from sfserver.infra.clock import db_now
from sfserver.media.contract import Rational, TrackFacts
from sfserver.media.mp4.segments import SegmentRule
from sfserver.media.mp4.tracks import FragmentIndex
from sfserver.models import Publication as PublicationRow
from sfserver.models import Track as TrackRow
from sfserver.models import Video
from sfserver.publications import repository
from sfserver.publications.repository import PublicationState

_FACTS = TypeAdapter(TrackFacts)
_PATHS = {"video": "v", "audio": "a"}


@dataclass(frozen=True)
class Track:
    """A track of a publication; `facts` are measured, and so None while it grows."""

    id: str
    kind: str
    name: str
    codecs: str
    timescale: int
    width: int
    height: int
    channels: int
    peak_bps: int
    init: bytes | None
    head_key: str | None
    facts: TrackFacts | None

    @property
    def path(self) -> str:
        """Where its init segment and its chunks lie below the generation."""
        return f"{_PATHS[self.kind]}/{self.name}"


@dataclass(frozen=True)
class Publication:
    """One generation of a video; one that is `live` grows and has no files and no manifest."""

    id: str
    video_id: str
    generation: int
    live: bool
    fps: Rational
    duration_s: float
    target_s: int
    rule: SegmentRule
    created_at: datetime
    published_at: datetime | None
    pictures: tuple[Track, ...]
    sound: Track | None

    @property
    def tracks(self) -> list[Track]:
        """All of them, the best picture first, the sound last."""
        return [*self.pictures, *([self.sound] if self.sound else [])]

    @property
    def qualities(self) -> list[str]:
        """The names of its files."""
        return [] if self.live else [track.name for track in self.pictures]

    def find_track(self, path: str) -> Track | None:
        """Return the track whose init segment and chunks lie at `path`."""
        return next((track for track in self.tracks if track.path == path), None)

    def check_rendition(self, quality: str, container: str = "mp4") -> None:
        """Raise `UnknownRenditionError`, naming what there is, unless the video has this quality and format."""
        if container != "mp4" or quality not in self.qualities:
            raise self.unknown_rendition(f"{quality} {container}")

    def unknown_rendition(self, wanted: str) -> UnknownRenditionError:
        """Return the error that names what there is instead."""
        if self.live:
            return UnknownRenditionError(f"there is no {wanted[:60]} yet", hint="it can be watched as HLS meanwhile")
        have = ", ".join(f"{name} mp4" for name in self.qualities)
        return UnknownRenditionError(f"there is no {wanted[:60]}; there is: {have}")


@dataclass(frozen=True)
class Chunk:
    """A recorded chunk: its object and the size of that, and where in it which fragments lie."""

    number: int
    key: str
    object_bytes: int
    start: int
    first_gop: int
    index: FragmentIndex


def publication_of(session: Session, video: Video) -> Publication:
    """Return what can be watched of a video: what is published, or what grows; else `UnknownRenditionError`."""
    row = repository.find_playable(session, video)
    if row is None:
        raise UnknownRenditionError("nothing of this video can be watched yet", hint="see the status of its job")
    return _read_all(session, [row])[0]


def generation_of(session: Session, video_id: str, generation: int) -> Publication:
    """Return a generation of a video, also one that was replaced while somebody may be in the middle of it.

    Raises `MediaGoneError` for one that was taken back, or replaced too long ago: there was one, as somebody has its
    address.
    """
    row = repository.find_publication(session, video_id, generation)
    if row is None or row.state == PublicationState.WITHDRAWN:
        raise MediaGoneError
    if row.state == PublicationState.RETIRED and (row.until is None or row.until <= db_now(session)):
        raise MediaGoneError
    return _read_all(session, [row])[0]


def published_of(session: Session, video_ids: Sequence[str]) -> dict[str, Publication]:
    """Return what is published of some videos, by video, with two queries."""
    rows = repository.published_of(session, video_ids)
    return {publication.video_id: publication for publication in _read_all(session, rows)}


def chunks_of(session: Session, track_id: str, first: int = 0) -> list[Chunk]:
    """Return the recorded chunks of a track from number `first` on, in order; there may be gaps between them."""
    return [
        Chunk(
            number=row.index,
            key=row.key,
            object_bytes=row.start + row.size_bytes,
            start=row.start,
            first_gop=row.first_gop,
            index=FragmentIndex.unpack(row.fragments),
        )
        for row in repository.chunks_of(session, track_id, first)
    ]


def find_init(session: Session, track_id: str) -> bytes | None:
    """Return the init segment of a track, or None while it has no chunk."""
    return repository.find_init(session, track_id)


def _read_all(session: Session, rows: Sequence[PublicationRow]) -> list[Publication]:
    tracks: dict[str, list[Track]] = {row.id: [] for row in rows}
    for track in repository.tracks_of(session, list(tracks)):
        tracks[track.publication_id].append(_read_track(track))
    return [_read(row, tracks[row.id]) for row in rows]


def _read(row: PublicationRow, tracks: Sequence[Track]) -> Publication:
    return Publication(
        id=row.id,
        video_id=row.video_id,
        generation=row.generation,
        live=row.state == PublicationState.GROWING,
        fps=Rational(row.fps_num, row.fps_den),
        duration_s=row.duration_s,
        target_s=row.target_s,
        rule=SegmentRule(row.segment_gops, row.opening_gops),
        created_at=row.created_at,
        published_at=row.published_at,
        pictures=tuple(track for track in tracks if track.kind == "video"),
        sound=next((track for track in tracks if track.kind == "audio"), None),
    )


def _read_track(row: TrackRow) -> Track:
    return Track(
        id=row.id,
        kind=row.kind,
        name=row.name,
        codecs=row.codecs,
        timescale=row.timescale,
        width=row.width,
        height=row.height,
        channels=row.channels,
        peak_bps=row.peak_bps,
        init=row.init,
        head_key=row.head_key,
        facts=None if row.facts is None else _FACTS.validate_python(row.facts),
    )
