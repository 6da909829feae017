"""What a worker does with the reports of a running stage."""

from pathlib import Path

import pytest

from sfserver.jobs import service
from sfserver.jobs.actors import _Watch
from sfserver.models import Job
from tests.jobs.conftest import House


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_part_that_comes_too_late_is_not_kept(house: House, tmp_path: Path, cancelled: bool) -> None:
    job_id = house.probed(chunks=1)
    claim = next(claim for claim in (house.must_claim(), house.must_claim()) if claim.kind == "audio")
    (tmp_path / "part-0").write_bytes(b"sound")
    if cancelled:
        with house.runtime.database.write() as session:
            service.cancel_job(session, house.runtime, session.get_one(Job, job_id))
    _Watch(house.runtime, claim, tmp_path).on_report({"part": {"file": "part-0"}, "index": 0})
    kept = (tmp_path / "objects" / claim.prefix / "part-0").exists()
    assert kept is not cancelled
