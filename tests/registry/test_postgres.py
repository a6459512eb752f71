"""The same code on PostgreSQL: a server of its own, started for this file and thrown away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import tandem
from tandem.core.asset import Ref
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Blocked, Conflict, NotFound, TandemError, Unauthenticated, Unavailable
from tandem.core.policy import Gate
from tandem.core.principal import LOCAL, Terms
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.people.invitations import Invited
from tandem.jobs.repo import Runs
from tandem.store.sql import Sql, metadata, migrate
from tandem.store.vault import Vault
from tests.governance.people.place import GOOD, people
from tests.postgres import Server, needed
from tests.registry.conftest import House, house, person

pytestmark = needed


@pytest.fixture
def here(postgres: Server, tmp_path: Path) -> Iterator[House]:
    name = f"t{abs(hash(str(tmp_path)))}"
    postgres.database(name)
    made = house(tmp_path, postgres.url(name, driver="+psycopg"))
    yield made
    made.sql.close()


def at_once(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_migrated_schema_is_the_declared_one(here: House) -> None:
    for path in (root := Path(tandem.__file__).parent).rglob("repo.py"):
        import_module(".".join(("tandem", *path.relative_to(root).with_suffix("").parts)))
    url = here.sql.url.render_as_string(hide_password=False)
    assert migrate(url) == migrate(url)
    with here.sql.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata) == []


def test_a_read_cannot_change_anything(here: House) -> None:
    with pytest.raises(TandemError, match="read-only"), here.sql.read() as conn:
        conn.execute(text("DELETE FROM keys"))


def test_a_read_sees_one_moment(here: House) -> None:
    with here.sql.read() as conn:
        query = text("SELECT count(*) FROM versions")
        assert conn.execute(query).scalar_one() == 0
        here.prompt()
        assert conn.execute(query).scalar_one() == 0


def test_publish_promote_and_trace(here: House) -> None:
    model = here.model()
    with pytest.raises(Blocked):
        here.registry.promote(model.ref, "production", by=person("approver"))
    here.registry.set_gate(Gate(asset="model/tumor", minimum=0.5), by=person("admin"))
    score = here.gate_score(model, None)
    here.registry.promote(model.ref, "production", evidence=[score], by=person("approver"), gate_report={"ok": True})
    assert here.registry.find(Ref.parse("model/tumor@production"), ALL) == model == here.model()
    assert here.registry.scores(model.ref, ALL) == (score,)
    assert [node.kind for node in here.registry.lineage(model.ref, 3, ALL).nodes] == ["model", "dataset"]
    assert [asset.aliases for asset in here.registry.assets("model", ALL)] == [{"production": 1}]
    assert here.audit.verify().ok


def test_keys_and_their_feed(here: House) -> None:
    keys = Keys(here.sql, Vault(bytes(32)), here.clock, here.audit)
    made, secret = keys.create("ci", team="risk", by=LOCAL)
    assert keys.find_digest(keys.digest(secret.reveal())) == made
    with pytest.raises(Conflict):
        keys.create("ci", by=LOCAL)
    keys.revoke("ci", by=LOCAL)
    keys.create("ci", by=LOCAL)
    assert [who is None for _, who in keys.changes(0)[1]] == [True, False]


def test_runs_and_routes(here: House) -> None:
    runs, routes = Runs(here.sql, here.clock), Routes(here.sql, here.clock, here.audit)
    run = runs.create("train", "tumor", inputs={"a": [1]}, by=person("editor"))
    runs.start(run.id)
    assert runs.finish(run.id, "succeeded").progress == 1.0
    assert len(runs.list(ALL, state="succeeded")) == 1
    endpoint = Endpoint(name="assistant", kind="chat", route=(Target(target="mock/small"),), team="risk")
    assert routes.put_endpoint(endpoint, by=person("editor")) == 1
    assert routes.endpoints(ALL) == (endpoint,)


def test_eight_that_publish_and_promote_at_once(here: House) -> None:
    made: list[int] = []

    def work(number: int) -> None:
        for step in range(3):
            version = here.prompt(template=f"{number}-{step}")
            made.append(version.version)
            here.registry.promote(version.ref, "production", by=person("approver"))

    at_once(work)
    assert sorted(made) == list(range(1, 25))
    moves = here.registry.moves("prompt", "support", "production", ALL)
    assert [move.alias.etag for move in moves] == list(range(24, 0, -1))
    assert here.audit.verify().count == 48
    assert here.audit.verify().ok


def test_two_processes_worth_of_writers_queue(here: House) -> None:
    other = house(here.home, here.sql.url.render_as_string(hide_password=False))
    made: list[int] = []

    def work(number: int) -> None:
        side = here if number % 2 else other
        for step in range(3):
            made.append(side.prompt(template=f"{number}-{step}").version)

    at_once(work)
    other.sql.close()
    assert sorted(made) == list(range(1, 25))
    assert here.audit.verify().ok


def test_a_move_whose_audit_fails_did_not_happen(here: House) -> None:
    first, second = here.prompt(template="1"), here.prompt(template="2")
    here.registry.promote(first.ref, "production", by=person("approver"))
    with here.sql.write() as conn:
        conn.execute(text("CREATE FUNCTION failing() RETURNS trigger AS $$ BEGIN RAISE 'injected'; END $$ LANGUAGE plpgsql"))
        conn.execute(text("CREATE TRIGGER failing BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION failing()"))
    with pytest.raises(TandemError, match="injected"):
        here.registry.promote(second.ref, "production", by=person("approver"))
    assert here.names("prompt", "support") == {"production": 1}


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable), Sql("postgresql+psycopg://tandem@127.0.0.1:1/none").read():
        pass


def test_persons_sign_in_are_invited_and_lose_their_keys(here: House) -> None:
    law = people(here.home, url=here.sql.url.render_as_string(hide_password=False))
    law.person("ada", red="editor", blue="viewer")
    cookie = law.sessions.sign_in("ada@example.org", GOOD, address="192.0.2.1").cookie
    assert law.sessions.act_in(cookie, "red").role == "editor"
    key, old = law.keys.create("ci", team="red", role="editor", terms=Terms(owner="person/ada", kinds=("chat",)), by=LOCAL)
    _, new = law.keys.rotate("ci", overlap=60, by=LOCAL)
    both = [law.keys.find_digest(law.keys.digest(secret.reveal())) for secret in (old, new)]
    assert [found.id for found in both if found] == [key.id, key.id]
    with pytest.raises(Unauthenticated):
        law.sessions.sign_in("ada", "wrong", address="192.0.2.1")
    token = law.invitations.invite(Invited(email="bob@example.org", teams={"red": "viewer"}), by=LOCAL)[1].reveal()
    joined: list[str] = []

    def join(number: int) -> None:
        try:
            joined.append(law.invitations.redeem(token, name=f"bob-{number}", password=GOOD).name)
        except NotFound:
            pass

    at_once(join)
    assert len(joined) == 1
    version = law.keys.changes(0)[0]
    law.persons.remove("ada", by=LOCAL)
    assert dict(law.keys.changes(version)[1]) == dict.fromkeys(law.keys.digest(secret.reveal()) for secret in (old, new))
    assert law.sessions.by_cookie(cookie) is None
    assert law.audit.verify().ok
    law.sql.close()
