"""The DASH manifest, checked against the files it points to."""

from xml.etree.ElementTree import fromstring

from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.dash import dash_manifest
from tests.media.encoded import Packaged

QUALITIES = ("720p", "360p")


def test_dash_points_at_header_and_index(packaged: Packaged) -> None:
    mpd = fromstring(dash_manifest(packaged.result, language="de").encode())
    space = {"d": "urn:mpeg:dash:schema:mpd:2011"}
    assert mpd.get("mediaPresentationDuration") == "PT5.200S"
    for representation in mpd.iterfind(".//d:Representation", space):
        url = representation.findtext("d:BaseURL", "", space)
        data = (packaged.root / "dash" / url).resolve().read_bytes()
        base, init = (representation.find(f".//d:{name}", space) for name in ("SegmentBase", "Initialization"))
        assert base is not None
        assert init is not None
        first, last = map(int, base.get("indexRange", "").split("-"))
        assert init.get("range") == f"0-{first - 1}"
        assert [box.kind for box in iter_boxes(data[: last + 1])] == ["ftyp", "moov", "sidx"]
    assert len(mpd.findall(".//d:Representation", space)) == 3
    assert [each.get("lang") for each in mpd.iterfind(".//d:AdaptationSet", space)] == [None, "de"]
