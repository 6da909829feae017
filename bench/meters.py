"""FFmpeg's filters that compare two pictures, fed pair by pair."""

from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

SSIM, XPSNR = ("ssim", "lavfi.ssim.Y"), ("xpsnr", "lavfi.xpsnr.xpsnr.y")
_TICK = Fraction(1, 30)


class Meter:
    """A filter and the figure it writes into the metadata of the reference, for yuv420p pictures of one size."""

    def __init__(self, width: int, height: int, kind: tuple[str, str] = SSIM) -> None:
        name, self._key = kind
        self._graph, self._values, self._pairs = Graph(), list[float](), 0
        pixels = av.VideoFormat("yuv420p")
        self._inputs = [
            self._graph.add_buffer(width=width, height=height, format=pixels, time_base=_TICK, name=side)
            for side in ("reference", "coded")
        ]
        meter, self._sink = self._graph.add(name), self._graph.add("buffersink")
        for pad, source in enumerate(self._inputs):
            source.link_to(meter, 0, pad)
        meter.link_to(self._sink)
        self._graph.configure()

    def add(self, reference: VideoFrame, coded: VideoFrame) -> None:
        """Compare a pair; stamps both with a time of its own."""
        for source, frame in zip(self._inputs, (reference, coded), strict=True):
            frame.pts, frame.time_base = self._pairs, _TICK
            source.push(frame)
        self._pairs += 1
        self._drain()

    def values(self) -> list[float]:
        """End, and return the figure of every pair."""
        for source in self._inputs:
            source.push(None)
        self._drain()
        return self._values

    def _drain(self) -> None:
        while True:
            try:
                found = self._sink.pull().metadata
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # Equal pictures have no figure: count them as very good.
            self._values.append(float(found.get(self._key, "99")))
