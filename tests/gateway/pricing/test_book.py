"""Which price holds: the team's, everybody's, the own machine's, the catalogue's; and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.migrated import migrated

from tandem.core.clock import FixedClock, micros
from tandem.core.endpoint import Provider
from tandem.core.errors import Forbidden, NotFound
from tandem.core.money import Price
from tandem.core.principal import Principal
from tandem.gateway.declare import declare_prices
from tandem.gateway.pricing.book import Book, own_machine
from tandem.gateway.pricing.repo import Prices, Throughput, Throughputs
from tandem.gateway.pricing.rows import PriceRow, rates
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope
from tandem.store.sql import Sql
from tandem.store.vault import Vault

ADMIN = Principal(id="key_a", name="ada", team="default", role="admin")
AT = micros("2026-08-05T12:00:00Z")
OPENAI = Provider(name="openai", protocol="openai", base_url="https://api.openai.com/v1", prices="openai")
GPU = Provider(name="gpu", protocol="openai", base_url="http://gpu/v1", hour_price="3.6", tokens_per_second=1000.0)
MINI = "openai/gpt-4o-mini"


def row(rate: str, *, target: str = MINI, team: str = "", since: str = "2026-08-01") -> PriceRow:
    provider, _, model = target.partition("/")
    return PriceRow(provider=provider, model=model, team=team, since=since, price=rates({"input": rate, "output": rate}))


@dataclass
class Desk:
    sql: Sql
    audit: Audit
    prices: Prices
    clock: FixedClock

    def book(self, *providers: Provider, **seen: Throughput) -> Book:
        return Book(self.prices.list(ALL), {each.name: each for each in (OPENAI, *providers)}, seen)

    def deeds(self) -> list[str]:
        return [entry.action for entry in reversed(self.audit.list(ALL))]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrated(url)
    sql, clock = Sql(url), FixedClock(micros=AT)
    audit = Audit(sql, Vault(bytes(32)), clock, tmp_path / "audit.head")
    yield Desk(sql, audit, Prices(sql, clock, audit), clock)
    sql.close()


def test_the_teams_own_row_stands_first_and_the_catalogue_last(desk: Desk) -> None:
    listed = desk.book().find(MINI, AT, "red")
    assert listed is not None
    assert (listed.origin, listed.price.input) == ("catalogue", 150_000)
    desk.prices.set(row("0.3"), by=ADMIN)
    desk.prices.set(row("0.2", team="red"), by=ADMIN)
    book = desk.book()
    assert [book.price(MINI, AT, team).input for team in ("red", "blue", "")] == [200_000, 300_000, 300_000]  # type: ignore[union-attr]
    found = book.price(MINI, AT, "red")
    assert found is not None
    assert (found.source, found.effective) == ("set by hand for the team red, from 2026-08-01", "2026-08-01")
    before = book.find(MINI, micros("2026-07-31T23:59:59Z"), "red")
    assert before is not None
    assert before.origin == "catalogue"
    assert book.teams() == {"red": {MINI}}
    assert book.targets() == {MINI}
    assert book.price("nobody/x", AT) is None
    assert book.price("openai/no-such-model-at-all", AT) is None


def test_a_row_names_a_model_that_no_list_knows(desk: Desk) -> None:
    desk.prices.set(row("7", target="openai/in-house"), by=ADMIN)
    assert desk.book().price("openai/in-house", AT) == Price(
        input=7_000_000, output=7_000_000, source="set by hand, from 2026-08-01", effective="2026-08-01"
    )


def test_what_is_set_again_is_replaced_and_what_is_dropped_is_gone(desk: Desk) -> None:
    for rate in ("1", "2"):
        desk.prices.set(row(rate), by=ADMIN)
    desk.prices.set(row("3", since="2026-09-01"), by=ADMIN)
    assert [each.price.input for each in desk.prices.list(ALL)] == [2_000_000, 3_000_000]
    assert desk.prices.drop("openai", "gpt-4o-mini", team="", since="2026-09-01", by=ADMIN) == 1
    assert desk.prices.drop("openai", "gpt-4o-mini", team="", since=None, by=ADMIN) == 1
    with pytest.raises(NotFound, match="set by hand"):
        desk.prices.drop("openai", "gpt-4o-mini", team="", since=None, by=ADMIN)
    assert desk.deeds() == ["price.set"] * 3 + ["price.drop"] * 2
    assert desk.audit.verify().ok


def test_teams_see_their_own_rows_and_everybodys(desk: Desk) -> None:
    for team in ("", "red", "blue"):
        desk.prices.set(row("1", team=team), by=ADMIN)
    assert [each.team for each in desk.prices.list(Scope("red"))] == ["", "red"]
    assert len(desk.prices.list(ALL)) == 3


def test_only_admins_change_prices(desk: Desk) -> None:
    approver = Principal(id="key_b", name="bo", team="default", role="approver")
    for change in (
        lambda: desk.prices.set(row("1"), by=approver),
        lambda: desk.prices.load([row("1")], "import", by=approver),
        lambda: desk.prices.drop("openai", "x", team="", since=None, by=approver),
    ):
        with pytest.raises(Forbidden):
            change()
    assert desk.prices.list(ALL) == ()


def test_a_file_takes_the_place_of_the_one_before(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(
        '{"prices": [{"target": "a/x", "input": "1", "output": "2"}, {"target": "a/y", "input": "1", "output": "2"}]}'
    )
    assert declare_prices(desk.prices, file) == ""
    assert declare_prices(desk.prices, file) == ""
    desk.prices.set(row("9"), by=ADMIN)
    held = desk.prices.list(ALL)
    for bad in ('{"prices": [{"target": "a/x", "input": "1"}]}', "{", '{"prices": []}'):
        file.write_text(bad)
        assert "prices.json" in declare_prices(desk.prices, file)
        assert desk.prices.list(ALL) == held
    assert "cannot be read" in declare_prices(desk.prices, tmp_path / "none.json")
    assert desk.prices.list(ALL) == held
    file.write_text('{"prices": [{"target": "a/x", "input": "3", "output": "2"}]}')
    assert declare_prices(desk.prices, file) == ""
    assert [(each.target, each.origin) for each in desk.prices.list(ALL)] == [("a/x", "file"), (MINI, "hand")]
    assert declare_prices(desk.prices, None) == ""
    assert [each.origin for each in desk.prices.list(ALL)] == ["hand"]
    assert desk.deeds() == ["price.import", "price.set", "price.import", "price.import"]


def test_a_machine_of_ones_own() -> None:
    """$3.60 an hour at 1,000 tokens a second: a microdollar a token."""
    price = own_machine(GPU, None)
    assert price == Price(input=1_000_000, output=1_000_000, source="$3.6 an hour at 1000.0 tokens a second (declared)")
    assert own_machine(OPENAI, None) is None


def test_a_machine_that_is_measured(desk: Desk) -> None:
    gpu = Provider(name="gpu", protocol="openai", base_url="http://gpu/v1", hour_price="3.6")
    assert desk.book(gpu).price("gpu/gpt-4o-mini", AT) is None, "never the price of a list, and never nothing"
    seen = Throughput(provider="gpu", tokens=500_000, micros=1_000_000_000, source="traces", at=AT)
    found = desk.book(gpu, gpu=seen).find("gpu/any", AT)
    assert found is not None
    assert (found.origin, found.price.output) == ("own machine", 2_000_000)
    assert found.price.source == "$3.6 an hour at 500.0 tokens a second (measured, traces, 2026-08-05)"
    desk.prices.set(row("5", target="gpu/any"), by=ADMIN)
    assert desk.book(gpu, gpu=seen).price("gpu/any", AT).input == 5_000_000  # type: ignore[union-attr]


def test_a_price_is_rounded_up() -> None:
    odd = Provider(name="gpu", protocol="openai", base_url="http://gpu/v1", hour_price="1", tokens_per_second=7.0)
    price = own_machine(odd, None)
    assert price is not None
    assert price.input == 39_682_540  # 10^12 / 3,600 / 7 = 39,682,539.68


def test_throughputs_are_kept_one_a_provider(desk: Desk) -> None:
    kept = Throughputs(desk.sql)
    for tokens in (5, 6):
        kept.put(Throughput(provider="gpu", tokens=tokens, micros=2, source="traces", at=AT))
    (found,) = kept.list(ALL)
    assert (found.tokens, found.per_second) == (6, 3_000_000.0)
