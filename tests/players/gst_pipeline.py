"""GStreamer, driven through its C interface: shows the frames at the times it is told, as an application would.

`python gst_pipeline.py URL SPEED TIME…` writes the pictures, as luma of `SIZE`, one after the other. It needs no
bindings: Debian's are for Debian's Python alone.
"""

import ctypes
import sys
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

SIZE = (160, 90)
SECOND = 1_000_000_000
PAUSED, NULL = 3, 1
TIME_FORMAT, FLUSH_ACCURATE = 3, 1 | 2
PATIENCE_S = 20
_DRAWN = "videoconvert ! videoscale ! video/x-raw,format=GRAY8,width={},height={}".format(*SIZE)
_PIPELINE = (
    f'playbin uri={{}} connection-speed={{}} audio-sink=fakesink video-sink="{_DRAWN} ! appsink name=eye sync=false"'
)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


class Pipeline:
    """A paused pipeline with one picture on its screen."""

    def __init__(self, url: str, speed: str) -> None:
        gst, app = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgstapp-1.0.so.0")
        _function(gst, "gst_init", None, c_void_p, c_void_p)(None, None)
        self._set_state = _function(gst, "gst_element_set_state", c_int, c_void_p, c_int)
        self._get_state = _function(gst, "gst_element_get_state", c_int, c_void_p, c_void_p, c_void_p, c_uint64)
        self._seek = _function(gst, "gst_element_seek_simple", c_bool, c_void_p, c_int, c_int, c_int64)
        self._pull = _function(app, "gst_app_sink_try_pull_preroll", c_void_p, c_void_p, c_uint64)
        self._buffer = _function(gst, "gst_sample_get_buffer", c_void_p, c_void_p)
        self._copy = _function(gst, "gst_buffer_extract", c_size_t, c_void_p, c_size_t, c_void_p, c_size_t)
        self._unref = _function(gst, "gst_mini_object_unref", None, c_void_p)
        find = _function(gst, "gst_bin_get_by_name", c_void_p, c_void_p, c_char_p)
        launch = _function(gst, "gst_parse_launch", c_void_p, c_char_p, c_void_p)
        self._pipeline = launch(_PIPELINE.format(url, speed).encode(), None)
        self._set_state(self._pipeline, PAUSED)
        self._wait()
        self._eye = find(self._pipeline, b"eye")

    def show(self, time_s: float) -> bytes:
        """Seek to the exact time and return the picture that is then on the screen."""
        if not self._seek(self._pipeline, TIME_FORMAT, FLUSH_ACCURATE, round(time_s * SECOND)):
            raise RuntimeError(f"it refuses to seek to {time_s} s")
        self._wait()
        sample = self._pull(self._eye, PATIENCE_S * SECOND)
        if not sample:
            raise RuntimeError(f"no picture at {time_s} s")
        luma = ctypes.create_string_buffer(SIZE[0] * SIZE[1])
        self._copy(self._buffer(sample), 0, luma, len(luma))
        self._unref(sample)
        return luma.raw

    def close(self) -> None:
        self._set_state(self._pipeline, NULL)

    def _wait(self) -> None:
        state = self._get_state(self._pipeline, None, None, PATIENCE_S * SECOND)
        if state != 1:
            raise RuntimeError(f"it does not come to rest: {state}")


def main(url: str, speed: str, *times: str) -> None:
    pipeline = Pipeline(url, speed)
    for time in times:
        sys.stdout.buffer.write(pipeline.show(float(time)))
    pipeline.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
