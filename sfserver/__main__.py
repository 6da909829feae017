"""`python -m sfserver`: what `sfctl` starts as a subprocess."""

import argparse
import json
import sys
from pathlib import Path

from sfserver.errors import StreamForgeError
from sfserver.log import configure_logging
from sfserver.settings import Settings


def main() -> int:
    """Run one command; return the exit status (0, or 1 with the reason on stderr)."""
    arguments = _parser().parse_args()
    configure_logging()
    try:
        if arguments.command == "up":
            _up(arguments)
        elif arguments.command == "make-clip":
            _make_clip(arguments)
        else:
            _doctor(arguments)
    except StreamForgeError as error:
        print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sfserver")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the embedded server in the foreground")
    up.add_argument("--data-dir", type=Path)
    up.add_argument("--host")
    up.add_argument("--port", type=int)
    up.add_argument("--concurrency", type=int)
    clip = commands.add_parser("make-clip", help="make a clip with picture, sound and movement")
    clip.add_argument("path", type=Path)
    clip.add_argument("--seconds", type=float, default=20.0)
    clip.add_argument("--size", default="1920x1080")
    doctor = commands.add_parser("doctor", help="print what this machine can do, and what ails its data, as JSON")
    doctor.add_argument("--data-dir", type=Path)
    return parser


def _up(arguments: argparse.Namespace) -> None:
    from sfserver.roots.up import serve

    settings = Settings()
    if arguments.data_dir is not None:
        settings.data_dir = arguments.data_dir
    settings.data_dir = settings.data_dir.absolute()
    for name in ("host", "port"):
        if getattr(arguments, name) is not None:
            setattr(settings.http, name, getattr(arguments, name))
    if arguments.concurrency is not None:
        settings.worker.concurrency = arguments.concurrency
    serve(settings)


def _make_clip(arguments: argparse.Namespace) -> None:
    from sfserver.media.encode.sample import make_sample

    width, height = (int(part) for part in arguments.size.split("x"))
    make_sample(arguments.path, seconds=arguments.seconds, width=width, height=height)


def _doctor(arguments: argparse.Namespace) -> None:
    from sfserver.media.encode.versions import codec_report
    from sfserver.media.sandbox.confinement import available

    report: dict[str, object] = {"sandbox": str(available()), **codec_report()}
    settings = Settings()
    if settings.database.url is None:
        report["database"] = _examine_database((arguments.data_dir or settings.data_dir).absolute())
    print(json.dumps(report))  # noqa: T201


def _examine_database(data_dir: Path) -> dict[str, str | None] | None:
    """Return what is wrong with a data directory's database; None if nothing is."""
    from sfserver.infra.checks import find_database_problem

    problem = find_database_problem(data_dir / "streamforge.db", data_dir)
    if problem is None:
        return None
    return {"code": problem.code, "detail": problem.detail, "hint": problem.hint}


if __name__ == "__main__":
    sys.exit(main())
