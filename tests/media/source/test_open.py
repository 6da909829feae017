import ctypes
import errno
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from sfserver.errors import PermanentError, UnsupportedMediaError
from sfserver.media.contract import MediaLimits
from sfserver.media.encode.plan import probe
from sfserver.media.source.decode import prepare_decoder
from sfserver.media.source.decoders import DECODERS, has_decoder
from sfserver.media.source.index import read_packets
from sfserver.media.source.open import media_errors, open_source
from tests.media.clips import Clip, ignore, make_clip
from tests.media.hostile import hostile_binaries, hostile_texts

EXTENSIONS = ("mp4", "m3u8", "avi")
IN_OPEN, IN_NONBLOCK = 0x20, 0o4000


class Watch:
    """Notice when a file is opened by anybody (inotify)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(IN_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, bytes(path), IN_OPEN) >= 0

    def was_opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[tuple[Path, Watch]]:
    """Make a real video beside the hostile files, so that following a reference would succeed."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = make_clip(folder / "canary.mp4", Clip(frames=5, options={"preset": "ultrafast"}))
    watch = Watch(path)
    yield path, watch
    watch.close()


def test_nothing_a_file_names_is_ever_touched(canary: tuple[Path, Watch], listener: socket.socket) -> None:
    path, watch = canary
    made = {**hostile_texts(str(path), listener.getsockname()[1]), **hostile_binaries(str(path))}
    for name, content in made.items():
        for extension in EXTENSIONS:
            hostile = path.parent / f"upload.{extension}"
            hostile.write_bytes(content)
            with pytest.raises(PermanentError) as caught:
                probe(hostile, path.parent, MediaLimits(), ignore)
            assert caught.value.code in {"unsupported_media", "limit_video_streams"}, name
            assert not watch.was_opened(), name
    assert len(made) * len(EXTENSIONS) >= 45
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_watch_sees_an_open(canary: tuple[Path, Watch]) -> None:
    path, watch = canary
    path.read_bytes()
    assert watch.was_opened()


@pytest.mark.parametrize("name", ["http:x.mp4", "concat:a|b.mp4", "%d.mp4", "a b'c.mp4", "-.mp4", "pipe:0"])
def test_a_name_is_only_ever_a_file_name(name: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "plain.mp4", Clip(frames=5, options={"preset": "ultrafast"})).rename(tmp_path / name)
    with open_source(path, MediaLimits()) as container:
        assert len(container.streams.video) == 1


def test_a_missing_file_is_not_the_uploads_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_source(tmp_path / "gone", MediaLimits()):
        pass


def test_errors_of_the_media_library_become_ours() -> None:
    with pytest.raises(UnsupportedMediaError, match="cannot be read as video"), media_errors():
        av.open(io.BytesIO(b"no video at all"))


def test_running_out_of_memory_is_not_the_uploads_fault() -> None:
    with pytest.raises(MemoryError), media_errors():
        raise av.error.MemoryError(errno.ENOMEM, "no memory")


def test_an_encoder_that_gives_up_is_not_the_uploads_fault() -> None:
    with pytest.raises(av.error.ExternalError), media_errors():
        raise av.error.ExternalError(-542398533, "Generic error in an external library")


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EROFS", "ESTALE"])
def test_an_error_of_the_machine_is_not_the_uploads_fault(name: str) -> None:
    number = getattr(errno, name)
    with pytest.raises(OSError, match=os.strerror(number)) as caught, media_errors():
        av.error.err_check(-number, "file:/source.mp4")
    assert caught.value.errno == number


def test_a_read_error_is_the_uploads_fault_where_the_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(bytes(3 << 20))
    with pytest.raises(UnsupportedMediaError), media_errors():
        av.error.err_check(-errno.EIO, f"file:{path}")


def test_a_read_error_is_the_disks_fault_where_the_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "unreadable").mkdir()  # reading one fails whoever asks, as a bad disk does
    with pytest.raises(OSError, match="directory") as caught, media_errors():
        av.error.err_check(-errno.EIO, f"file:{tmp_path / 'unreadable'}")
    assert caught.value.errno == errno.EISDIR


def test_demuxing_tells_a_bad_disk_from_a_bad_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", Clip(frames=5, options={"preset": "ultrafast"}))

    class Failing:
        def demux(self, *_: object) -> Iterator[object]:
            av.error.err_check(-errno.EIO, f"file:{path}")
            yield

    assert list(read_packets(Failing(), ())) == []  # type: ignore[arg-type]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        list(read_packets(Failing(), ()))  # type: ignore[arg-type]


def test_only_known_decoders_open(tmp_path: Path) -> None:
    options = {"strict": "experimental", "pred": "1"}
    path = make_clip(tmp_path / "a.avi", Clip("snow", 3, options=options), format="avi")
    with open_source(path, MediaLimits()) as container:
        (stream,) = container.streams.video
        assert not has_decoder(stream)
        with pytest.raises(av.error.ArgumentError):
            prepare_decoder(stream, MediaLimits())


def test_every_decoder_on_the_list_exists() -> None:
    assert len(DECODERS) < 120
    assert av.codecs_available >= DECODERS
