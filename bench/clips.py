"""The film cut short, or over and over: clips of any length whose packets are copied, made once and kept."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from bench.material import FOLDER, FPS, film

_AAC_SAMPLES = 1024
AnyPacket: TypeAlias = "Packet[Stream]"  # the class itself takes no parameter at run time


def clip(seconds: int) -> Path:
    """Return a clip of about this length (it ends where no picture needs a later one), making it on the first call."""
    path = FOLDER / f"film-{seconds}s.mp4"
    if not path.exists():
        source, part = film(), path.with_suffix(".part")
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as target:
            _copy(source, target, seconds)
        part.rename(path)
    return path


def _copy(source: Path, target: OutputContainer, seconds: int) -> None:
    with av.open(str(source)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        pictures = target.add_stream_from_template(video)
        sounds = target.add_stream_from_template(audio)
    shown = _pictures(source, round(seconds * FPS))
    heard = islice(_sounds(source), int(seconds * audio.rate / _AAC_SAMPLES))
    frame_s, sound_s = Fraction(1, FPS), Fraction(_AAC_SAMPLES, audio.rate)
    sound = next(heard, None)
    for picture in shown:
        while sound is not None and (sound.pts or 0) * sound_s <= (picture.dts or 0) * frame_s:
            _mux(target, sounds, sound, sound_s)
            sound = next(heard, None)
        _mux(target, pictures, picture, frame_s)


def _mux(target: OutputContainer, stream: VideoStream | AudioStream, packet: AnyPacket, unit: Fraction) -> None:
    packet.time_base, packet.stream = unit, stream
    target.mux(packet)


def _pictures(source: Path, count: int) -> Iterator[AnyPacket]:
    """Yield `count` pictures or a few more, numbered over all repeats; the last ones shown are the last ones sent."""
    sent = newest = 0
    turn = 0
    while True:
        with av.open(str(source)) as container:
            base = container.streams.video[0].time_base or Fraction(1)
            for packet in _packets(container, container.streams.video[0]):
                pts, dts = (round((time or 0) * base * FPS) for time in (packet.pts, packet.dts))
                packet.pts, packet.dts, packet.duration = turn + pts, turn + dts, 1
                sent, newest = sent + 1, max(newest, turn + pts)
                yield packet
                if sent >= count and sent == newest + 1:
                    return
        turn = newest + 1


def _sounds(source: Path) -> Iterator[AnyPacket]:
    """Yield frames of sound without end, one behind the other."""
    number = 0
    while True:
        with av.open(str(source)) as container:
            for packet in _packets(container, container.streams.audio[0]):
                packet.pts = packet.dts = number
                packet.duration = 1
                number += 1
                yield packet


def _packets(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[AnyPacket]:
    return (packet for packet in container.demux(stream) if packet.size)
