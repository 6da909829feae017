# %% [markdown]
# # Solutions to 21 · MP4 boxes, chunk objects and byte ranges
#
# Each stands alone; a clip of 3 s is made first.

# %%
import io
import itertools
import struct

import av
import numpy as np

from sfserver.media.contract import PicturePlan, Rung
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment
from sfserver.media.mp4.hls import END_LIST, media_head, segment_lines
from sfserver.media.mp4.movie import build_init, video_track
from sfserver.media.mp4.segments import SegmentRule, cut_segments
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.mp4.virtual import Placed, VirtualFile, build_head, read_spans


def make_clip() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"g": "10", "bf": "2", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=10, width=96, height=64, pix_fmt="yuv420p", options=options)
        for n in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 8 * n, np.uint8), format="rgb24")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


clip = make_clip()


def table(data: bytes, name: str, columns: int) -> list[tuple[int, ...]]:
    box = find_box(data, f"moov/trak/mdia/minf/stbl/{name}")
    return list(struct.iter_unpack(f">{columns}I", data[box.body + 8 : box.end]))


# %% [markdown]
# **1. Seek by hand.** Unfold both clocks, find the sample that is shown at that time, then go back to the last sync
# sample not after it. The edit list begins at the smallest time shown, so that is time 0.


# %%
def sample_at(data: bytes, second: float, timescale: int) -> int:
    durations = [ticks for count, ticks in table(data, "stts", 2) for _ in range(count)]
    later = [ticks for count, ticks in table(data, "ctts", 2) for _ in range(count)]
    decoded = [0, *itertools.accumulate(durations)]
    shown = [at + by for at, by in zip(decoded, later, strict=False)]
    wanted = second * timescale + min(shown)
    sample = max((at, i) for i, at in enumerate(shown) if at <= wanted)[1]
    return max(first - 1 for (first,) in table(data, "stss", 1) if first - 1 <= sample)


with av.open(io.BytesIO(clip)) as container:
    stream = container.streams.video[0]
    for second, expected in ((0.0, 0), (0.9, 0), (1.0, 10), (1.95, 10), (2.9, 20)):
        assert sample_at(clip, second, stream.time_base.denominator) == expected
        container.seek(round(second / stream.time_base), stream=stream)
        assert next(container.decode(stream)).time == expected / 10

# %% [markdown]
# **2. Faststart.** Only the chunk offsets (`stco`) change: everything in `mdat` moves back by the size of `moov`.

# %%
moov, stco = find_box(clip, "moov"), find_box(clip, "moov/trak/mdia/minf/stbl/stco")
shift = moov.end - moov.start
moved = bytearray(clip[moov.start : moov.end])
offsets = [offset + shift for (offset,) in struct.iter_unpack(">I", clip[stco.body + 8 : stco.end])]
place = stco.body + 8 - moov.start
moved[place : place + 4 * len(offsets)] = struct.pack(f">{len(offsets)}I", *offsets)
ftyp = find_box(clip, "ftyp")
faststart = clip[: ftyp.end] + bytes(moved) + clip[ftyp.end : moov.start] + clip[moov.end :]


def frames_of(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


assert [box.kind for box in iter_boxes(faststart)][:2] == ["ftyp", "moov"]
assert frames_of(faststart) == frames_of(clip)

# %% [markdown]
# **3. Cheaper fragments.** 104 bytes of boxes and the `mdat` header, and 4 bytes a sample. With one size for all,
# `tfhd` would grow by 4 bytes and `trun` lose 94 × 4. AAC samples differ in size, so it hardly ever applies.

# %%
sound = [Sample(bytes(200), 1024, 0, True)] * 94
spent = read_fragment(build_fragment(track_id=2, sequence=2, base_decode_time=0, samples=sound)).data_start
one = read_fragment(build_fragment(track_id=2, sequence=2, base_decode_time=0, samples=sound[:1])).data_start
print(spent, "bytes now,", spent - 94 * 4 + 4, "with one size for all")
assert spent == one + 93 * 4

# %% [markdown]
# **4. Without sound.** The fragments of the picture lie one behind the other in their object as they do in the virtual
# file, so neighbours merge: one span an object, not one a fragment.

# %%
with av.open(io.BytesIO(clip)) as container:
    stream = container.streams.video[0]
    packets = [packet for packet in container.demux(stream) if packet.size]
    avcc, timescale = bytes(stream.codec_context.extradata), stream.time_base.denominator
ticks = timescale // 10
samples = [Sample(bytes(packet), ticks, packet.pts - packet.dts, packet.is_keyframe) for packet in packets]
fragments = [
    build_fragment(
        track_id=1, sequence=2 * k + 1, base_decode_time=10 * k * ticks, samples=samples[10 * k : 10 * k + 10]
    )
    for k in range(3)
]
index = TrackTable.join(map(read_fragment, fragments))
delay = samples[0].composition_offset  # the first one shown is the first one decoded
track = video_track(Rung("360p", 96, 64, 0, "libx264", {}, ""), timescale, PicturePlan(), avcc, delay)

head = build_head((track, index), None)
sizes = index.index.sizes
virtual = VirtualFile.arrange(len(head), Placed.in_objects(1, [(0, sizes[:1]), (0, sizes[1:])]), None)
spans = [(span.object, span.offset, span.length) for span in virtual.iter_range(len(head), virtual.size)]
assert spans == [(1, 0, len(fragments[0])), (2, 0, len(fragments[1]) + len(fragments[2]))]

# %% [markdown]
# **5. An old file.** The fragments begin at `start`, so the first range of the list and the first offset of the map do.
# The head does not change at all: it speaks of the virtual file, where the old init segment does not appear.

# %%
init = build_init(track, index.ticks)
old = init + b"".join(fragments)
segments = cut_segments(index.index, timescale, SegmentRule(gops=2), first_gop=0, start=len(init))
text = media_head("../v/360p/init.mp4", 2, live=False) + segment_lines("../v/360p/0.m4s", segments) + END_LIST
first = len(fragments[0]) + len(fragments[1])
assert f"#EXT-X-BYTERANGE:{first}@{len(init)}\n" in text
assert f"#EXT-X-BYTERANGE:{len(fragments[2])}@{len(init) + first}\n" in text

virtual = VirtualFile.arrange(len(head), Placed.in_objects(1, [(len(init), sizes)]), None)
(span,) = virtual.iter_range(len(head), virtual.size)
assert (span.object, span.offset, span.length) == (1, len(init), len(old) - len(init))
objects = [head, old]
whole = read_spans(virtual.iter_range(0, virtual.size), lambda number, at, length: objects[number][at : at + length])
assert frames_of(whole) == frames_of(clip)
