"""The decoders that may open: what cameras, phones, recorders, editors and older collections really hold.

The wheel brings three hundred more, for games and devices of the nineties, which nobody fuzzes any longer.
"""

from av.stream import Stream

_VIDEO = """
h264 hevc vvc vp8 libvpx vp9 libvpx-vp9 libdav1d av1 mpeg4 msmpeg4 msmpeg4v2 h263 h263p flv mpeg1video mpeg2video
mpegvideo mjpeg prores dnxhd cfhd ffv1 ffvhuff huffyuv utvideo rawvideo v210 dvvideo vc1 wmv1 wmv2 wmv3 vp3 theora vp6
vp6f svq3 cinepak qtrle png gif apng flashsv flashsv2 zmbv camtasia camstudio tscc2 msvideo1 msrle
"""
_AUDIO = """
aac aac_latm ac3 eac3 dca truehd mp1float mp1 mp2float mp2 mp3float mp3 opus libopus vorbis flac alac wavpack wmav1
wmav2 wmapro wmalossless amrnb libopencore_amrnb amrwb libopencore_amrwb adpcm_ima_wav adpcm_ima_qt adpcm_ms
adpcm_swf adpcm_yamaha gsm gsm_ms nellymoser speex qdm2 s302m dvaudio pcm_alaw pcm_mulaw pcm_bluray pcm_dvd
pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_s16be pcm_s16be_planar pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le
pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s8 pcm_s8_planar pcm_u8
"""
DECODERS = frozenset((_VIDEO + _AUDIO).split())
CODEC_WHITELIST = ",".join(sorted(DECODERS))


def has_decoder(stream: Stream) -> bool:
    """Tell whether a stream's decoder is one of ours."""
    context = getattr(stream, "codec_context", None)  # None where FFmpeg has no decoder at all
    return context is not None and context.codec.name in DECODERS


def codec_name(stream: Stream) -> str:
    """Return what a stream's codec is called, "unknown" where FFmpeg doesn't know it."""
    context = getattr(stream, "codec_context", None)
    return str(context.codec.canonical_name) if context is not None else "unknown"
