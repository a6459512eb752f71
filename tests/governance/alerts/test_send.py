"""The courier: at least once, in order, nobody waits for another, and what cannot be delivered has an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.governance.alerts.place import URL, Place, person

from tandem.core.errors import Broken, Rejected, Unavailable
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.alerts.base import Destination, Message
from tandem.governance.alerts.fake import Fake
from tandem.governance.alerts.send import Courier
from tandem.governance.keys import Keys
from tandem.governance.repo import Entry, Standing
from tandem.jobs.rounds import Rounds

DAY = 86_400
OTHER = "https://other.example.org/x"


def standing(place: Place, name: str = "ops") -> Standing:
    return place.alerts.find(name, by=person()).standing


def test_what_happens_after_it_was_made_is_told_once_and_in_order(place: Place) -> None:
    place.deed(subject="key/before")
    place.put()
    for name in ("a", "b", "c"):
        place.deed(subject=f"key/{name}")
        place.deed("asset.publish")
    assert place.courier.step() == 1
    assert place.courier.step() == 0
    assert place.told() == [f"ada set a cap for key/{name}" for name in "abc"]
    assert place.fake.told[0][0].facts == ("5 USD, window day",)
    assert place.fake.told[0][0].link == "https://console.example.org/budgets"
    assert standing(place).delivered_at == place.clock.now()


def test_a_team_hears_its_own(place: Place) -> None:
    keys = Keys(place.sql, place.vault, place.clock, place.audit)
    for team in ("red", "blue"):
        keys.create(f"of-{team}", role="viewer", team=team, by=person())
        place.put(team, team=team)
    place.put("all")
    place.deed(team="red", subject="team/red")
    place.deed(team="blue", subject="team/blue")
    place.courier.step()
    told = sorted(message.subject for message, _ in place.fake.told)
    assert told == ["team/blue", "team/blue", "team/red", "team/red"]


def test_a_dead_receiver_is_tried_less_and_less_and_hears_everything_later(place: Place) -> None:
    place.put()
    place.fake.down.add(URL)
    place.deed()
    place.deed(subject="key/b")
    waits = []
    for tries in range(1, 15):
        assert place.courier.step() == 1
        assert place.fake.tries == tries
        waits.append(place.courier._tracks["ops"].due - place.clock.monotonic())
        place.clock.advance(waits[-1] - 0.01)
        assert place.courier.step() == 0
        place.clock.advance(0.02)
    assert waits == pytest.approx([2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900])
    failing = standing(place)
    assert failing.failures == 14
    assert failing.failing_since is not None
    assert failing.error == "The receiver cannot be reached: nobody is there."
    assert place.alerts.find("ops", by=person()).pending == 2
    place.fake.down.clear()
    place.clock.advance(900)
    place.courier.step()
    assert len(place.told()) == 2
    assert replace(standing(place), tried_at=None, delivered_at=None, cursor=0) == Standing(cursor=0)


def test_half_of_the_wait_is_left_to_chance(place: Place) -> None:
    courier = Courier(place.alerts, place.clock, draw=lambda: 0.0)
    assert courier._pause(3, None) == 4.0
    assert courier._pause(3, 100.0) == 100.0
    assert courier._pause(3, 1e9) == 900.0
    assert courier._pause(10_000, None) == 450.0


def test_a_dead_receiver_holds_up_nobody_else(place: Place) -> None:
    """With the threads that the product uses: one receiver hangs, the other is told meanwhile."""
    hang, told = threading.Event(), threading.Event()

    class Slow(Fake):
        def send(self, message: Message, destination: Destination, now: int) -> str:
            if destination.url.reveal() == URL:
                assert hang.wait(10)
            else:
                told.set()
            return super().send(message, destination, now)

    place.fake = Slow()
    place.put()
    place.put("other", url=OTHER)
    place.deed()
    courier = Courier(place.alerts, place.clock)
    assert courier.step() == 2
    assert told.wait(5)
    assert courier.step() == 0  # one message under way for each, not more
    hang.set()
    courier.stop()
    assert len(place.fake.told) == 2


def test_a_message_that_was_sent_when_the_process_died_comes_again_with_its_id(place: Place) -> None:
    place.put()
    place.deed()

    class Dying(Alerts):
        def keep(self, name: str, etag: int, standing: Standing) -> None:
            raise SystemExit  # as if killed between the receiver's answer and the note of it

    dying = Dying(place.sql, place.audit, place.vault, place.clock, address="", channel=lambda kind: place.fake, environment={})
    with pytest.raises(SystemExit):
        place.fresh(dying).step()
    place.fresh().step()
    first, second = (message.id for message, _ in place.fake.told)
    assert first == second
    assert first.startswith("dlv_")
    place.fresh().step()
    assert len(place.fake.told) == 2


def test_ids_differ_between_deeds_and_between_alerts(place: Place) -> None:
    place.put()
    place.put("other", url=OTHER)
    place.deed()
    place.deed()
    place.courier.step()
    assert len({message.id for message, _ in place.fake.told}) == 4


def test_what_waits_too_long_is_given_up_and_the_audit_says_so(place: Place) -> None:
    place.put()
    place.put("watcher", url=OTHER, on=("alert.undelivered",))
    place.fake.down.add(URL)
    place.deed()
    place.deed("budget.drop")
    place.clock.advance(DAY / 2)
    place.deed(subject="key/later")
    place.courier.step()
    assert standing(place).undelivered == 0
    place.clock.advance(DAY / 2)
    place.courier.step()
    assert standing(place).undelivered == 2
    assert place.alerts.find("ops", by=person()).pending == 1
    entry = place.audited()[0]
    assert (entry.action, entry.actor, entry.subject) == ("alert.undelivered", "alert/ops", "alert/ops")
    assert entry.detail == (
        '{"actions":["budget.drop","budget.set"],"count":2,"error":"The receiver cannot be reached: nobody is there."}'
    )
    place.courier.step()
    assert place.told() == ["The alert ops could not be delivered"]
    assert place.fake.told[0][0].facts[0] == "2 messages were given up: budget.drop, budget.set"
    place.fake.down.clear()
    place.clock.advance(900)
    place.courier.step()
    assert "ada set a cap for key/later" in place.told()


def test_two_dead_alerts_that_watch_each_other_come_to_rest(place: Place) -> None:
    for name in ("a", "b"):
        place.put(name, on=("*",))
    place.fake.down.add(URL)
    place.deed()
    for _ in range(20):
        place.clock.advance(DAY / 2)
        place.courier.step()
    given_up = [entry for entry in place.audited() if entry.action == "alert.undelivered"]
    assert len(given_up) == 2
    assert [each.pending for each in place.alerts.list(by=person())] == [0, 0]


def test_a_removed_alert_is_told_nothing_more_at_once(place: Place) -> None:
    place.put()
    for _ in range(3):
        place.deed()

    class Leaving(Fake):
        def send(self, message: Message, destination: Destination, now: int) -> str:
            place.alerts.remove("ops", by=person())
            return super().send(message, destination, now)

    place.fake = Leaving()
    place.courier.step()
    assert len(place.fake.told) == 1
    assert place.courier.step() == 0
    place.fake = Fake()
    place.put()
    place.courier.step()
    assert place.told() == []


@pytest.mark.parametrize("mended", ["put", "test"])
def test_who_mends_it_need_not_wait(place: Place, mended: str) -> None:
    place.put()
    place.fake.down.add(URL)
    place.deed()
    for _ in range(12):
        place.courier.step()
        place.clock.advance(900)
    place.courier.step()
    if mended == "put":
        place.put(url=OTHER)
    else:
        place.fake.down.clear()
        assert place.alerts.test("ops", by=person()).ok
    place.courier.step()
    assert "ada set a cap for team/risk" in place.told()


def test_while_the_disk_is_full_nothing_is_sent_again_and_again(place: Place) -> None:
    place.put()
    place.deed()
    place.deed(subject="key/b")
    full = True

    class Full(Alerts):
        def keep(self, name: str, etag: int, standing: Standing) -> None:
            if full:
                raise Unavailable("The database cannot be written: the disk is full.")
            super().keep(name, etag, standing)

    alerts = Full(place.sql, place.audit, place.vault, place.clock, address="", channel=lambda kind: place.fake, environment={})
    courier, faults = place.fresh(alerts), []
    courier._fault = faults.append
    for _ in range(5):
        courier.step()
        place.clock.advance(3)
    assert len(place.told()) == 1
    assert [str(fault) for fault in faults] == ["The database cannot be written: the disk is full."]
    full = False
    courier.step()
    assert len(place.told()) == 2
    assert place.alerts.find("ops", by=person()).pending == 0
    place.fresh().step()
    assert len(place.told()) == 2


def test_what_a_receiver_was_told_with_a_reservation_is_shown(place: Place) -> None:
    class Partly(Fake):
        def send(self, message: Message, destination: Destination, now: int) -> str:
            super().send(message, destination, now)
            return "The mail server refused 1 of 2 receivers."

    place.fake = Partly()
    place.put()
    place.deed()
    place.courier.step()
    assert standing(place).error == "The mail server refused 1 of 2 receivers."
    assert standing(place).failing_since is None


def test_a_receiver_says_when_to_come_again(place: Place) -> None:
    class Busy(Fake):
        def send(self, message: Message, destination: Destination, now: int) -> str:
            self.tries += 1
            raise Rejected("The receiver answered 429.", retry_after=60)

    place.fake = Busy()
    place.put()
    place.deed()
    for _ in range(60):
        place.courier.step()
        place.clock.advance(1)
    assert place.fake.tries == 1
    place.courier.step()
    assert place.fake.tries == 2


def test_a_bug_in_one_delivery_is_tried_again_later_and_stops_nobody(place: Place) -> None:
    class Odd(Alerts):
        def send(self, alert: object, entry: Entry) -> str:
            raise Broken("unforeseen")

    alerts = Odd(place.sql, place.audit, place.vault, place.clock, address="", channel=lambda kind: place.fake, environment={})
    place.put()
    place.deed()
    place.fresh(alerts).step()
    assert standing(place).error == "unforeseen"


def test_what_another_machine_has_delivered_meanwhile_is_not_delivered_again(place: Place) -> None:
    place.put()
    first, second = place.fresh(), place.fresh()
    first.step()
    place.deed()
    second.step()  # on duty while the first was not
    assert len(place.told()) == 1
    first.step()
    assert len(place.told()) == 1
    place.deed()
    first.step()
    assert len(place.told()) == 2


def test_it_runs_until_it_is_told_to_stop(place: Place) -> None:
    place.put()
    courier = Courier(place.alerts, place.clock)
    rounds = Rounds(courier.step, 0.02)
    thread = threading.Thread(target=rounds.run, args=(lambda error: None,))
    thread.start()
    place.deed()
    until(lambda: len(place.told()) == 1)
    rounds.stop()
    courier.stop()
    thread.join(5)
    assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
