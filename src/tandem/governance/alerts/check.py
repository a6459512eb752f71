"""Whether an alert makes sense: its name, kind, address, secret, patterns. Pure; nothing that may be a secret is repeated."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import SplitResult, urlsplit

from tandem.core.asset import check_name
from tandem.core.errors import Invalid
from tandem.core.policy import Alert
from tandem.governance.alerts.base import Kind, kind_of
from tandem.governance.alerts.deeds import check_patterns

REFERENCES = ("env:", "file:")
SEALED = "sealed:"
"""Before what the vault sealed. Nobody gives such a text from outside."""
WHSEC = "whsec_"
KEY_BYTES = range(24, 65)
"""Of a signing secret, as Standard Webhooks 1.0 asks for."""
TO_LIMIT = 50
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,190}")
"""A mailbox of RFC 5321 without quotes and without letters beyond ASCII."""
HIDDEN = "…"
"""What is shown instead of what may be a secret; a shown address is not taken for an address again."""


def is_reference(text: str) -> bool:
    """Whether a text names where a secret is, instead of being it."""
    return text.startswith(REFERENCES)


def check_alert(alert: Alert) -> None:
    """Looks at an alert before its literals are sealed, or at one of the settings file.

    Raises:
        Invalid: `field` names what is wrong.
    """
    check_name(alert.name)
    kind = kind_of(alert.kind)
    check_patterns(alert.on)
    if alert.team is not None:
        check_name(alert.team)
    for name, text in (("url", alert.url), ("secret", alert.secret)):
        if text in REFERENCES or text.startswith(SEALED):
            raise Invalid(
                f"The {name} of the alert '{alert.name}' is no reference.", hint="Write env:NAME or file:PATH.", field=name
            )
    if not is_reference(alert.url):
        check_url(alert.url, kind)
    if kind.signs and alert.secret and not is_reference(alert.secret):
        signing_key(alert.secret)
    _check_mail(alert, kind)


def check_url(text: str, kind: Kind) -> SplitResult:
    """The parts of an address.

    Raises:
        Invalid: it is none of this kind.
    """
    hint = f"Write {kind.schemes[0]}://HOST{':PORT' if not kind.path else '/PATH'}, without a user or a fragment."
    try:
        url = urlsplit(text)
        sound = (
            url.scheme in kind.schemes
            and bool(url.hostname)
            and url.port != 0
            and text.isprintable()
            and not {" ", HIDDEN} & set(text)
        )
    except ValueError:
        raise Invalid("The address of the alert cannot be read.", hint=hint, field="url") from None
    more = url.path.strip("/") or url.query
    if not sound or url.username is not None or url.password is not None or url.fragment or (more and not kind.path):
        # The address is not repeated: a password or a token may stand in it.
        raise Invalid(f"The address of the alert is no plain {' or '.join(kind.schemes)} URL.", hint=hint, field="url")
    return url


def shown_url(text: str) -> str:
    """An address as it may be shown: what stands behind the host may be a secret.

    >>> shown_url("https://hooks.example.org/services/T0/B0/x"), shown_url("smtp://mail.example.org:587")
    ('https://hooks.example.org/…', 'smtp://mail.example.org:587')
    """
    url = urlsplit(text)
    return f"{url.scheme}://{url.netloc}{f'/{HIDDEN}' if url.path.strip('/') or url.query else ''}"


def signing_key(secret: str) -> bytes:
    """The bytes of a signing secret, `whsec_` and 24 to 64 bytes in base64.

    Raises:
        Invalid: it is none.
    """
    try:
        key = base64.b64decode(secret.removeprefix(WHSEC), validate=True) if secret.startswith(WHSEC) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in KEY_BYTES:
        raise Invalid(
            "The signing secret of the alert cannot be read.",
            hint="Leave it away and one is made, or write whsec_ and 24 to 64 bytes in base64.",
            field="secret",
        )
    return key


def _check_mail(alert: Alert, kind: Kind) -> None:
    who = f"The alert '{alert.name}'"
    if not kind.mails:
        if alert.user or alert.sender or alert.to:
            raise Invalid(f"{who} is no mail, so it has no user, sender or receivers.", hint="Leave them away.", field="to")
        if alert.secret and not kind.signs:
            raise Invalid(f"{who} needs no secret: its address is one.", hint="Leave it away.", field="secret")
        return
    for name, addresses in (("sender", (alert.sender,)), ("to", alert.to)):
        if not 0 < len(addresses) <= TO_LIMIT or not all(ADDRESS.fullmatch(address) for address in addresses):
            hint = "Give one sender and 1 to 50 receivers, each as NAME@HOST."
            raise Invalid(f"{who} has a {name} that is no address of mail.", hint=hint, field=name)
    if bool(alert.user) != bool(alert.secret):
        raise Invalid(f"{who} has a user without a password, or the other way round.", hint="Give both or none.", field="user")
    if alert.user and alert.url.startswith("smtp+plain:"):
        raise Invalid(
            f"{who} would send a password in the clear.", hint="Write smtps:// or smtp://, which means STARTTLS.", field="url"
        )
