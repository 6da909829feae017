import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sfctl.embedded import ServerOptions, find_running
from sfctl.preflight import Check
from sfserver.wire.system import PartHealth
from tests.cli.conftest import Cli
from tests.cli.fake_server import TOKEN, FakeServer

Life = Callable[[float], None]


def here(data_dir: Path) -> dict[str, object]:
    """An environment in which only the data directory tells where the server is."""
    return {"variables": {"SF_DATA_DIR": str(data_dir)}}


def test_up_detached_status_and_down(bare: Cli, stub_life: Life, tmp_path: Path) -> None:
    place = here(tmp_path / "d")
    up = bare("up", "--detach", "--port", "0", **place)
    record = find_running(tmp_path / "d")
    assert (up.code, up.out) == (0, "")
    assert record is not None
    assert f"runs at {record.url}" in up.err
    assert "already running" in bare("up", **place).err
    status = bare("status", "-o", "env", **place)
    assert status.out == f"SF_URL={record.url}\nSF_TOKEN={TOKEN}\n"
    assert json.loads(bare("status", "-o", "json", **place).out)["pid"] == record.pid
    assert bare("auth", "status", **place).out.startswith("user\tlocal\n")
    assert bare("down", **place).code == 0
    assert find_running(tmp_path / "d") is None
    assert bare("down", **place).err == f"no server runs in {tmp_path / 'd'}\n"


def test_up_in_the_foreground_ends_with_its_server(bare: Cli, stub_life: Life, tmp_path: Path) -> None:
    stub_life(1.0)
    ran = bare("up", "--port", "0", "--data-dir", str(tmp_path))
    assert ran.code == 0
    assert "stop  Ctrl-C" in ran.err
    assert f"sfctl ls --data-dir {tmp_path}" in ran.err


def test_a_server_that_dies_shows_its_last_words(bare: Cli, stub_life: Life, tmp_path: Path) -> None:
    stub_life(0)
    ran = bare("up", "--detach", "--port", "0", **here(tmp_path))
    assert ran.code == 1
    assert "  database is locked\n" in ran.err
    assert "error: the server did not start\n  it ended with exit code 1\n" in ran.err


def test_preflight_names_what_is_missing(
    bare: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sfctl.preflight._SERVER_MODULES", ("no_such_package",))
    monkeypatch.setattr("sfctl.preflight.MIN_FREE_BYTES", 1 << 60)
    port = server.url.rsplit(":", 1)[1]
    ran = bare("up", "--port", port, **here(tmp_path / "file" / "data"))
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["server packages", "data directory", "disk space", "port"]
    assert "pip install 'streamforge[server]'" in lines[0]
    assert "--port 0" in lines[3]


def test_a_stale_record_is_not_a_server(bare: Cli, tmp_path: Path) -> None:
    record = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "version": "0", "started_at": ""}
    (tmp_path / "server.json").write_text(json.dumps(record))
    assert find_running(tmp_path) is None
    assert bare("down", **here(tmp_path)).code == 0
    assert bare("status", **here(tmp_path)).code == 3
    (tmp_path / "server.json").write_text("{")
    assert find_running(tmp_path) is None


def test_the_local_token_does_not_go_elsewhere(bare: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    place = {"SF_DATA_DIR": str(tmp_path)}
    assert bare("auth", "token", variables=place).out == "secret\n"
    away = bare("auth", "token", variables={**place, "SF_URL": "https://example.org"})
    assert (away.code, away.out) == (4, "")
    mine = {**place, "SF_URL": "https://example.org", "SF_TOKEN": "theirs"}
    assert bare("auth", "token", variables=mine).out == "theirs\n"


def test_signals_reach_the_server(tmp_path: Path) -> None:
    code = (
        "import sys; from sfctl.embedded import ServerOptions; from sfctl.main import main;"
        "real = ServerOptions.command_line;"
        "ServerOptions.command_line = lambda o:"
        " [sys.executable, '-m', 'tests.cli.stub_server', '60', *real(o)[2:]];"
        "main()"
    )
    command = [sys.executable, "-c", code, "up", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert next(line for line in process.stderr if line.startswith("next"))
        record = find_running(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert record is not None
    assert find_running(tmp_path) is None


def test_the_command_line_of_the_server(tmp_path: Path) -> None:
    line = ServerOptions(tmp_path, "::1", 0, 3).command_line()
    assert line[:4] == [sys.executable, "-m", "sfserver", "up"]
    assert line[4:] == ["--data-dir", str(tmp_path), "--host", "::1", "--port", "0", "--concurrency", "3"]


def test_doctor_names_the_broken_hop(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: FakeServer
) -> None:
    monkeypatch.setattr("sfctl.commands.doctor.check_server_program", lambda _data_dir: [])
    monkeypatch.setattr("sfctl.preflight._bind", lambda _host, _port: None)
    monkeypatch.setattr("sfctl.preflight.MIN_FREE_BYTES", 1 << 60)
    ran = bare("doctor", **here(tmp_path))
    assert ran.code == 1
    assert "FAIL  disk space: " in ran.out
    assert "      fix: free " in ran.out
    assert "warn  server: none runs" in ran.out
    assert ran.err == "broken: disk space\n"


def test_doctor_asks_the_server_in_use(cli: Cli, server: FakeServer) -> None:
    whole = {check["name"]: check["ok"] for check in json.loads(cli("doctor", "--json").out)}
    assert {name for name, ok in whole.items() if ok} >= {"server", "sign-in", "database", "queue", "storage"}
    unsigned = cli("doctor", variables={"SF_TOKEN": "wrong"})
    assert unsigned.code == 1
    assert "FAIL  sign-in: Not signed in" in unsigned.out
    away = cli("doctor", "-q", variables={"SF_URL": "http://127.0.0.1:1"})
    assert (away.code, away.out) == (1, "server\n")


def test_doctor_asks_the_servers_program(tmp_path: Path) -> None:
    from sfctl.commands.doctor import check_server_program

    media, sandbox, database = check_server_program(tmp_path)
    assert media.ok, media.detail
    assert sandbox.is_optional
    assert (database.ok, list(tmp_path.iterdir())) == (True, [])


@pytest.mark.parametrize("content", [b"not a database" * 1000, None])
def test_doctor_finds_what_ails_a_database_without_a_server(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    monkeypatch.setattr("sfctl.preflight._bind", lambda _host, _port: None)
    if content is None:
        (tmp_path / "objects" / "source").mkdir(parents=True)
        (tmp_path / "objects" / "source" / "x").write_bytes(b"bytes")
    else:
        (tmp_path / "streamforge.db").write_bytes(content)
    ran = bare("doctor", **here(tmp_path))
    assert ran.code == 1
    assert f"FAIL  database: database {'damaged' if content else 'missing'}: " in ran.out
    assert "      fix: " in ran.out.partition("FAIL  database")[2].splitlines()[1]
    assert "broken: database" in ran.err


def test_doctor_asks_the_running_server_for_its_walls_and_its_database(
    bare: Cli, stub_life: Life, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """S7: what doctor's own process could do says nothing about the server's."""
    asked = [Check("sandbox", True, "doctor's own"), Check("database", False, "doctor's own")]
    monkeypatch.setattr("sfctl.commands.doctor.check_server_program", lambda _data_dir: asked)
    place = here(tmp_path)
    assert bare("up", "--detach", "--port", "0", **place).code == 0
    checks = {check["name"]: check for check in json.loads(bare("doctor", "--json", **place).out)}
    assert bare("down", **place).code == 0
    assert (checks["sandbox"]["ok"], checks["sandbox"]["detail"]) == (True, "all")
    assert (checks["database"]["ok"], checks["database"]["detail"]) == (True, "answers")


def test_doctor_tells_what_the_server_is_short_of(cli: Cli, server: FakeServer) -> None:
    server.storage = PartHealth(ok=False, detail="12 MiB are free")
    ran = cli("doctor")
    assert ran.code == 1
    assert "FAIL  storage: 12 MiB are free\n      fix: " in ran.out
    assert ran.err == "broken: storage\n"


def test_doctor_warns_of_walls_that_the_server_lacks(cli: Cli, server: FakeServer) -> None:
    server.sandbox = "rlimits, no Landlock, seccomp"
    ran = cli("doctor")
    assert ran.code == 0
    assert "warn  sandbox: rlimits, no Landlock, seccomp\n      fix: " in ran.out


def test_demo_says_when_it_could_be_played(
    bare: Cli, stub_life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfctl.preflight._bind", lambda _host, _port: None)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    film = tmp_path / "film.mp4"
    film.write_bytes(b"frames")
    ran = bare("demo", str(film), "--data-dir", str(tmp_path / "data"))
    assert ran.code == 0, ran.err
    assert "; playable after 2.6 s" in ran.out
    assert re.search(r"^  sfctl play 0192f3a1-7c2b --data-dir \S+$", ran.out, re.MULTILINE)
