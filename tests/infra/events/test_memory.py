"""The event bus of one process."""

from threading import Thread

from sfserver.infra.events.contract import Message
from sfserver.infra.events.memory import InProcessBus


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


def test_all_who_listen_hear_it_in_order() -> None:
    bus = InProcessBus()
    heard: list[tuple[int, object]] = []
    for listener in range(3):
        bus.subscribe("a", lambda message, listener=listener: heard.append((listener, message["n"])))  # type: ignore[misc]
    for number in range(2):
        bus.publish("a", {"n": number})
    assert heard == [(listener, number) for number in range(2) for listener in range(3)]


def test_a_listener_may_leave_and_come_while_it_is_told() -> None:
    bus = InProcessBus()
    heard: list[str] = []

    def once(_message: Message) -> None:
        heard.append("once")
        leave()
        bus.subscribe("a", lambda _message: heard.append("after"))

    leave = bus.subscribe("a", once)
    bus.publish("a", {})
    bus.publish("a", {})
    assert heard == ["once", "after"]


def test_nothing_is_kept_of_a_topic_that_everybody_left() -> None:
    bus = InProcessBus()
    for leave in [bus.subscribe(f"job:{number}", print) for number in range(100)]:
        leave()
    assert not bus._listeners


def test_many_threads_publish_and_subscribe_at_once() -> None:
    bus = InProcessBus()
    heard: list[Message] = []
    bus.subscribe("a", heard.append)

    def work() -> None:
        for number in range(200):
            bus.subscribe(f"own {number}", heard.append)()
            bus.publish("a", {"n": number})

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(heard) == 8 * 200
