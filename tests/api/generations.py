"""Generations of a video made by hand: rows as stages would leave them, over objects of random bytes."""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain

import numpy as np
from sqlalchemy.orm import Session

from sfserver.media.contract import AudioPlan, EncodePlan, PackageResult, Rational, Rung, TrackFacts
from sfserver.media.mp4.tracks import FragmentIndex
from sfserver.models import Job, Track, TrackChunk
from sfserver.publications import repository as publications
from sfserver.publications import service as tracks

QUALITIES = ("720p", "360p")
# GOPs a chunk: the picture's end where the sound's do not, and the last GOP has no sound of its own.
PICTURE_CHUNKS, SOUND_CHUNKS = (1, 1, 1, 4, 3), (3, 6)
GOPS, GOP_S = sum(PICTURE_CHUNKS), 2

Fragments = list[bytes]


def make_plan() -> EncodePlan:
    """Return the plan of 20 s in two rungs with sound."""
    return EncodePlan(
        fps=Rational(30, 1),
        timescale=90_000,
        frame_ticks=3000,
        gop_frames=60,
        frames=60 * GOPS,
        video_stream_index=0,
        rungs=[Rung(name, int(name[:-1]) * 16 // 9, int(name[:-1]), 10**6, "libx264", {}, "") for name in QUALITIES],
        chunks=[],
        audio=AudioPlan(1, 128_000, 48_000, 2, 936, [3, 9]),
        reasons=[],
        opening_gops=3,
    )


def make_track(chance: random.Random, most: int, chunks: Sequence[int]) -> list[Fragments]:
    """Return the fragments of each chunk of a track."""
    return [[chance.randbytes(chance.randrange(20, most)) for _ in range(count)] for count in chunks]


class Generation:
    """The random bytes of one generation: objects by key below `folder`, and the progressive files they come to."""

    def __init__(self, folder: str, seed: str) -> None:
        chance = random.Random(seed)
        self.folder = folder
        self.tracks = {name: make_track(chance, 6000, PICTURE_CHUNKS) for name in QUALITIES}
        self.tracks[tracks.SOUND] = make_track(chance, 900, SOUND_CHUNKS)
        self.heads = {name: chance.randbytes(700) for name in QUALITIES}
        self.inits = {name: chance.randbytes(90) for name in self.tracks}

    @property
    def objects(self) -> dict[str, bytes]:
        """What is stored, by key."""
        chunks = {
            self.key(name, number): b"".join(fragments)
            for name, track in self.tracks.items()
            for number, fragments in enumerate(track)
        }
        return chunks | {self.head_key(name): head for name, head in self.heads.items()}

    @property
    def files(self) -> dict[str, bytes]:
        """The progressive files, put together as the specification of the virtual file says."""
        sounds = [*chain.from_iterable(self.tracks[tracks.SOUND]), b""]
        return {
            name: head + b"".join(a + b for a, b in zip(chain.from_iterable(self.tracks[name]), sounds, strict=True))
            for name, head in self.heads.items()
        }

    def key(self, track: str, number: int) -> str:
        return f"{self.folder}/{track}.{number}.m4s"

    def head_key(self, quality: str) -> str:
        return f"{self.folder}/{quality}.head"

    def begin(self, session: Session, job: Job) -> None:
        """Open the publication, as the probe does."""
        job.plan = asdict(replace(make_plan(), chunks=[]))
        tracks.begin(session, job, make_plan())

    def show(self, session: Session, job: Job, name: str, first: int, count: int) -> None:
        """Record chunks of a track."""
        track = self._track(session, job, name)
        lengths = [len(fragments) for fragments in self.tracks[name]]
        track.init, track.codec_config = self.inits[name], "00"
        for number in range(first, first + count):
            sizes = np.array([len(fragment) for fragment in self.tracks[name][number]], np.uint32)
            index = FragmentIndex(sizes, np.full(len(sizes), GOP_S * track.timescale, np.uint32), sizes // 2)
            chunk = TrackChunk(
                track_id=track.id,
                index=number,
                key=self.key(name, number),
                size_bytes=int(sizes.sum()),
                first_gop=sum(lengths[:number]),
                fragments=index.pack(),
            )
            session.add(chunk)
            track.shown_chunks += 1
        session.flush()

    def show_all(self, session: Session, job: Job) -> None:
        """Record every chunk of every track."""
        for name, track in self.tracks.items():
            self.show(session, job, name, 0, len(track))

    def package(self) -> PackageResult:
        """Return what the packager would have measured."""
        facts = {tracks.SOUND: TrackFacts(self._size(tracks.SOUND), 100_000, 100_000)}
        for name, file in self.files.items():
            rates = {"average_bps": 900_000, "peak_bps": 1_400_000}
            iframes = {"iframe_average_bps": 100_000, "iframe_peak_bps": 150_000}
            whole = {"head_bytes": len(self.heads[name]), "progressive_bytes": len(file)}
            facts[name] = TrackFacts(self._size(name), **rates, **iframes, **whole)
        return PackageResult(facts, {name: f"{name}.head" for name in QUALITIES})

    def _size(self, name: str) -> int:
        return sum(len(fragment) for chunk in self.tracks[name] for fragment in chunk)

    def _track(self, session: Session, job: Job, name: str) -> Track:
        publication = publications.find_publication_of_job(session, job.id)
        assert publication is not None
        return next(track for track in publications.tracks_of(session, [publication.id]) if track.name == name)
