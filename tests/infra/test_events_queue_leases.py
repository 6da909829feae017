"""The event bus, the doorbell and the data directory's lock."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from threading import Event, Lock

import pytest

from sfserver.errors import ConflictError
from sfserver.infra.events import InProcessBus, Message
from sfserver.infra.leases import DataDirectoryLock
from sfserver.infra.queue import Doorbell, Queue, embedded_brokers


def test_messages_reach_the_listeners_of_their_topic_until_they_leave() -> None:
    bus = InProcessBus()
    heard: list[Message] = []
    leave = bus.subscribe("a", heard.append)
    bus.subscribe("b", heard.append)
    bus.publish("a", {"n": 1})
    bus.publish("c", {"n": 2})
    leave()
    bus.publish("a", {"n": 3})
    assert heard == [{"n": 1}]


def test_every_ring_is_answered_on_its_own_queue() -> None:
    answered: Counter[Queue] = Counter()
    lock, done = Lock(), Event()

    def answer(queue: Queue) -> None:
        with lock:
            answered[queue] += 1
            if answered.total() == 5:
                done.set()

    bell = Doorbell(embedded_brokers(), answer)
    workers = bell.start_workers({Queue.IO: 2, Queue.ENCODE: 1})
    bell.ring(Queue.IO, 3)
    bell.ring(Queue.ENCODE, 2)
    assert done.wait(10)
    for worker in workers:
        worker.stop()
    assert answered == {Queue.IO: 3, Queue.ENCODE: 2}


def test_a_queue_whose_workers_are_busy_does_not_hold_up_the_other() -> None:
    release, answered = Event(), Event()

    def answer(queue: Queue) -> None:
        if queue is Queue.ENCODE:
            release.wait(10)
        else:
            answered.set()

    bell = Doorbell(embedded_brokers(), answer)
    workers = bell.start_workers({Queue.IO: 1, Queue.ENCODE: 1})
    bell.ring(Queue.ENCODE)
    bell.ring(Queue.IO)
    assert answered.wait(10)
    release.set()
    for worker in workers:
        worker.stop()


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    with pytest.raises(ConflictError, match="another server"):
        DataDirectoryLock(tmp_path)
    lock.release()
    DataDirectoryLock(tmp_path).release()


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from sfserver.infra.leases import DataDirectoryLock;"
        "lock = DataDirectoryLock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    DataDirectoryLock(tmp_path).release()
