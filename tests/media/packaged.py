"""What players are given of encoded parts: tracks, progressive files, lists and manifests, as the server makes them."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sfserver.media.contract import EncodePlan, PackageResult, TrackFacts
from sfserver.media.mp4 import dash, hls
from sfserver.media.mp4.movie import Track, audio_codecs, audio_track, build_init, video_codecs, video_track
from sfserver.media.mp4.package import PackageArguments, StoredTables, run_package, segment_rule, write_tables
from sfserver.media.mp4.segments import Segment, cut_iframes, cut_segments, target_duration_s
from sfserver.media.mp4.virtual import Placed, VirtualFile, read_spans
from tests.media.encoded import AAC_FRAME, SOUND, Encoded, Stored, encode


@dataclass(frozen=True)
class Packaged:
    """What packaging made of the parts, and all that is a view over them."""

    encoded: Encoded
    result: PackageResult
    workdir: Path
    progress: list[float]

    @property
    def plan(self) -> EncodePlan:
        return self.encoded.plan

    @property
    def target_s(self) -> int:
        fps = Fraction(self.plan.fps.num, self.plan.fps.den)
        return target_duration_s(self.plan.gop_frames, fps, segment_rule(self.plan))

    def describe(self, name: str) -> Track:
        """Describe a track by the plan and its first part."""
        part = self.encoded.tracks[name][0].part
        config = bytes.fromhex(part.codec_config)
        if name == SOUND:
            assert self.plan.audio is not None
            return audio_track(self.plan.audio, config)
        rung = next(rung for rung in self.plan.rungs if rung.name == name)
        return video_track(rung, self.plan.timescale, self.plan.picture, config, part.delay_ticks)

    def init(self, name: str) -> bytes:
        if name == SOUND:
            assert self.plan.audio is not None
            return build_init(self.describe(name), self.plan.audio.frames * AAC_FRAME)
        return build_init(self.describe(name), self.plan.frames * self.plan.frame_ticks)

    def media(self, name: str) -> bytes:
        """All fragments of a track."""
        return b"".join(stored.data for stored in self.encoded.tracks[name])

    def track(self, name: str) -> bytes:
        """What a player has read after the init segment and all chunks."""
        return self.init(name) + self.media(name)

    def objects(self, quality: str) -> list[bytes]:
        """The head of the progressive file, and the objects of both its tracks."""
        chunks = [*self.encoded.tracks[quality], *self.encoded.tracks.get(SOUND, [])]
        return [(self.workdir / self.result.heads[quality]).read_bytes(), *(stored.object for stored in chunks)]

    def layout(self, quality: str) -> VirtualFile:
        """Arrange the progressive file as the server does, from what is recorded of each chunk."""
        video, audio = self.encoded.tracks[quality], self.encoded.tracks.get(SOUND, [])
        placed = Placed.in_objects(1, [(stored.start, stored.table.index.sizes) for stored in video])
        sound = Placed.in_objects(1 + len(video), [(stored.start, stored.table.index.sizes) for stored in audio])
        return VirtualFile.arrange(self.result.tracks[quality].head_bytes, placed, sound if audio else None)

    def progressive(self, quality: str, start: int = 0, end: int | None = None) -> bytes:
        objects, layout = self.objects(quality), self.layout(quality)
        spans = layout.iter_range(start, layout.size if end is None else end)
        return read_spans(spans, lambda number, offset, length: objects[number][offset : offset + length])

    def cut(self, name: str, stored: Stored) -> list[Segment]:
        rule, timescale = segment_rule(self.plan), self.describe(name).timescale
        return cut_segments(stored.table.index, timescale, rule, first_gop=stored.part.first_gop, start=stored.start)

    def playlist(self, name: str, *, live: bool = False, chunks: int | None = None) -> str:
        """The media playlist of a track, or the one that grows, when `chunks` are there."""
        root = "../../" if live else "../"
        text = hls.media_head(f"{root}{path_of(name)}/init.mp4", self.target_s, live=live)
        for number, stored in enumerate(self.encoded.tracks[name][:chunks]):
            text += hls.segment_lines(f"{root}{path_of(name)}/{number}.m4s", self.cut(name, stored))
        return text + (hls.END_LIST if chunks is None else "")

    def iframes(self, name: str) -> str:
        text = hls.iframe_head(f"../{path_of(name)}/init.mp4", self.target_s)
        for number, stored in enumerate(self.encoded.tracks[name]):
            frames = cut_iframes(stored.table.index, self.plan.timescale, start=stored.start)
            text += hls.segment_lines(f"../{path_of(name)}/{number}.m4s", frames)
        return text + hls.END_LIST

    def codecs(self, name: str) -> str:
        config = bytes.fromhex(self.encoded.tracks[name][0].part.codec_config)
        return audio_codecs(config) if name == SOUND else video_codecs(config)

    def variants(self) -> list[hls.Variant]:
        heard = self.result.tracks.get(SOUND, TrackFacts(0, 0, 0))
        found = [(rung, self.result.tracks[rung.name]) for rung in self.plan.rungs]
        return [
            hls.Variant(
                rung.name,
                rung.width,
                rung.height,
                self.codecs(rung.name),
                peak_bps=facts.peak_bps + heard.peak_bps,
                average_bps=facts.average_bps + heard.average_bps,
                iframe_peak_bps=facts.iframe_peak_bps,
                iframe_average_bps=facts.iframe_average_bps,
            )
            for rung, facts in found
        ]

    def master(self, *, prefix: str = "", language: str = "und") -> str:
        sound = hls.Sound(self.codecs(SOUND), 2) if self.plan.audio else None
        fps = self.plan.fps.num / self.plan.fps.den
        return hls.master_playlist(self.variants(), sound, fps=fps, prefix=prefix, language=language)

    def manifest(self, prefix: str = "../", *, language: str = "und") -> str:
        pictures = [self._representation(name, prefix) for name in self.encoded.rungs]
        sound = self._representation(SOUND, prefix) if self.plan.audio else None
        duration_s = self.plan.frames * self.plan.fps.den / self.plan.fps.num
        return dash.dash_manifest(pictures, sound, duration_s=duration_s, fps=self.plan.fps, language=language)

    def _representation(self, name: str, prefix: str) -> dash.Representation:
        track = self.describe(name)
        return dash.Representation(
            name=name,
            codecs=self.codecs(name),
            bandwidth_bps=self.result.tracks[name].peak_bps,
            timescale=track.timescale,
            init_url=f"{prefix}{path_of(name)}/init.mp4",
            chunks=[
                dash.Chunk(f"{prefix}{path_of(name)}/{number}.m4s", self.cut(name, stored))
                for number, stored in enumerate(self.encoded.tracks[name])
            ],
            width=track.width,
            height=track.height,
            sample_rate=0 if track.width else track.timescale,
        )

    def publish(self, root: Path) -> Path:
        """Write everything to where its URL says."""
        lists = root / "hls"
        (lists / "live").mkdir(parents=True)
        (root / "dash").mkdir()
        for name, chunks in self.encoded.tracks.items():
            folder = root / path_of(name)
            folder.mkdir(parents=True)
            (folder / "init.mp4").write_bytes(self.init(name))
            for number, stored in enumerate(chunks):
                (folder / f"{number}.m4s").write_bytes(stored.object)
            list_name = "audio" if name == SOUND else name
            (lists / f"{list_name}.m3u8").write_text(self.playlist(name))
            (lists / f"live/{list_name}.m3u8").write_text(self.playlist(name, live=True))
        for name in self.encoded.rungs:
            (lists / f"{name}.iframes.m3u8").write_text(self.iframes(name))
        (lists / "master.m3u8").write_text(self.master())
        (root / "dash/manifest.mpd").write_text(self.manifest())
        return root


def path_of(name: str) -> str:
    """Where a track's init segment and its chunks lie."""
    return f"a/{name}" if name == SOUND else f"v/{name}"


def store_tables(workdir: Path, name: str, parts: Sequence[Stored]) -> StoredTables:
    """Record a track as packaging gets it."""
    path, first = workdir / f"{name}.tables", parts[0].part
    write_tables(path, (b64decode(stored.part.table) for stored in parts))
    return StoredTables(name, first.codec_config, first.delay_ticks, path)


def arguments_of(encoded: Encoded, workdir: Path) -> PackageArguments:
    """Record all tracks as packaging gets them."""
    stored = {name: store_tables(workdir, name, parts) for name, parts in encoded.tracks.items()}
    return PackageArguments(encoded.plan, [stored[name] for name in encoded.rungs], stored.get(SOUND))


def package(encoded: Encoded, root: Path) -> Packaged:
    """Package the parts in a directory of its own below `root`."""
    reports: list[float] = []
    inputs, workdir = root / "inputs", root / "made"
    inputs.mkdir()
    workdir.mkdir()
    result = run_package(
        arguments_of(encoded, inputs), workdir, lambda values: reports.append(float(str(values["progress"])))
    )
    return Packaged(encoded, result, workdir, reports)


def make_packaged(plan: EncodePlan, root: Path) -> Packaged:
    """Encode and package the plan."""
    return package(encode(plan), root)
