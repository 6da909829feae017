"""Stages that misbehave in every way the sandbox must survive; they run in its child processes."""

import ctypes
import itertools
import os
import stat
import sys
import threading
import time
from pathlib import Path

from sfserver import errors
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report

Json = dict[str, object]


@sandboxed
def echo(arguments: Json, workdir: Path, report: Report) -> Json:
    for step in range(3):
        report({"step": step})
    (workdir / "out.bin").write_bytes(b"0123456789")
    return {"arguments": arguments, "pid": os.getpid(), "read": _read(arguments.get("read"))}


def _read(path: object) -> str | None:
    return Path(path).read_text() if isinstance(path, str) else None


@sandboxed
def segv(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    return {"never": ctypes.string_at(0)}


@sandboxed
def abort(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    os.abort()


@sandboxed
def leave(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    os._exit(3)


@sandboxed
def fail(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    raise LookupError("no such stream \x1b[31m")


@sandboxed
def memory_bomb(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    return {"never": len([bytes(bytearray(8 << 20)) for _ in itertools.count()])}


@sandboxed
def give_up(arguments: Json, workdir: Path, report: Report) -> Json:
    """Fill the memory and fail for another reason, as x264 does."""
    import av

    report({"pid": os.getpid()})
    kept = []
    try:
        while True:
            kept.append(bytearray(8 << 20))
    except MemoryError:
        raise av.error.ExternalError(-542398533, f"it had {len(kept)} frames") from None


@sandboxed
def shared_memory_bomb(arguments: Json, workdir: Path, report: Report) -> Json:
    """Map what RLIMIT_DATA doesn't count, so that only the parent's poll sees it."""
    import mmap

    report({"pid": os.getpid()})
    kept = []
    while True:
        area = mmap.mmap(-1, 8 << 20)
        area.write(b"x" * (8 << 20))
        kept.append(area)
        time.sleep(0.01)


@sandboxed
def hang(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    time.sleep(600)
    return {}


@sandboxed
def busy(arguments: Json, workdir: Path, report: Report) -> Json:
    """Spin in C with the interpreter locked and signals unheard."""
    report({"pid": os.getpid()})
    return {"never": sum(itertools.repeat(0))}


@sandboxed
def encode_forever(arguments: Json, workdir: Path, report: Report) -> Json:
    """Keep x264 and its threads busy, writing a real file."""
    import av

    output = av.open(str(workdir / "out.mp4"), "w")
    stream = output.add_stream("libx264", rate=30, options={"preset": "veryslow", "threads": "2"})
    stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
    frame = av.VideoFrame(640, 360, "yuv420p")
    for number in itertools.count():
        frame.pts = number
        output.mux(stream.encode(frame))
        if number == 20:
            report({"pid": os.getpid()})
    return {}


@sandboxed
def encode_and_decode(arguments: Json, workdir: Path, report: Report) -> Json:
    """Use codec threads in both directions, behind the walls."""
    import av

    with av.open(str(workdir / "out.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=30, options={"threads": "4"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame(320, 180, "yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with av.open(str(workdir / "out.mp4")) as source:
        source.streams.video[0].codec_context.thread_count = 4
        return {"frames": sum(1 for _ in source.decode(video=0)), "random": len(os.urandom(8))}


@sandboxed
def huge_file(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    with (workdir / "huge.bin").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))


@sandboxed
def many_files(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    for number in itertools.count():
        (workdir / f"{number}.bin").write_bytes(bytes(1 << 20))
        time.sleep(0.02)
    return {}


@sandboxed
def write_and_remove(arguments: Json, workdir: Path, report: Report) -> Json:
    """Fill the disk with files that no listing shows."""
    report({"pid": os.getpid()})
    kept = []
    for number in range(32):
        path = workdir / f"{number}.bin"
        kept.append(path.open("wb"))
        kept[-1].write(os.urandom(1 << 20))
        kept[-1].flush()
        path.unlink()
    time.sleep(60)
    return {"kept": len(kept)}


@sandboxed
def nest(arguments: Json, workdir: Path, report: Report) -> Json:
    """Make folders in folders, deeper than a path can say."""
    report({"pid": os.getpid()})
    time.sleep(0.5)  # so that the parent has heard it before it stops this
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    return {}


@sandboxed
def litter(arguments: Json, workdir: Path, report: Report) -> Json:
    """Make more files than any stage needs, without a byte in them."""
    report({"pid": os.getpid()})
    time.sleep(0.5)  # so that the parent has heard it before it stops this
    for number in range(5000):
        (workdir / str(number)).touch()
    return {}


@sandboxed
def thread_bomb(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    threading.stack_size(64 << 10)
    for _ in range(300):
        threading.Thread(target=time.sleep, args=(60,)).start()
    time.sleep(60)
    return {}


@sandboxed
def trouble(arguments: Json, workdir: Path, report: Report) -> Json:
    """Meet an error of the system, as Python or as FFmpeg tells it."""
    import av

    report({"pid": os.getpid()})
    number = int(str(arguments["errno"]))
    if arguments["by"] == "ffmpeg":
        av.error.err_check(-number, "file:/source.mp4")
    raise OSError(number, os.strerror(number))


@sandboxed
def linger(arguments: Json, workdir: Path, report: Report) -> Json:
    """End well, once a file says so."""
    report({"pid": os.getpid()})
    while not (workdir / "go").exists():
        time.sleep(0.01)
    return {}


@sandboxed
def refuse(arguments: Json, workdir: Path, report: Report) -> Json:
    report({"pid": os.getpid()})
    kind = getattr(errors, str(arguments["class"]))
    if kind is errors.MediaLimitError:
        raise kind("pixels", limit=10, value=12.5)
    raise kind("not for us", hint="try another")


@sandboxed
def garbage(arguments: Json, workdir: Path, report: Report) -> Json:
    """Send raw bytes up the pipe, as a child would that its input has taken over."""
    report({"pid": os.getpid()})
    pipe = next(fd for fd in range(3, 256) if _is_pipe(fd))
    data = str(arguments["data"]).encode() * int(str(arguments.get("times", 1)))
    while data:
        data = data[os.write(pipe, data) :]
    time.sleep(600)
    return {}


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


@sandboxed
def result_then_crash(arguments: Json, workdir: Path, report: Report) -> Json:
    pipe = next(fd for fd in range(3, 256) if _is_pipe(fd))
    os.write(pipe, b'{"type":"result","values":{},"cpu_s":0.1,"peak_rss_bytes":1}\n')
    os.abort()


@sandboxed
def facts(arguments: Json, workdir: Path, report: Report) -> Json:
    """Tell what a child has inherited."""
    import resource

    return {
        "fds": [fd for fd in range(256) if _is_open(fd)],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "cwd": str(Path.cwd()),
        "modules": [name for name in ("av", "sfserver.media.encode.video") if name in sys.modules],
        "environment": sorted(os.environ),
        "leads_group": os.getpgid(0) == os.getpid() != os.getsid(0),
    }


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
