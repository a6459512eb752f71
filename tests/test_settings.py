"""Settings: a file with lines, an environment over it, and errors that name both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.core.errors import Invalid
from tandem.settings import load

GOOD = """
[server]
port = 9000

[providers.mock]
protocol = "openai"
base_url = "http://127.0.0.1:9101/v1/"
keys = ["env:MOCK_KEY"]

[endpoints.assistant]
kind = "chat"
route = [{ target = "mock/gpt-4o-mini", weight = 1 }]
timeouts = { first_byte = 5 }

[alerts.ops]
url = "env:HOOK"
secret = "env:HOOK_SECRET"
on = ["monitor.*", "request.open"]
"""


def write(home: Path, text: str) -> Path:
    (home / "tandem.toml").write_text(text)
    return home


def test_a_home_without_a_file_has_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, environment={})
    assert settings.server.port == 8400
    assert settings.source is None


def test_what_the_file_declares_is_managed_by_its_line(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD), environment={})
    assert settings.server.port == 9000
    assert settings.providers["mock"].base_url == "http://127.0.0.1:9101/v1"
    assert settings.providers["mock"].managed == "file:tandem.toml:5"
    endpoint = settings.endpoints["assistant"]
    assert endpoint.managed == "file:tandem.toml:10"
    assert endpoint.route[0].target == "mock/gpt-4o-mini"
    assert endpoint.timeouts.first_byte == 5
    alert = settings.alerts["ops"]
    assert (alert.kind, alert.url, alert.on) == ("webhook", "env:HOOK", ("monitor.*", "request.open"))
    assert alert.managed == "file:tandem.toml:15"


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    environment = {
        "TANDEM_SERVER__PORT": "9001",
        "TANDEM_PROVIDERS__MOCK__KEYS": "env:A,env:B",
        "TANDEM_ALERTS__OPS__ON": "*,budget.set",
        "TANDEM_ADMIN_KEY": "x",
        "TANDEM_HOME": "/nowhere",
    }
    settings = load(write(tmp_path, GOOD), environment=environment)
    assert settings.server.port == 9001
    assert settings.providers["mock"].keys == ("env:A", "env:B")
    assert settings.alerts["ops"].on == ("*", "budget.set")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", r"tandem.toml:2: 'prot' is not a setting in \[server\]"),
        ("[sever]\nport = 1", "tandem.toml:1: 'sever' is not a setting"),
        ("[server]\nport = 'x'", "line 2"),
        ("[server\n", "not valid TOML"),
        ("[providers.p]\nprotocol='openai'\nbase_url='ftp://x'", "must begin with http"),
        ("[providers.P]\nprotocol='openai'\nbase_url='http://x'", "cannot be a name"),
        ("[endpoints.e]\nkind='chat'\nroute=[]", "has no route"),
        ("[endpoints.e]\nkind='chat'\nroute=[{target='x/y', wight=1}]", "'wight' is not a setting"),
        ("[endpoints.e]\nkind='chat'\nroute=[{target='x'}]", "is no target"),
        ("[endpoints.e]\nkind='chat'\nroute=[{target='x/y', weight=0}]", "every weight"),
        ("[server]\npublic_url='tandem.example.org'", "public_url must begin with http"),
        ("[alerts.a]\nurl='ftp://x'\nkind='slack'", r"\[alerts.a\]: The address of the alert is no plain"),
        ("[alerts.a]\nurl='https://x'", "no secret to be signed with"),
        ("[alerts.a]\nurl='https://x'\nkind='slack'\non=['asset.promote']", "no deed that the audit holds"),
        ("[alerts.a]\nurl='https://x'\nkid='slack'", "tandem.toml:3: 'kid' is not a setting"),
        ("[endpoints.e]\nkind='talk'\nroute=[{target='x/y'}]", "talk"),
        ("[compute]\nray='user:password@host:6379'", "compute.ray is no address of a Ray cluster"),
        ("[compute]\nray='host'", "compute.ray is no address"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        load(write(tmp_path, text), environment={})


@pytest.mark.parametrize("address", ["", "auto", "127.0.0.1:6379", "ray://head.internal:10001", "[::1]:6379"])
def test_a_ray_cluster_is_named_by_its_address(tmp_path: Path, address: str) -> None:
    assert load(write(tmp_path, ""), environment={"TANDEM_COMPUTE__RAY": address}).compute.ray == address


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        load(tmp_path, config=tmp_path / "no.toml", environment={})


@pytest.mark.parametrize("days", [0, 90, 1000])
def test_a_rule_of_retention_can_only_shorten(tmp_path: Path, days: int) -> None:
    (tmp_path / "tandem.toml").write_text(f'[retention.short]\nkind = "chat"\ndays = {days}\n')
    with pytest.raises(Invalid, match="short"):
        load(tmp_path, environment={})
    (tmp_path / "tandem.toml").write_text('[retention.short]\nkind = "chat"\ndays = 14\n')
    assert load(tmp_path, environment={}).retention["short"].days == 14


def test_the_console_is_where_people_find_it(tmp_path: Path) -> None:
    assert load(tmp_path, environment={}).server.console == "http://127.0.0.1:8400"
    public = load(write(tmp_path, '[server]\npublic_url = "https://tandem.example.org/"'), environment={})
    assert public.server.console == "https://tandem.example.org"


def test_paths_begin_at_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "tandem.toml").write_text('[prices]\nfile = "own.json"\n[store]\nfolder = "/srv/tandem"\n')
    found = load(tmp_path, environment={})
    assert found.prices.file == tmp_path / "own.json"
    assert found.store.folder == Path("/srv/tandem") == found.shared
    assert load(tmp_path, environment={"TANDEM_STORE__FOLDER": "there"}).shared == tmp_path / "there"


@pytest.mark.parametrize("value", ['""', "1", '"a\\u0000b"'])
def test_what_is_no_path_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "tandem.toml").write_text(f"[store]\nfolder = {value}\n")
    with pytest.raises(Invalid, match="line 2"):
        load(tmp_path, environment={})


def test_without_a_folder_everything_is_in_the_home(tmp_path: Path) -> None:
    found = load(tmp_path, environment={})
    assert (found.shared, found.database(), found.redis()) == (tmp_path, None, None)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_the_store_is_named_by_the_environment_a_file_or_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    url = f"{scheme}://u:canary@h/d"
    (tmp_path / "url").write_text(f"{url}\n")
    monkeypatch.setenv("HERE", url)
    for reference in ("env:HERE", f"file:{tmp_path / 'url'}", url):
        found = load(tmp_path, environment={"TANDEM_STORE__URL": reference}).database()
        assert found is not None
        assert found.reveal() == url
        assert "canary" not in str(found)


@pytest.mark.parametrize(("reference", "says"), [("env:NOT_THERE_9", "not there"), ("file:/none/such", "not there")])
def test_a_store_whose_address_is_not_there_is_said_at_once(tmp_path: Path, reference: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        load(tmp_path, environment={"TANDEM_STORE__URL": reference}).database()


@pytest.mark.parametrize("key", ["URL", "REDIS"])
def test_an_address_of_another_kind_is_refused(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="no address"):
        load(tmp_path, environment={f"TANDEM_STORE__{key}": "mysql://h/d"})
    monkeypatch.setenv("HERE", "mysql://h/canary")
    found = load(tmp_path, environment={f"TANDEM_STORE__{key}": "env:HERE"})
    with pytest.raises(Invalid, match="no address") as caught:
        found.database() if key == "URL" else found.redis()
    assert "canary" not in str(caught.value)
