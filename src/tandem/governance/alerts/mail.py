"""E-mail over SMTP (RFC 5321): by TLS, by STARTTLS that must succeed, or in the clear and then without a password."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import SplitResult

from tandem.core.clock import MICROS
from tandem.core.errors import Invalid, Rejected, TimedOut, Unreachable
from tandem.governance.alerts.base import KINDS, Destination, Message
from tandem.governance.alerts.check import check_url
from tandem.governance.alerts.post import CONNECT, TOTAL

PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


class Mail:
    """One mail to all receivers of an alert."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()

    def send(self, message: Message, destination: Destination, now: int) -> str:
        url = check_url(destination.url.reveal(), KINDS["email"])
        if url.scheme == "smtp+plain" and destination.user:
            raise Invalid(
                "A password would go in the clear.", hint="Write smtps:// or smtp://, which means STARTTLS.", field="url"
            )
        mail = mail_of(message, destination, now)
        with _bounded(url, self._tls) as smtp:
            if url.scheme == "smtp":
                smtp.starttls(context=self._tls)
            if destination.user:
                smtp.login(destination.user, destination.secret.reveal())
            refused = smtp.send_message(mail, destination.sender, destination.to)
        return f"The mail server refused {len(refused)} of {len(destination.to)} receivers." if refused else ""


def mail_of(message: Message, destination: Destination, now: int) -> EmailMessage:
    """The mail; its Message-ID is made of the delivery's id, by which a mailbox tells repetitions."""
    mail = EmailMessage()
    mail["From"], mail["To"] = destination.sender, ", ".join(destination.to)
    mail["Subject"] = f"[tandem] {message.title}"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now // MICROS, UTC))
    mail["Message-ID"] = f"<{message.id}@{destination.sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Tandem-Action"] = message.action
    lines = [message.title, "", *message.facts, *([""] if message.facts else []), message.link, message.command]
    mail.set_content("\n".join([*lines, "", f"{message.action} {message.subject}, by {message.actor}, team {message.team}"]))
    return mail


@contextmanager
def _bounded(url: SplitResult, tls: ssl.SSLContext) -> Iterator[smtplib.SMTP]:
    """A connection that is cut after `TOTAL` seconds, however slowly the server speaks; its errors are ours.

    Raises:
        Unreachable, TimedOut, Rejected: what the server said is not repeated, for it may quote what it was sent.
    """
    host = url.hostname or ""
    smtp = smtplib.SMTP_SSL(timeout=CONNECT, context=tls) if url.scheme == "smtps" else smtplib.SMTP(timeout=CONNECT)
    smtp._host = host  # type: ignore[attr-defined]  # the name in the certificate; the constructor sets it only if it connects too
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError, AttributeError):  # it has ended by itself, or has no socket yet
            smtp.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    timer = threading.Timer(TOTAL, cut)
    timer.daemon = True
    timer.start()
    try:
        smtp.connect(host, url.port or PORTS[url.scheme])
        yield smtp
        with suppress(smtplib.SMTPException, OSError):  # the mail is taken, however they part
            smtp.quit()
    except smtplib.SMTPRecipientsRefused as error:
        raise Rejected(f"The mail server refused all {len(error.recipients)} receivers.") from None
    except smtplib.SMTPNotSupportedError:
        raise Rejected("The mail server does not offer what is needed: STARTTLS, or a way to sign in.") from None
    except smtplib.SMTPAuthenticationError as error:
        raise Rejected(f"The mail server refused the user or the password ({error.smtp_code}).") from None
    except smtplib.SMTPResponseException as error:
        raise Rejected(f"The mail server answered {error.smtp_code}.") from None
    except ssl.SSLError as error:
        raise Unreachable(f"The mail server's certificate was refused: {error.reason}.") from None
    except ValueError:
        why = "The host, the user or the password of the alert holds letters that mail cannot carry."
        raise Invalid(why, hint="Use ASCII.", field="user") from None
    except (smtplib.SMTPException, OSError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimedOut("The mail server did not answer in time.") from None
        raise Unreachable(f"The mail server cannot be reached: {type(error).__name__}.") from None
    finally:
        timer.cancel()
        smtp.close()
