"""Find out what is in a file, and whether it keeps within the limits."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sfserver.errors import DamagedMediaError, MediaLimitError, UnsupportedMediaError
from sfserver.media.contract import (
    AudioFacts,
    MediaLimits,
    MediaWarning,
    PicturePlan,
    Rational,
    SourceFacts,
    VideoFacts,
)
from sfserver.media.sandbox.throttle import Report
from sfserver.media.source.decode import first_frame
from sfserver.media.source.decoders import codec_name, has_decoder
from sfserver.media.source.grid import Grid, make_grid
from sfserver.media.source.index import PacketIndex, scan_packets
from sfserver.media.source.open import check_pixels, media_errors, open_source, refused_pictures
from sfserver.media.source.picture import display_size, plan_picture

GOOD_SHARE = 0.9
_LEAST_SPAN_S = 2.0


@dataclass(frozen=True)
class Examined:
    """What is known of a source before anything is decided about it.

    `index`, `grid` and `first_frame` are its picture's.
    """

    facts: SourceFacts
    index: PacketIndex
    grid: Grid
    picture: PicturePlan
    first_frame: VideoFrame
    warnings: list[MediaWarning]
    time_base: Fraction
    video_stream_index: int
    audio_stream_index: int | None


def examine(source: Path, limits: MediaLimits, report: Report) -> Examined:
    """Find out what is in a file and check it against the limits.

    Raises `UnsupportedMediaError`, `DamagedMediaError`, and `MediaLimitError` for each limit of `MediaLimits`.
    """
    with open_source(source, limits) as container, media_errors():
        video, audio = choose_streams(container, limits)
        index = _scan(container, (video, audio), limits, report)
        _check_times(index, video, limits)
    with refused_pictures(limits), open_source(source, limits) as container, media_errors():
        video, audio = choose_streams(container, limits)
        frame, trusted = first_frame(container, video, index.times, limits)
        _check_pixel_rate(index, frame, video, limits)
        grid = _lay_grid(index, video, limits)
        sequential = not trusted or _is_unseekable(container, video, index)
        facts = _gather_facts(container, (video, audio), index, frame, sequential)
        return Examined(
            facts=facts,
            index=index,
            grid=grid,
            picture=plan_picture(frame, sequential),
            first_frame=frame,
            warnings=_judge_length(facts, video, index),
            time_base=video.time_base or Fraction(1, 90_000),
            video_stream_index=video.index,
            audio_stream_index=audio.index if audio else None,
        )


def _scan(
    container: InputContainer, streams: tuple[VideoStream, AudioStream | None], limits: MediaLimits, report: Report
) -> PacketIndex:
    try:
        return scan_packets(container, *streams, limits, report)
    except av.error.MemoryError as error:
        # Demuxing takes little memory: tables that ask for more than there is were made up or damaged.
        raise UnsupportedMediaError("its tables make no sense") from error


def choose_streams(container: InputContainer, limits: MediaLimits) -> tuple[VideoStream, AudioStream | None]:
    """Pick the picture stream (cover pictures don't count; the default one, else the largest) and the first sound.

    Raises `MediaLimitError` (video_streams, pixels) and `UnsupportedMediaError` where none has a decoder of ours.
    """
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        raise MediaLimitError("video_streams", limit=1, value=0)
    decodable = [s for s in videos if has_decoder(s)]
    if not decodable:
        names = ", ".join(sorted({codec_name(s) for s in videos}))
        raise UnsupportedMediaError(f"there is no decoder for its video codec ({names})")
    video = max(decodable, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))
    check_pixels(video.width, video.height, limits)
    audios = [s for s in container.streams.audio if has_decoder(s) and s.codec_context.sample_rate]
    audio = min(audios, key=lambda s: (not s.disposition & Disposition.default, s.index), default=None)
    return video, audio


def _check_pixel_rate(index: PacketIndex, picture: VideoFrame, video: VideoStream, limits: MediaLimits) -> None:
    """Bound what decoding costs per second that is shown; a short clip may cost as much as two seconds may."""
    size = max(picture.width * picture.height, video.width * video.height)
    span_s = float(index.times[-1] - index.times[0]) * float(video.time_base or 0)
    if index.pictures * size > limits.max_pixel_rate * max(span_s, _LEAST_SPAN_S):
        rate = index.pictures * size / max(span_s, _LEAST_SPAN_S)
        raise MediaLimitError("pixel_rate", limit=limits.max_pixel_rate, value=rate)


def _check_times(index: PacketIndex, video: VideoStream, limits: MediaLimits) -> None:
    times, tick_s = index.times, float(video.time_base or 0)
    span_s = float(times[-1] - times[0]) * tick_s
    if span_s > limits.max_duration_s:
        raise MediaLimitError("duration", limit=limits.max_duration_s, value=span_s)
    # A few frames too many in a short clip are a burst, not a rate.
    if len(times) - 6 > limits.max_fps * span_s * 1.01:
        raise MediaLimitError("fps", limit=limits.max_fps, value=(len(times) - 1) / max(span_s, tick_s))
    if len(times) > 1 and float((times[1:] - times[:-1]).max()) * tick_s > limits.max_gap_s:
        gap_s = float((times[1:] - times[:-1]).max()) * tick_s
        raise MediaLimitError("gap", limit=limits.max_gap_s, value=gap_s)


def _lay_grid(index: PacketIndex, video: VideoStream, limits: MediaLimits) -> Grid:
    time_base = video.time_base or Fraction(1, 90_000)
    most = int(limits.max_fill_ratio * len(index.times)) + limits.fill_slack_frames
    tail = min(index.tail, int(limits.max_gap_s / time_base))
    grid = make_grid(index.times, time_base, tail, most)
    if grid.frames > most:
        raise MediaLimitError("fill", limit=most, value=grid.frames)
    return grid


def _is_unseekable(container: InputContainer, video: VideoStream, index: PacketIndex) -> bool:
    # AVI stores no presentation times: with B-frames what it gives are decode times, wrong after a seek.
    return container.format.name == "avi" and bool(video.codec_context.has_b_frames) and not index.reordered


def _gather_facts(
    container: InputContainer,
    streams: tuple[VideoStream, AudioStream | None],
    index: PacketIndex,
    frame: VideoFrame,
    sequential: bool,
) -> SourceFacts:
    video, audio = streams
    tick_s = video.time_base or Fraction(1, 90_000)
    span = int(index.times[-1] - index.times[0])
    step = index.tail or (span // (len(index.times) - 1) if len(index.times) > 1 else 0)
    duration_s = float((span + step) * tick_s) or 1 / 25
    return SourceFacts(
        container=container.format.name,
        size_bytes=container.size,
        duration_s=duration_s,
        container_duration_s=container.duration / 1e6 if container.duration else None,
        video=_video_facts(video, index, frame, duration_s, not sequential),
        audio=_audio_facts(audio, index, duration_s) if audio else None,
        streams=len(container.streams),
    )


def _video_facts(
    video: VideoStream, index: PacketIndex, frame: VideoFrame, duration_s: float, seekable: bool
) -> VideoFacts:
    sar = video.sample_aspect_ratio or Fraction(1)
    rotation = plan_picture(frame, False).rotation
    width, height = display_size(frame.width, frame.height, sar, rotation)
    return VideoFacts(
        codec=video.codec_context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        display_width=width,
        display_height=height,
        sar=Rational(sar.numerator, sar.denominator),
        rotation=rotation,
        pix_fmt=frame.format.name,
        frames=len(index.times),
        first_pts_s=float(int(index.times[0]) * (video.time_base or 0)),
        average_fps=len(index.times) / duration_s,
        bitrate_bps=round(index.video_bytes * 8 / duration_s),
        keyframes=len(index.keyframes),
        seekable=seekable,
    )


def _audio_facts(audio: AudioStream, index: PacketIndex, duration_s: float) -> AudioFacts:
    first_s = float((audio.start_time or 0) * (audio.time_base or 0))
    length_s = max(index.audio_end_s - first_s, 0.0) or duration_s
    return AudioFacts(
        codec=audio.codec_context.codec.canonical_name,
        sample_rate=audio.codec_context.sample_rate,
        channels=audio.codec_context.channels,
        bitrate_bps=audio.codec_context.bit_rate or round(index.audio_bytes * 8 / length_s),
        first_pts_s=first_s,
    )


def _judge_length(facts: SourceFacts, video: VideoStream, index: PacketIndex) -> list[MediaWarning]:
    """Compare what can be read with what the header claims; raise `DamagedMediaError` below nine tenths."""
    read_s, claimed_s = facts.duration_s, float((video.duration or 0) * (video.time_base or 0))
    if not claimed_s:
        # A container that claims one length for all its streams means the end of the last one, counted from 0.
        ends_s = facts.video.first_pts_s + facts.duration_s, index.audio_end_s
        read_s, claimed_s = max(ends_s), facts.container_duration_s or 0.0
    share = read_s / claimed_s if claimed_s else 1.0
    if share >= 1 - 2 / max(facts.video.frames, 1) or share >= 0.995:
        return []
    detail = f"{read_s:.1f} s of {claimed_s:.1f} s can be read"
    if share < GOOD_SHARE:
        raise DamagedMediaError(detail, hint="the file was cut off or damaged on its way; send it again")
    return [MediaWarning("damaged_media", detail)]
