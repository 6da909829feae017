"""The packet index: presentation times and keyframes of a source, read by demuxing alone."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from sfserver.errors import DamagedMediaError, MediaLimitError
from sfserver.media.contract import MediaLimits
from sfserver.media.sandbox.throttle import Report, Throttle
from sfserver.media.source.grid import Grid, Times
from sfserver.media.source.open import raise_trouble

INDEX_FILE = "index.npy"
_MOST_BYTES = 2**32 - 1


@dataclass(frozen=True)
class PacketIndex:
    """What demuxing tells: distinct frame times in presentation order, which are keyframes', and what was read.

    Times are ticks of the video stream's time base, `sizes` the bytes behind each of them. `tail` is the last frame's
    stated length; `reordered` whether any packet is shown in another order than it is decoded. `pictures` counts what
    has to be decoded, shown or not.
    """

    times: Times
    sizes: Times
    keyframes: Times
    keyframe_bytes: int
    tail: int
    pictures: int
    video_bytes: int
    reordered: bool
    audio_bytes: int
    audio_end_s: float


@dataclass
class _Scan:
    times: array[int]
    sizes: array[int]
    keyframes: array[int]
    keyframe_bytes: int = 0
    hidden_bytes: int = 0
    last: tuple[int, int] = (-(2**63), 0)
    packets: int = 0
    pictures: int = 0
    video_bytes: int = 0
    lead: int | None = None
    reordered: bool = False
    audio_bytes: int = 0
    audio_end_s: float = 0.0


def read_packets(container: InputContainer, streams: tuple[Stream, ...]) -> Iterator[Packet[Stream]]:
    """Demux the streams to the end of what can be read: damage behind it is as good as the end of the file."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            raise_trouble(error)
            return
        except IndexError:  # PyAV can't follow a stream that first shows up in the middle of the file
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def scan_packets(
    container: InputContainer, video: VideoStream, audio: AudioStream | None, limits: MediaLimits, report: Report
) -> PacketIndex:
    """Index the video stream (and measure the audio) without decoding; memory is bounded by the limits.

    Raises `MediaLimitError` (frames) and `DamagedMediaError` where there is no picture packet at all.
    """
    # Four bytes a size: twelve hours of small frames stay tens of megabytes.
    scan, throttle = _Scan(array("q"), array("I"), array("q")), Throttle(report)
    most = int(limits.max_duration_s * limits.max_fps)
    for packet in read_packets(container, (video, audio) if audio else (video,)):
        scan.packets += 1
        throttle(lambda: {"packets": scan.packets})
        if packet.stream_index == video.index:
            _add_picture(scan, packet, video.codec_context.name)
            if len(scan.times) > most:
                raise MediaLimitError("frames", limit=most, value=len(scan.times))
        else:
            _add_sound(scan, packet)
    return _finish(scan)


def _add_picture(scan: _Scan, packet: Packet[Stream], codec: str) -> None:
    scan.pictures += count_pictures(packet, codec)
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None:
        return
    scan.video_bytes += packet.size
    lead = time - (packet.dts if packet.dts is not None else time)
    scan.reordered |= lead != (scan.lead if scan.lead is not None else lead)
    scan.lead = lead
    # Packets before the first keyframe can't be decoded, nor pictures that follow it but are shown before it.
    if packet.is_keyframe:
        scan.keyframes.append(time)
        scan.keyframe_bytes += packet.size
    if not scan.keyframes or packet.is_discard or time < scan.keyframes[0] or is_hidden(packet, codec):
        scan.hidden_bytes += packet.size
        return
    scan.times.append(time)
    # What is never shown itself helps to show what comes next.
    scan.sizes.append(min(packet.size + scan.hidden_bytes, _MOST_BYTES))
    scan.hidden_bytes = 0
    scan.last = max(scan.last, (time, packet.duration or 0))


def _add_sound(scan: _Scan, packet: Packet[Stream]) -> None:
    scan.audio_bytes += packet.size
    if packet.pts is not None:
        end = (packet.pts + (packet.duration or 0)) * packet.time_base
        scan.audio_end_s = max(scan.audio_end_s, float(end))


def _finish(scan: _Scan) -> PacketIndex:
    if not scan.times:
        raise DamagedMediaError("the video stream holds no picture that can be decoded")
    times, places = np.unique(np.frombuffer(scan.times, dtype=np.int64), return_inverse=True)
    sizes = np.bincount(places, weights=np.frombuffer(scan.sizes, dtype=np.uint32)).astype(np.int64)
    return PacketIndex(
        times=times,
        sizes=sizes,
        keyframes=np.unique(np.frombuffer(scan.keyframes, dtype=np.int64)),
        keyframe_bytes=scan.keyframe_bytes,
        tail=scan.last[1],
        pictures=scan.pictures,
        video_bytes=scan.video_bytes,
        reordered=scan.reordered,
        audio_bytes=scan.audio_bytes,
        audio_end_s=scan.audio_end_s,
    )


def count_pictures(packet: Packet[Stream], codec: str) -> int:
    """Return how many pictures a packet holds: a superframe has up to eight (VP9 bitstream specification, annex B)."""
    last = memoryview(packet)[-1] if codec in ("vp9", "libvpx-vp9") else 0
    return (last & 7) + 1 if last & 0xE0 == 0xC0 else 1


def is_hidden(packet: Packet[Stream], codec: str) -> bool:
    """Tell whether a VP8 packet holds a frame that is never shown (RFC 6386, 9.1: bit 4 of the frame tag)."""
    return codec in ("vp8", "libvpx") and not memoryview(packet)[0] & 0x10


def write_index(grid: Grid, index: PacketIndex, sequential: bool, workdir: Path) -> str:
    """Write a row per output frame, (source time to show, time of the keyframe to seek to), and return the file name.

    A sequential source gets frame ordinals in place of times: its times can't be matched to decoded frames.
    """
    wanted = grid.shown if sequential else index.times[grid.shown]
    at = np.searchsorted(index.keyframes, index.times[grid.shown], side="right") - 1
    rows = np.stack([wanted, index.keyframes[np.maximum(at, 0)]], axis=1)
    np.save(workdir / INDEX_FILE, rows)
    return INDEX_FILE


def keyframe_slots(index: PacketIndex, time_base: Fraction, fps: Fraction) -> list[int]:
    """Return the first grid position at or after each keyframe."""
    scale = time_base * fps
    first = int(index.times[0])
    return [-(-(int(k) - first) * scale.numerator // scale.denominator) for k in index.keyframes]
