"""Signatures: the published example, botocore's own signer for every request we can think of, and the mock, which checks them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import botocore.auth
import httpx2
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.chat import Chat, Message, Text
from tandem.core.clock import MICROS, SystemClock
from tandem.core.errors import Rejected
from tandem.core.secret import Secret
from tandem.gateway.providers.bedrock import Bedrock
from tandem.gateway.providers.bedrock_key import region_of
from tandem.gateway.providers.sigv4 import Credentials, Header, Scope, sign
from tandem.mock.serve import running
from tandem.mock.settings import MockSettings

NAIVE = datetime(2026, 11, 30, 23, 59, 59, 999_999)
NOW = int(NAIVE.replace(tzinfo=UTC).timestamp() * MICROS)
HELLO = Chat(messages=(Message(role="user", parts=(Text(text="hello, 世界"),)),), max_output=20)
PLAIN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
NAMES = st.from_regex(r"x-[a-z][a-z0-9-]{0,9}", fullmatch=True)
VALUES = st.text(st.sampled_from("abcXYZ019 \t=;,:/é"), max_size=20)
STEPS = st.one_of(
    st.text(max_size=12).map(lambda text: quote(text, safe="")), st.sampled_from(["", ".", "..", "a~b", "m:0", "a%3A0"])
)
PAIRS = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=4)


def theirs(credentials: Credentials, scope: Scope, url: str, headers: list[Header], body: bytes) -> str:
    """What botocore's signer writes, at the same moment."""
    request = AWSRequest(method="POST", url=url, data=body)
    for name, value in headers:
        request.headers[name.decode()] = value.decode()
    signer = botocore.auth.SigV4Auth(
        Theirs(credentials.access_key, credentials.secret, credentials.token or None), scope.service, scope.region
    )
    signer.add_auth(request)
    return str(request.headers["Authorization"])


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NAIVE)


def test_the_published_example_comes_out() -> None:
    """`post-vanilla` of AWS's Signature Version 4 test suite."""
    made = dict(
        sign(
            Credentials(access_key="AKIDEXAMPLE", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            Scope(region="us-east-1", service="service"),
            method="POST",
            url="https://example.amazonaws.com/",
            headers=(),
            body=b"",
            now=int(datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()) * MICROS,
        )
    )
    assert made[b"authorization"] == (
        b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
        b"Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


@pytest.mark.usefixtures("stopped")
@given(
    host=st.sampled_from(
        [
            "https://bedrock-runtime.us-east-1.amazonaws.com",
            "http://127.0.0.1:9101",
            "https://h.example:443",
            "http://h.example:8080",
        ]
    ),
    steps=st.lists(STEPS, max_size=5),
    pairs=PAIRS,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    body=st.binary(max_size=64),
    token=st.sampled_from(["", "IQoJb3JpZ2luX2VjE//+="]),
    region=st.sampled_from(["us-east-1", "eu-central-2"]),
    secret=PLAIN,
)
def test_botocore_signs_the_same(
    host: str,
    steps: list[str],
    pairs: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
    token: str,
    region: str,
    secret: str,
) -> None:
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    url = f"{host}/{'/'.join(steps)}{'?' + query if query else ''}"
    rows = [(name.encode(), value.encode()) for name, value in headers]
    credentials, scope = (
        Credentials(access_key="AKIDEXAMPLE", secret=secret, token=token),
        Scope(region=region, service="bedrock"),
    )
    made = dict(sign(credentials, scope, method="POST", url=url, headers=rows, body=body, now=NOW))
    assert made[b"authorization"].decode() == theirs(credentials, scope, url, rows, body)
    assert made[b"x-amz-date"] == b"20261130T235959Z"
    assert made.get(b"x-amz-security-token", b"").decode() == token


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        "amazon.nova-lite-v1:0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "modèle ~ä",
        "..",
    ],
)
def test_a_chat_is_signed_as_botocore_would(model: str, stream: bool) -> None:
    base = "https://bedrock-runtime.eu-west-1.amazonaws.com"
    ask = Bedrock().put(
        Chat(messages=HELLO.messages, stream=stream), model, "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY:tok/en+=="
    )
    assert ask.bound is not None
    sent = ask.bound(ask, base, NOW)
    assert (sent.bound, sent.path, sent.body) == (None, ask.path, ask.body)
    assert ask.path == f"/model/{quote(model, safe='')}/converse{'-stream' if stream else ''}"
    credentials = Credentials(access_key="AKIDEXAMPLE", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token="tok/en+==")
    told = theirs(credentials, Scope(region="eu-west-1", service="bedrock"), base + ask.path, list(ask.headers), ask.body)
    assert dict(sent.headers)[b"authorization"].decode() == told


@pytest.mark.parametrize("change", ["nothing", "body", "header", "secret", "token", "later"])
async def test_the_mock_takes_a_right_signature_and_no_other(change: str) -> None:
    async with running(MockSettings(port=0, key=Secret("AKIDEXAMPLE:right:token"))) as mock:
        key = {"secret": "AKIDEXAMPLE:wrong:token", "token": "AKIDEXAMPLE:right"}.get(change, "AKIDEXAMPLE:right:token")
        ask = Bedrock().put(HELLO, "amazon.nova-lite-v1:0", key)
        assert ask.bound is not None
        sent = ask.bound(ask, f"{mock.url}?region=eu-west-1", SystemClock().now())
        headers = {name.decode(): value.decode() for name, value in sent.headers}
        if change == "header":
            headers["content-type"] = "application/json; charset=utf-8"
        if change == "later":
            headers["x-amz-date"] = "20200101T000000Z"
        body = sent.body.replace(b"hello", b"jello") if change == "body" else sent.body
        async with httpx2.AsyncClient(base_url=mock.url) as http:
            reply = await http.post(sent.path, content=body, headers=headers)
        assert reply.status_code == (200 if change == "nothing" else 403)
        named = reply.headers.get("x-amzn-errortype", "").partition(":")[0]
        assert named == {"nothing": "", "token": "UnrecognizedClientException"}.get(change, "InvalidSignatureException")


def test_a_key_of_bedrocks_own_is_sent_as_it_is_and_no_key_is_none() -> None:
    ask = Bedrock().put(HELLO, "amazon.nova-lite-v1:0", "bedrock-api-key-YmVkcm9jaw==")
    assert ask.bound is None
    assert dict(ask.headers)[b"authorization"] == b"Bearer bedrock-api-key-YmVkcm9jaw=="
    bare = Bedrock().put(HELLO, "amazon.nova-lite-v1:0", None)
    assert (bare.bound, bare.headers) == (None, ((b"content-type", b"application/json"),))


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/", "us-gov-west-1"),
        ("https://vpce-0a1b-x.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://proxy.example/aws?region=eu-west-3", "eu-west-3"),
        ("https://proxy.example/aws?region=nowhere", None),
        ("https://proxy.example/bedrock-runtime.us-east-1.amazonaws.com", None),
    ],
)
def test_the_region_is_the_addresss(url: str, region: str | None) -> None:
    assert region_of(url) == region


@pytest.mark.parametrize(
    ("key", "url", "said"),
    [
        ("AKID:", "https://bedrock-runtime.us-east-1.amazonaws.com", "no ACCESS_KEY:SECRET"),
        (":secret", "https://bedrock-runtime.us-east-1.amazonaws.com", "no ACCESS_KEY:SECRET"),
        ("AKID:secret", "https://proxy.example", "names no region"),
    ],
)
def test_what_cannot_sign_says_why_and_tells_no_secret(key: str, url: str, said: str) -> None:
    ask = Bedrock().put(HELLO, "amazon.nova-lite-v1:0", key)
    assert ask.bound is not None
    assert "secret" not in repr(ask)
    with pytest.raises(Rejected, match=said) as caught:
        ask.bound(ask, url, NOW)
    assert (caught.value.code, caught.value.status) == ("provider_auth", 502)
    assert "secret" not in str(caught.value)
