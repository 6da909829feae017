"""Decode the frames of a chunk, and only those: seek, pre-roll, and carry on over damage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sfserver.errors import DamagedMediaError
from sfserver.media.contract import MediaLimits, Rung
from sfserver.media.source.decoders import CODEC_WHITELIST
from sfserver.media.source.grid import Times
from sfserver.media.source.index import read_packets
from sfserver.media.source.open import check_pixels

TimedFrame = tuple[int, VideoFrame]

_FIRST_FRAMES = 8
_FIRST_FRAME_PACKETS = 600
# Decoders that heed `skip_frame` from packet to packet (measured: a third to two thirds of the time before a chunk).
# dav1d keeps what it was told when it opened, VP8's, VP9's and others never skip.
_SKIPPING_DECODERS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})


def prepare_decoder(video: VideoStream, limits: MediaLimits) -> None:
    """Open the decoder, bounded: a known one, one thread, no picture beyond the limit.

    Raises `MediaLimitError` (pixels) where the container states a larger one.
    """
    check_pixels(video.width, video.height, limits)
    video.codec_context.options = {"max_pixels": str(limits.max_pixels), "codec_whitelist": CODEC_WHITELIST}
    video.codec_context.thread_count = 1
    # Opened before anybody sets `skip_frame`: what a decoder can't change while it runs must not skip for good.
    video.codec_context.open(strict=False)


def first_frame(
    container: InputContainer, video: VideoStream, times: Times, limits: MediaLimits
) -> tuple[VideoFrame, bool]:
    """Decode the first few frames; return the first, and whether their times can be trusted: known and rising.

    Raises `DamagedMediaError` where nothing can be decoded.
    """
    prepare_decoder(video, limits)
    frames: list[TimedFrame] = []
    for count, packet in enumerate(read_packets(container, (video,))):
        frames += decode_packet(video, packet)
        if len(frames) >= _FIRST_FRAMES or count >= _FIRST_FRAME_PACKETS:
            break
    else:
        frames += decode_packet(video, None)
    if not frames:
        raise DamagedMediaError("no picture of the video stream can be decoded")
    shown = [time for time, _ in frames if time >= int(times[0])]
    rising = all(later > earlier for earlier, later in itertools.pairwise(shown))
    return frames[0][1], bool(shown) and rising and bool(np.isin(shown, times).all())


def decode_packet(video: VideoStream, packet: Packet[Stream] | None) -> list[TimedFrame]:
    """Decode one packet (None: the rest) into frames with their times; a damaged one gives none."""
    try:
        frames = video.codec_context.decode(packet)
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        return []
    timed = [(frame.pts if frame.pts is not None else frame.dts, frame) for frame in frames]
    return [(time, frame) for time, frame in timed if time is not None]


def decode_from(
    container: InputContainer,
    video: VideoStream,
    key: int | None,
    is_wanted: Callable[[int], bool],
    most: int | None = None,
) -> Iterator[TimedFrame]:
    """Decode on from the keyframe shown at `key` (None: the start of the file), `most` packets at most.

    Frames that neither `is_wanted` (by their time) nor another frame needs are skipped. Frames shown before the
    keyframe that was found refer to what lies before it and are left out.
    """
    context = video.codec_context
    can_skip = context.codec.name in _SKIPPING_DECODERS
    if key is not None:
        _introduce(container, video)
        container.seek(key, stream=video, backward=True)
    found: int | None = None
    for packet in itertools.islice(read_packets(container, (video,)), most):
        if found is None:
            if not packet.is_keyframe:
                continue
            found = _time_of(packet)
        if can_skip:
            context.skip_frame = "DEFAULT" if is_wanted(_time_of(packet)) else "NONREF"
        for time, frame in decode_packet(video, packet):
            if time >= found:
                yield time, frame
    yield from ((time, frame) for time, frame in decode_packet(video, None) if found is None or time >= found)


def _introduce(container: InputContainer, video: VideoStream) -> None:
    """Show the decoder the first packet of a file just opened.

    x264 says there, and only there, which build wrote the stream. Builds before 151 code 4:4:4 in a way of their own,
    and a decoder that was not told makes rubbish of it.
    """
    if video.codec_context.name == "h264" and "444" in str(video.pix_fmt):
        for packet in itertools.islice(read_packets(container, (video,)), 1):
            decode_packet(video, packet)


def decode_ordinals(container: InputContainer, video: VideoStream, most: int | None = None) -> Iterator[TimedFrame]:
    """Decode from the start and number the frames as they come, for sources without usable times.

    `most` bounds the packets; None reads them all.
    """
    count = 0
    for packet in itertools.islice(read_packets(container, (video,)), most):
        for _, frame in decode_packet(video, packet):
            yield count, frame
            count += 1
    for _, frame in decode_packet(video, None):
        yield count, frame
        count += 1


def _time_of(packet: Packet[Stream]) -> int:
    time = packet.pts if packet.pts is not None else packet.dts
    return time if time is not None else -(2**62)


def earlier_keyframes(rows: Times, start: int) -> Iterator[int | None]:
    """Yield where to seek for row `start`: its keyframe, the one before it, and None (the start of the file).

    MPEG-TS lands after the keyframe that was asked for; one step back finds it.
    """
    key = int(rows[start, 1])
    if key <= int(rows[0, 1]):
        yield None
        return
    yield key
    before = int(np.searchsorted(rows[:start, 1], key, side="left")) - 1
    if before >= 0 and int(rows[before, 1]) > int(rows[0, 1]):
        yield int(rows[before, 1])
    yield None


def black_frame(rung: Rung) -> VideoFrame:
    """Return a black picture, to stand in where nothing at all could be decoded."""
    frame = VideoFrame(rung.width, rung.height, "yuv420p")
    for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return frame
