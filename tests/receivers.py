"""Receivers outside: an HTTP server that checks signatures by itself, and a mail server, each on a free port of loopback."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import ipaddress
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Came:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What a webhook leads to."""

    port: int = 0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: bytes = b"ok"
    pause: float = 0.0
    """Seconds between two bytes of the answer."""
    tls: ssl.SSLContext | None = None
    came: list[Came] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Receiver]:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        server.daemon_threads = True
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            receiver.came.append(Came(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            with contextlib.suppress(OSError):
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for at in range(0, len(receiver.answer), 1 if receiver.pause else 65_536):
                    self.wfile.write(receiver.answer[at : at + (1 if receiver.pause else 65_536)])
                    time.sleep(receiver.pause)

        def do_GET(self) -> None:
            receiver.came.append(Came(f"GET {self.path}", {}, b""))

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


def genuine(came: Came, secret: str) -> bool:
    """Whether a request is signed with the secret, as Standard Webhooks 1.0 describes it; written apart from the product."""
    key = base64.b64decode(secret.split("_", 1)[1])
    signed = b".".join([came.headers["webhook-id"].encode(), came.headers["webhook-timestamp"].encode(), came.body])
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    given = [each.partition(",")[2] for each in came.headers["webhook-signature"].split(" ") if each.startswith("v1,")]
    recent = abs(int(came.headers["webhook-timestamp"]) - time.time()) < 300
    return recent and any(hmac.compare_digest(expected, each) for each in given)


@dataclass
class Mailbox:
    """A mail server that takes what is sent to it."""

    tls: ssl.SSLContext | None = None
    """For STARTTLS, or with `wrapped` from the first byte."""
    wrapped: bool = False
    login: tuple[str, str] | None = None
    """The user and password that it wants."""
    refuses: frozenset[str] = frozenset()
    """Receivers it does not know."""
    pause: float = 0.0
    """Seconds before each byte of its greeting."""
    port: int = 0
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    """From, to, and the mail."""
    clear: list[str] = field(default_factory=list)
    """What it was told before there was TLS."""

    @contextlib.contextmanager
    def open(self) -> Iterator[Mailbox]:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", self.port), _postman(self), bind_and_activate=False)
        server.daemon_threads, server.allow_reuse_address = True, True
        server.server_bind()
        server.server_activate()
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _postman(box: Mailbox) -> type[socketserver.BaseRequestHandler]:
    class Postman(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.wire, self.lines = self.request, None
            with contextlib.suppress(OSError, ssl.SSLError):
                self.secured = box.wrapped
                self.wire = box.tls.wrap_socket(self.request, server_side=True) if box.wrapped and box.tls else self.request
                self.lines = self.wire.makefile("rb")
                for byte in b"220 here\r\n":
                    self.wire.sendall(bytes([byte]))
                    time.sleep(box.pause)
                self.talk()
            if self.lines is not None:
                self.lines.close()
            self.wire.close()

        def say(self, text: str) -> None:
            self.wire.sendall(f"{text}\r\n".encode())

        def talk(self) -> None:
            sender, to, known = "", [], box.login is None
            while line := self.lines.readline().decode().rstrip("\r\n"):
                if not self.secured:
                    box.clear.append(line)
                verb, _, rest = line.partition(" ")
                match verb.upper():
                    case "EHLO":
                        more = ["STARTTLS"] if box.tls and not self.secured else ["AUTH PLAIN"] if box.login else []
                        for word in ("here", *more):
                            self.say(f"250-{word}")
                        self.say("250 SIZE 1000000")
                    case "STARTTLS" if box.tls:
                        self.say("220 go on")
                        self.wire = box.tls.wrap_socket(self.wire, server_side=True)
                        self.lines, self.secured = self.wire.makefile("rb"), True
                    case "AUTH":
                        _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
                        known = (user, password) == box.login
                        self.say("235 welcome" if known else f"535 {password} is not the password")
                    case "MAIL" if known:
                        sender, to = rest[6 : rest.index(">")], []
                        self.say("250 ok")
                    case "RCPT":
                        address = rest[4 : rest.index(">")]
                        self.say("550 nobody" if address in box.refuses else "250 ok")
                        to += [address] if address not in box.refuses else []
                    case "DATA":
                        self.say("354 go on")
                        text = b"".join(iter(self.lines.readline, b".\r\n")).decode()
                        box.mails.append((sender, to, text))
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case "RSET":
                        self.say("250 ok")
                    case _:
                        self.say("530 no")

    return Postman


def certificate(folder: Path, host: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for an address, and the file that who trusts it reads."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "private.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    return context, cert
