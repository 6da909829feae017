"""What there is: a publication's chunks, and the lists, manifests and files that are views over them.

Rows of a publication never change, they only become more: what was read of them is kept while there is room.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TypeVar

from sfserver.errors import NotFoundError, ObjectMissingError
from sfserver.infra.db import Database
from sfserver.media.contract import TrackFacts
from sfserver.media.mp4 import dash, hls
from sfserver.media.mp4.virtual import Placed, VirtualFile
from sfserver.playback.bodies import ProgressiveFile, StoredObject
from sfserver.playback.growing import GrowingText
from sfserver.playback.lists import KnownChunks
from sfserver.publications import reading
from sfserver.publications.reading import Chunk, Publication, Track

Value = TypeVar("Value")
_MOST_TRACKS, _MOST_FILES = 64, 32


class Catalogue:
    """What was read of publications, while there is room; asks the database from the thread it is called on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tracks: dict[Hashable, KnownChunks] = {}
        self._files: dict[Hashable, ProgressiveFile] = {}
        self._manifests: dict[Hashable, GrowingText] = {}

    def find_chunks(self, publication: Publication, track: Track) -> KnownChunks | None:
        """Return the chunks of a track if nothing has to be asked for it."""
        known = self._tracks.get((track.id, publication.generation))
        if known is None:
            return None
        known.publication, known.track = publication, track
        return known if known.is_fresh else None

    def load_chunks(self, publication: Publication, track: Track) -> KnownChunks:
        """Return the chunks of a track, asking for those that are new."""
        known = self.find_chunks(publication, track)
        if known is not None:
            return known
        key = (track.id, publication.generation)
        known = _keep(self._tracks, key, lambda: KnownChunks(publication, track), _MOST_TRACKS)
        with self._database.read() as session:
            chunks = reading.chunks_of(session, track.id, len(known.chunks))
        with known.lock:
            known.extend(chunks)
            known.is_complete = known.is_complete or not publication.live
        return known

    def load_init(self, track: Track) -> bytes:
        """Return the init segment of a track. Raises `NotFoundError` while there is none."""
        if track.init is not None:
            return track.init
        with self._database.read() as session:
            init = reading.find_init(session, track.id)
        if init is None:
            raise NotFoundError
        return init

    def find_playlist(self, publication: Publication, track: Track, kind: str, *, packed: bool) -> bytes | None:
        """Return a playlist if nothing has to be asked for it, and next to nothing written."""
        known = self.find_chunks(publication, track)
        beside = [self.find_chunks(publication, each) for each in _pictures_beside(publication, track, kind)]
        if known is None or None in beside or not known.is_written(kind):
            return None
        return known.playlist(kind, packed=packed, before_gop=_least_begun(each for each in beside if each))

    def load_playlist(self, publication: Publication, track: Track, kind: str, *, packed: bool) -> bytes:
        """Return a playlist, asking for the chunks that are new."""
        beside = [self.load_chunks(publication, each) for each in _pictures_beside(publication, track, kind)]
        known = self.load_chunks(publication, track)
        return known.playlist(kind, packed=packed, before_gop=_least_begun(beside))

    def find_chunk(self, publication: Publication, track: Track, number: int) -> Chunk | None:
        """Return one chunk if it is known; nothing is asked."""
        known = self._tracks.get((track.id, publication.generation))
        return known.chunks[number] if known is not None and number < len(known.chunks) else None

    def load_chunk(self, publication: Publication, track: Track, number: int) -> Chunk:
        """Return one chunk, asking for it. Raises `NotFoundError` where it is not shown (yet)."""
        self.load_chunks(publication, track)
        chunk = self.find_chunk(publication, track, number)
        if chunk is None:
            raise NotFoundError
        return chunk

    def find_file(self, publication: Publication, quality: str) -> ProgressiveFile | None:
        """Return a progressive file that is known."""
        return self._files.get((publication.id, publication.generation, quality))

    def load_file(self, publication: Publication, quality: str) -> ProgressiveFile:
        """Return the progressive file of a quality, put together from rows."""
        picture = next(track for track in publication.pictures if track.name == quality)
        sounds = [] if publication.sound is None else self.load_chunks(publication, publication.sound).chunks
        pictures = self.load_chunks(publication, picture).chunks
        key = (publication.id, publication.generation, quality)
        return _keep(self._files, key, lambda: _put_together(picture, pictures, sounds), _MOST_FILES)

    def load_manifest(self, publication: Publication, prefix: str, language: str, *, packed: bool) -> bytes:
        """Return the DASH manifest; `prefix` stands before each URL."""
        known = [self.load_chunks(publication, track) for track in publication.tracks]
        key = (publication.id, publication.generation, language, prefix)
        write = partial(_manifest, publication, known, prefix, language)
        manifest = _keep(self._manifests, key, lambda: GrowingText(write()), _MOST_FILES)
        return manifest.whole("", packed=packed)


def _pictures_beside(publication: Publication, track: Track, kind: str) -> tuple[Track, ...]:
    """Return the pictures that the list of a sound must not get ahead of: some players stop for good where it does."""
    return publication.pictures if kind == "live" and publication.live and track.kind == "audio" else ()


def _least_begun(pictures: Iterable[KnownChunks]) -> int | None:
    """Return how far the picture has got that is the least far of those that have begun; None without pictures."""
    ends = [known.end_gop if known.has_begun else None for known in pictures]
    return min((end for end in ends if end is not None), default=0) if ends else None


def master_playlist(publication: Publication, language: str, prefix: str = "") -> str:
    """Write the multivariant playlist: of the lists that grow, or of those that stay."""
    sound = publication.sound
    heard = None if sound is None else hls.Sound(sound.codecs, sound.channels)
    variants = [_variant(track, sound) for track in publication.pictures]
    prefix += "live/" if publication.live else ""
    fps = publication.fps.num / publication.fps.den
    return hls.master_playlist(variants, heard, fps=fps, prefix=prefix, language=language)


def object_of(chunk: Chunk) -> StoredObject:
    """Return the object that holds a chunk."""
    return StoredObject(chunk.key, chunk.object_bytes)


def _variant(track: Track, sound: Track | None) -> hls.Variant:
    """State measured rates where there are, else the caps of the plan; any segment may meet any of the sound's."""
    shape = (track.name, track.width, track.height, track.codecs)
    if track.facts is None:
        return hls.Variant(*shape, peak_bps=track.peak_bps + (sound.peak_bps if sound else 0))
    heard = sound.facts if sound and sound.facts else TrackFacts(0, 0, 0)
    return hls.Variant(
        *shape,
        peak_bps=track.facts.peak_bps + heard.peak_bps,
        average_bps=track.facts.average_bps + heard.average_bps,
        iframe_peak_bps=track.facts.iframe_peak_bps,
        iframe_average_bps=track.facts.iframe_average_bps,
    )


def _put_together(picture: Track, pictures: list[Chunk], sounds: list[Chunk]) -> ProgressiveFile:
    if picture.facts is None or picture.head_key is None:
        raise NotFoundError
    video = Placed.in_objects(1, [(chunk.start, chunk.index.sizes) for chunk in pictures])
    audio = Placed.in_objects(1 + len(pictures), [(chunk.start, chunk.index.sizes) for chunk in sounds])
    head = StoredObject(picture.head_key, picture.facts.head_bytes)
    layout = VirtualFile.arrange(head.size, video, audio if sounds else None)
    if layout.size != picture.facts.progressive_bytes:
        raise ObjectMissingError("chunks of this file are not known", hint="process it again: sfctl reprocess")
    return ProgressiveFile([head, *(object_of(chunk) for chunk in [*pictures, *sounds])], layout)


def _manifest(publication: Publication, known: list[KnownChunks], prefix: str, language: str) -> str:
    represented = [_representation(each, prefix) for each in known]
    pictures = [each for each in represented if each.width]
    sound = next((each for each in represented if not each.width), None)
    return dash.dash_manifest(
        pictures, sound, duration_s=publication.duration_s, fps=publication.fps, language=language
    )


def _representation(known: KnownChunks, prefix: str) -> dash.Representation:
    track = known.track
    urls = (f"{prefix}{track.path}/{number}.m4s" for number in range(len(known.chunks)))
    chunks = [dash.Chunk(url, known.segments_of(number)) for number, url in enumerate(urls)]
    return dash.Representation(
        name=track.name,
        codecs=track.codecs,
        bandwidth_bps=track.facts.peak_bps if track.facts else track.peak_bps,
        timescale=track.timescale,
        init_url=f"{prefix}{track.path}/init.mp4",
        chunks=chunks,
        width=track.width,
        height=track.height,
        sample_rate=0 if track.width else track.timescale,
    )


def _keep(memory: dict[Hashable, Value], key: Hashable, make: Callable[[], Value], most: int) -> Value:
    """Return what is kept under a key, making it and forgetting the oldest where there is no room."""
    found = memory.get(key)
    if found is None:
        while len(memory) >= most:
            memory.pop(next(iter(memory)), None)
        found = memory.setdefault(key, make())
    return found
