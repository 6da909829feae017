"""A DASH manifest (ISO/IEC 23009-1) over the stored track files, which carry their own index."""

from xml.etree.ElementTree import Element, SubElement, tostring

from sfserver.media.contract import PackageResult, RenditionFacts, SoundFacts


def dash_manifest(package: PackageResult, prefix: str = "../", language: str = "und") -> str:
    """Write an MPD of the on-demand profile (ISO/IEC 23009-1, 8.3); the track files carry their own index."""
    mpd = Element("MPD", xmlns="urn:mpeg:dash:schema:mpd:2011", type="static", minBufferTime="PT4S")
    mpd.set("profiles", "urn:mpeg:dash:profile:isoff-on-demand:2011")
    mpd.set("mediaPresentationDuration", f"PT{package.duration_s:.3f}S")
    period = SubElement(mpd, "Period")
    pictures = SubElement(period, "AdaptationSet", contentType="video", subsegmentAlignment="true")
    pictures.set("subsegmentStartsWithSAP", "1")
    for each in package.renditions:
        shown = _representation(pictures, f"{prefix}v/{each.quality}.mp4", each.video_peak_bps, each)
        shown |= {"id": each.quality, "mimeType": "video/mp4", "codecs": each.video_codecs}
        shown |= {"width": str(each.width), "height": str(each.height)}
        shown["frameRate"] = f"{package.fps.num}/{package.fps.den}"
    if package.audio:
        sounds = SubElement(period, "AdaptationSet", contentType="audio", lang=language)
        heard = _representation(sounds, f"{prefix}a/main.mp4", package.audio_peak_bps, package.audio)
        heard |= {"id": "audio", "mimeType": "audio/mp4", "codecs": package.audio.codecs}
        heard["audioSamplingRate"] = str(package.audio.sample_rate)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(mpd, encoding="unicode")


def _representation(parent: Element, url: str, bandwidth: int, facts: RenditionFacts | SoundFacts) -> dict[str, str]:
    """Add a representation by where its file keeps its header and index; return its attributes, to be added to."""
    representation = SubElement(parent, "Representation", bandwidth=str(bandwidth))
    SubElement(representation, "BaseURL").text = url
    index = f"{facts.init_bytes}-{facts.init_bytes + facts.index_bytes - 1}"
    base = SubElement(representation, "SegmentBase", indexRange=index, indexRangeExact="true")
    SubElement(base, "Initialization", range=f"0-{facts.init_bytes - 1}")
    return representation.attrib
