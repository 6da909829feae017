"""From encoded parts to what is published: one file a track, the head of each progressive file, the playlists."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sfserver.media.contract import EncodePlan, PackageResult, RenditionFacts, Rung, SoundFacts
from sfserver.media.mp4.hls import iframe_playlist, media_playlist
from sfserver.media.mp4.joining import EncodedChunk, StoredPart, check_chunks, join_audio, join_video, write_track
from sfserver.media.mp4.movie import Track, audio_track, build_sidx, build_track_header, video_track
from sfserver.media.mp4.segments import Segment, average_bps, cut_iframes, cut_segments, peak_bps
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.mp4.virtual import StoredTrack, VirtualFile, build_head, build_layout
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report, Throttle


@dataclass(frozen=True)
class PackageArguments:
    """What `run_package` needs: each chunk with its files by rung, each audio part with its file, both in order."""

    plan: EncodePlan
    chunks: list[EncodedChunk]
    audio_parts: list[StoredPart]


@sandboxed
def run_package(asked: PackageArguments, workdir: Path, report: Report) -> PackageResult:
    """Join chunks and parts into the published files."""
    return package(asked.plan, asked.chunks, asked.audio_parts, workdir, report)


def package(
    plan: EncodePlan,
    chunks: Sequence[EncodedChunk],
    audio_parts: Sequence[StoredPart],
    workdir: Path,
    report: Report,
) -> PackageResult:
    """Write every published file below `workdir`; no encoded byte is changed or stored twice.

    Reports {"progress": 0–1}. Raises InconsistentChunksError when the parts do not make one track a rung.
    """
    check_chunks(plan, chunks)
    rungs = [
        (rung, [(result.parts[rung.name], files[rung.name]) for _, result, files in chunks]) for rung in plan.rungs
    ]
    parts = [part for _, rung_parts in rungs for part in rung_parts] + list(audio_parts)
    packager = _Packager(plan, workdir, report, sum(part.size_bytes for part, _ in parts))
    audio = packager.publish_audio(audio_parts) if audio_parts else None
    renditions = [packager.publish_rung(rung, rung_parts, audio) for rung, rung_parts in rungs]
    return PackageResult(
        packager.files,
        renditions,
        average_bps(audio.segments if audio else []),
        peak_bps(audio.segments if audio else []),
        plan.frames * plan.fps.den / plan.fps.num,
        plan.fps,
        audio=_sound_facts(audio) if audio else None,
    )


@dataclass(frozen=True)
class _Published:
    """A track as published: how it is stored, its codec (RFC 6381) and its segments."""

    stored: StoredTrack
    codecs: str
    segments: list[Segment]


class _Packager:
    """Writes the files of one generation; `files` are their sizes by name."""

    def __init__(self, plan: EncodePlan, workdir: Path, report: Report, copy_bytes: int) -> None:
        self.files: dict[str, int] = {}
        self._plan, self._workdir, self._throttle = plan, workdir, Throttle(report)
        self._copied, self._copy_bytes = 0, copy_bytes

    def publish_audio(self, parts: Sequence[StoredPart]) -> _Published:
        """Write the sound's track file and playlist."""
        assert self._plan.audio is not None
        joined = join_audio(parts)
        average = 8 * int(joined.table.sizes.sum()) * self._plan.audio.sample_rate // joined.table.ticks
        track = audio_track(self._plan.audio, joined.codec_config, average)
        # The object type is the config's first five bits (ISO/IEC 14496-3, 1.6.2.1).
        codecs = f"mp4a.40.{joined.codec_config[0] >> 3}"
        audio = self._publish_track("a/main.mp4", codecs, track, joined.table, parts)
        self._write("hls/audio.m3u8", media_playlist("../a/main.mp4", audio.stored.init_bytes, audio.segments))
        return audio

    def publish_rung(self, rung: Rung, parts: Sequence[StoredPart], audio: _Published | None) -> RenditionFacts:
        """Write one rung's track file and playlists and the head and layout of its progressive file."""
        joined = join_video(self._plan, parts)
        track = video_track(rung, self._plan.timescale, self._plan.picture, joined.codec_config, joined.delay_ticks)
        codecs = f"avc1.{joined.codec_config[1:4].hex().upper()}"
        video = self._publish_track(f"v/{rung.name}.mp4", codecs, track, joined.table, parts)
        iframes = self._write_playlists(rung.name, video)
        progressive_size = self._write_progressive(rung.name, video.stored, audio.stored if audio else None)
        return _rendition_facts(rung, video, audio, iframes, progressive_size)

    def _write_playlists(self, quality: str, video: _Published) -> list[Segment]:
        stored, uri = video.stored, f"../v/{quality}.mp4"
        iframes = cut_iframes(stored.table, stored.track.timescale, stored.start)
        self._write(f"hls/{quality}.m3u8", media_playlist(uri, stored.init_bytes, video.segments))
        self._write(f"hls/{quality}.iframes.m3u8", iframe_playlist(uri, stored.init_bytes, iframes))
        return iframes

    def _write_progressive(self, quality: str, video: StoredTrack, audio: StoredTrack | None) -> int:
        head, layout = build_head(video, audio), build_layout(video, audio)
        self._write(f"file/{quality}.head", head)
        self._write(f"file/{quality}.layout", layout)
        return VirtualFile.load(len(head), layout).size

    def _publish_track(
        self, name: str, codecs: str, track: Track, table: TrackTable, parts: Sequence[StoredPart]
    ) -> _Published:
        init, index = build_track_header(track, table.ticks), build_sidx(track, table)
        write_track(self._workdir / name, init + index, [path for _, path in parts], self._on_bytes)
        self.files[name] = (self._workdir / name).stat().st_size
        stored = StoredTrack(track, table, len(init), len(index))
        segments = cut_segments(table, track.timescale, stored.start, self._plan.segment_gops)
        return _Published(stored, codecs, segments)

    def _write(self, name: str, content: bytes | str) -> None:
        path = self._workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.files[name] = path.stat().st_size

    def _on_bytes(self, count: int) -> None:
        self._copied += count
        self._throttle(lambda: {"progress": min(1.0, self._copied / self._copy_bytes)})


def _sound_facts(audio: _Published) -> SoundFacts:
    stored = audio.stored
    return SoundFacts(
        audio.codecs, stored.track.channels, stored.track.timescale, stored.init_bytes, stored.index_bytes
    )


def _rendition_facts(
    rung: Rung, video: _Published, audio: _Published | None, iframes: list[Segment], progressive_size: int
) -> RenditionFacts:
    """Measure one rung; its rates with sound are sums, as any segment may be played with any of the sound's."""
    stored, sound = video.stored, audio.segments if audio else []
    return RenditionFacts(
        quality=rung.name,
        width=rung.width,
        height=rung.height,
        video_codecs=video.codecs,
        audio_codecs=audio.codecs if audio else None,
        average_bps=average_bps(video.segments) + average_bps(sound),
        peak_bps=peak_bps(video.segments) + peak_bps(sound),
        video_average_bps=average_bps(video.segments),
        video_peak_bps=peak_bps(video.segments),
        iframe_average_bps=average_bps(iframes),
        iframe_peak_bps=peak_bps(iframes),
        track_size_bytes=stored.start + int(stored.table.fragment_sizes.sum()),
        progressive_size_bytes=progressive_size,
        init_bytes=stored.init_bytes,
        index_bytes=stored.index_bytes,
    )
