"""How fine the source is: its first picture, encoded as we would, against what the source's own encoder made of it."""

from av.video.frame import PictureType, VideoFrame

from sfserver.media.contract import ChunkSpec, EncodePlan
from sfserver.media.encode.forecast import FILM_POWER, scaled
from sfserver.media.encode.video import open_encoder
from sfserver.media.source.index import PacketIndex
from sfserver.media.source.picture import Scaler

# Bytes we make of a source byte where our first picture is as large as the source's: measured on five scenes of
# bench/material, each in four codecs at two qualities (docs/adr/0010-storage-budget-instead-of-source-rate.md).
_TIMES = {"hevc": 2.8, "vp9": 4.3, "av1": 4.3}
_TIMES_ELSE = 2.6
# x264 begins every stream with 700 bytes about itself: what is not well above that is not worth comparing.
_LEAST_BYTES = 2_000


def expect_from_first_picture(frame: VideoFrame, index: PacketIndex, codec: str, plan: EncodePlan) -> int:
    """Return the bytes that all rungs will take at the best quality; 0 where the first picture says nothing.

    A source coarser than ours costs several times its bytes, since we code its flaws. How much coarser it is shows in
    one picture, which takes some 30 ms at 1080p.
    """
    size = int(index.sizes[index.times.searchsorted(index.keyframes[0])])
    if not _is_telling(size, index):
        return 0
    top = plan.rungs[0]
    fineness = _encoded_bytes(frame, plan) / size
    largest = _TIMES.get(codec, _TIMES_ELSE) * fineness * index.video_bytes
    return int(sum(scaled(largest, rung, top.width * top.height, FILM_POWER) for rung in plan.rungs))


def _is_telling(size: int, index: PacketIndex) -> bool:
    """Tell whether the first picture has something in it: many a film begins in the black."""
    others = len(index.times) - len(index.keyframes)
    mean_other = (index.video_bytes - index.keyframe_bytes) / max(1, others)
    return size >= max(_LEAST_BYTES, index.keyframe_bytes / len(index.keyframes) / 2, 2 * mean_other)


def _encoded_bytes(frame: VideoFrame, plan: EncodePlan) -> int:
    (picture,) = Scaler(plan.rungs[:1], plan.picture).scale(frame)
    encoder = open_encoder(plan.rungs[0], plan, ChunkSpec(0, 0, plan.gop_frames))
    picture.pts, picture.time_base, picture.pict_type = 0, encoder.time_base, PictureType.NONE
    return sum(packet.size for packet in [*encoder.encode(picture), *encoder.encode(None)])
