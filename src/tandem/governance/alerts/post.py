"""One POST to a receiver outside, bounded in every direction. All HTTP of alerts is here; it knows no deed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpx2

from tandem.core.errors import Invalid, Rejected, TimedOut, Unreachable
from tandem.core.secret import Secret

CONNECT = 5.0
TOTAL = 15.0
"""Seconds, from the name's resolution to the end of the answer."""
READ_BYTES = 64 * 1024
"""Of an answer; the rest is left unread, and none of it is kept."""
HERE = frozenset({"localhost", "127.0.0.1", "::1"})


class Post:
    """Sends bodies; one per channel, for any number of threads."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()  # 60 ms, so not at every send

    def send(self, url: Secret, body: bytes, headers: Mapping[str, str]) -> None:
        """Delivers, or says why not. No redirect is followed: it would lead where no admin sent us.

        Raises:
            Unreachable, TimedOut, Rejected: not delivered; neither the address nor the answer is repeated.
            Invalid: the host of the address cannot be one.
        """
        try:
            status, after = asyncio.run(self._send(url.reveal(), body, headers))
        except (TimeoutError, httpx2.TimeoutException):
            raise TimedOut(f"The receiver did not answer within {TOTAL:g} s.") from None
        except ssl.SSLError as error:
            raise Unreachable(f"The receiver's certificate was refused: {error.reason}.") from None
        except (httpx2.InvalidURL, UnicodeError):
            raise Invalid("The address of the alert names no host.", hint="Write https://HOST/PATH.", field="url") from None
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(f"The receiver cannot be reached: {type(error).__name__}.") from None
        if not 200 <= status < 300:
            raise Rejected(f"The receiver answered {status}.", retry_after=after)

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, float | None]:
        # Through the proxy of the environment, as providers are reached; never for this machine itself.
        outside = httpx2.URL(url).host not in HERE
        times = httpx2.Timeout(TOTAL, connect=CONNECT)
        async with asyncio.timeout(TOTAL):  # a receiver that sends a byte a second keeps every single wait short
            async with httpx2.AsyncClient(verify=self._tls, timeout=times, trust_env=outside, follow_redirects=False) as http:
                async with http.stream("POST", url, content=body, headers=dict(headers)) as reply:
                    read = 0
                    async for piece in reply.aiter_raw():
                        read += len(piece)
                        if read > READ_BYTES:
                            break
                    return reply.status_code, _seconds(reply.headers.get("retry-after", ""))


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
