"""What every channel keeps, over all members and the fake, against real servers; and what each says on its wire."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.receivers import Mailbox, Receiver, certificate, genuine

from tandem.core.errors import Invalid, Rejected, TandemError, TimedOut, Unreachable, Upstream
from tandem.core.secret import Secret
from tandem.governance.alerts import mail, post
from tandem.governance.alerts.base import KINDS, Channel, Destination, Message, load
from tandem.governance.alerts.fake import Fake
from tandem.governance.alerts.slack import text_of
from tandem.governance.alerts.webhook import sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "sentinel-token"
MESSAGE = Message(
    id="dlv_1",
    at=1_750_000_000_000_000,
    action="monitor.alarm",
    subject="monitor/credit-drift",
    actor="monitor/credit-drift",
    team="risk",
    title="The monitor credit-drift raised an alarm",
    facts=("drifted: n 240, compared with dataset/rows@1", "<x> & y (values): psi 0.31 [0.18, 0.44], n 240 against 600"),
    link="http://127.0.0.1:8400/monitors/credit-drift",
    command="tandem monitor show credit-drift",
)
NOW = time.time_ns() // 1000


def now() -> int:
    """For receivers that look at the clock, too: the whole suite may run long after this file was read."""
    return time.time_ns() // 1000


@dataclass
class Line:
    """A channel, where it leads, and what can be done to the other end."""

    channel: Channel
    to: Destination
    came: Callable[[], list[str]]
    """The texts that arrived."""
    break_it: Callable[[], None]
    """From now on it is refused."""
    gone: Destination
    """Where nobody listens."""


def http(kind: str, stack: ExitStack) -> Line:
    receiver = stack.enter_context(Receiver().open())

    def broken() -> None:
        receiver.status = 500

    to = Destination(url=Secret(f"{receiver.url}/services/{TOKEN}"), secret=Secret(SECRET if kind == "webhook" else ""))
    gone = replace(to, url=Secret(f"http://127.0.0.1:9/{TOKEN}"))
    return Line(load(kind), to, lambda: [each.body.decode() for each in receiver.came], broken, gone)


def mailed(stack: ExitStack) -> Line:
    box = stack.enter_context(Mailbox().open())
    to = Destination(
        url=Secret(f"smtp+plain://127.0.0.1:{box.port}"), secret=Secret(""), sender="tandem@example.org", to=("ops@example.org",)
    )

    def broken() -> None:
        box.refuses = frozenset(to.to)

    return Line(
        load("email"), to, lambda: [text for _, _, text in box.mails], broken, replace(to, url=Secret("smtp+plain://127.0.0.1:9"))
    )


def faked(stack: ExitStack) -> Line:
    fake = Fake()
    to, gone = (Destination(url=Secret(url), secret=Secret("")) for url in ("fake://here", "fake://gone"))
    fake.down.add("fake://gone")
    return Line(
        fake, to, lambda: [f"{each.title} {each.command}" for each, _ in fake.told], lambda: fake.down.add("fake://here"), gone
    )


MAKERS: dict[str, Callable[[ExitStack], Line]] = {
    "webhook": lambda stack: http("webhook", stack),
    "slack": lambda stack: http("slack", stack),
    "email": mailed,
    "fake": faked,
}


@pytest.fixture(params=MAKERS)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    with ExitStack() as stack:
        yield MAKERS[request.param](stack)


def test_every_member_is_in_the_suite() -> None:
    assert set(MAKERS) == {*KINDS, "fake"}


def test_a_message_arrives(line: Line) -> None:
    assert line.channel.send(MESSAGE, line.to, NOW) == ""
    (text,) = line.came()
    assert "The monitor credit-drift raised an alarm" in text
    assert "tandem monitor show credit-drift" in text


def test_the_same_message_looks_the_same_again(line: Line) -> None:
    for _ in range(2):
        line.channel.send(MESSAGE, line.to, NOW)
    first, second = line.came()
    assert first == second


def test_a_refusal_is_an_error_without_secrets(line: Line) -> None:
    line.break_it()
    with pytest.raises(Upstream) as caught:
        line.channel.send(MESSAGE, line.to, NOW)
    assert TOKEN not in f"{caught.value} {caught.value.__cause__}"
    assert len(str(caught.value)) < 200


def test_nobody_there_is_an_error_without_secrets(line: Line) -> None:
    with pytest.raises(Unreachable) as caught:
        line.channel.send(MESSAGE, line.gone, NOW)
    assert TOKEN not in str(caught.value)


# --- webhooks


def test_the_published_example_of_standard_webhooks_is_signed_as_it_is_there() -> None:
    """The example of the specification's libraries, https://github.com/standard-webhooks/standard-webhooks, 2024."""
    import base64

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_webhook_is_genuine_and_says_what_happened() -> None:
    with Receiver().open() as receiver:
        load("webhook").send(MESSAGE, Destination(url=Secret(f"{receiver.url}/in?k=1"), secret=Secret(SECRET)), now())
    (came,) = receiver.came
    assert genuine(came, SECRET)
    assert not genuine(replace(came, body=came.body + b" "), SECRET)
    assert (came.path, came.headers["webhook-id"]) == ("/in?k=1", "dlv_1")
    told = came.json()
    assert (told["type"], told["timestamp"]) == ("monitor.alarm", "2025-06-15T15:06:40.000000Z")
    assert told["data"]["facts"][0] == "drifted: n 240, compared with dataset/rows@1"
    assert told["data"]["link"].endswith("/monitors/credit-drift")


def test_a_redirect_is_not_followed() -> None:
    with Receiver().open() as other, Receiver(status=307, headers={"location": other.url}).open() as receiver:
        with pytest.raises(Rejected, match="answered 307"):
            load("webhook").send(MESSAGE, Destination(url=Secret(receiver.url), secret=Secret(SECRET)), NOW)
    assert (len(receiver.came), other.came) == (1, [])


def test_a_receiver_that_asks_for_patience_is_heard() -> None:
    with Receiver(status=429, headers={"retry-after": "30"}).open() as receiver:
        with pytest.raises(Rejected) as caught:
            load("slack").send(MESSAGE, Destination(url=Secret(receiver.url), secret=Secret("")), NOW)
    assert caught.value.retry_after == 30


def test_an_endless_answer_is_left_unread() -> None:
    with Receiver(answer=b"x" * (4 * 1024 * 1024)).open() as receiver:
        load("slack").send(MESSAGE, Destination(url=Secret(receiver.url), secret=Secret("")), NOW)
    assert len(receiver.came) == 1


def test_a_receiver_that_drips_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "TOTAL", 0.3)
    with Receiver(answer=b"x" * 1000, pause=0.05).open() as receiver:
        begun = time.monotonic()
        with pytest.raises(TimedOut):
            load("slack").send(MESSAGE, Destination(url=Secret(receiver.url), secret=Secret("")), NOW)
    assert time.monotonic() - begun < 3


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, cert = certificate(tmp_path)
    with Receiver(tls=tls).open() as receiver:
        to = Destination(url=Secret(receiver.url), secret=Secret(SECRET))
        with pytest.raises(Unreachable):
            load("webhook").send(MESSAGE, to, now())
        assert receiver.came == []
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        load("webhook").send(MESSAGE, to, now())
    assert genuine(receiver.came[0], SECRET)


@pytest.mark.parametrize(
    "url", ["ftp://x", "file:///etc/passwd", "http://user:pw@127.0.0.1", "//x", "http://", "http://[::1", "x"]
)
@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_what_a_reference_led_to_is_looked_at_again(kind: str, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(kind).send(MESSAGE, Destination(url=Secret(url), secret=Secret(SECRET)), NOW)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "ü.invalid", "1.2.3.4.5", "[::1]:9", "xn--a"])
def test_an_odd_host_is_an_error_of_ours(host: str) -> None:
    with pytest.raises((Invalid, Unreachable)):
        load("slack").send(MESSAGE, Destination(url=Secret(f"http://{host}/{TOKEN}"), secret=Secret("")), NOW)


# --- Slack


def test_no_name_can_mention_a_channel() -> None:
    text = text_of(replace(MESSAGE, title="<!channel> & <http://evil|here>"))
    assert text.splitlines()[0] == "*&lt;!channel&gt; &amp; &lt;http://evil|here&gt;*"
    assert "<" not in text


# --- mail


def sent(box: Mailbox, **more: Any) -> str:
    to = Destination(
        url=Secret(f"{more.pop('scheme', 'smtp')}://127.0.0.1:{box.port}"),
        secret=Secret(more.pop("password", "")),
        sender="tandem@example.org",
        to=more.pop("to", ("ops@example.org", "ann@example.org")),
        **more,
    )
    return load("email").send(MESSAGE, to, NOW)


def test_a_mail_can_be_read_by_a_person() -> None:
    with Mailbox().open() as box:
        assert sent(box, scheme="smtp+plain") == ""
    ((sender, to, text),) = box.mails
    assert (sender, to) == ("tandem@example.org", ["ops@example.org", "ann@example.org"])
    read = email.message_from_string(text, policy=email.policy.default)
    assert read["Subject"] == "[tandem] The monitor credit-drift raised an alarm"
    assert read["Message-ID"] == "<dlv_1@example.org>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert "psi 0.31 [0.18, 0.44], n 240 against 600" in read.get_content()


@pytest.mark.parametrize(("scheme", "wrapped"), [("smtp", False), ("smtps", True)])
def test_the_password_goes_through_tls_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, wrapped: bool) -> None:
    tls, cert = certificate(tmp_path)
    with Mailbox(tls=tls, wrapped=wrapped, login=("tandem", TOKEN)).open() as box:
        with pytest.raises(Unreachable, match="certificate"):
            sent(box, scheme=scheme, user="tandem", password=TOKEN)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        sent(box, scheme=scheme, user="tandem", password=TOKEN)
        with pytest.raises(Rejected, match="refused the user or the password") as caught:
            sent(box, scheme=scheme, user="tandem", password="sentinel-wrong")
    assert len(box.mails) == 1
    assert not any("AUTH" in line or "MAIL" in line for line in box.clear)
    assert "sentinel" not in str(caught.value)


def test_a_server_without_starttls_gets_nothing() -> None:
    with Mailbox().open() as box, pytest.raises(Rejected, match="STARTTLS"):
        sent(box)
    assert box.mails == []
    assert not any(line.startswith("MAIL") for line in box.clear)


def test_a_receiver_that_is_refused_does_not_keep_the_others_from_it() -> None:
    with Mailbox(refuses=frozenset({"ops@example.org"})).open() as box:
        assert sent(box, scheme="smtp+plain") == "The mail server refused 1 of 2 receivers."
    assert box.mails[0][1] == ["ann@example.org"]


def test_a_password_is_not_sent_in_the_clear() -> None:
    with Mailbox(login=("tandem", TOKEN)).open() as box, pytest.raises(Invalid, match="in the clear"):
        sent(box, scheme="smtp+plain", user="tandem", password=TOKEN)
    assert box.clear == []


def test_a_password_that_mail_cannot_carry_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, cert = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with Mailbox(tls=tls, login=("tandem", TOKEN)).open() as box, pytest.raises(Invalid) as caught:
        sent(box, user="tandem", password="canäry")
    assert "can" not in str(caught.value).replace("cannot", "")


def test_a_mail_server_that_drips_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "TOTAL", 0.3)
    with Mailbox(pause=0.2).open() as box:
        begun = time.monotonic()
        with pytest.raises(TimedOut):
            sent(box, scheme="smtp+plain")
    assert time.monotonic() - begun < 3


def test_a_kind_that_nobody_knows() -> None:
    with pytest.raises(TandemError, match="no alert of the kind"):
        load("pigeon")
