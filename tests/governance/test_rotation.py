"""Everything that is sealed is sealed anew: providers' keys, alerts' secrets, subjects' keys; a killed process goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.endpoint import Provider
from tandem.core.errors import Conflict, Forbidden
from tandem.core.policy import Alert
from tandem.core.principal import LOCAL, Principal, Role
from tandem.gateway.compile import seal_keys
from tandem.gateway.repo import Routes
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.alerts.fake import Fake
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.rotation import Resealing, Rotation, SubjectKeys
from tandem.observability.content import Subjects
from tandem.registry.repo import snapshot_version
from tandem.store.sql import Sql
from tandem.store.vault import Vault

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def person(role: Role = "admin") -> Principal:
    return Principal(id=f"key_{role}", name=f"risk-{role}", team="risk", role=role)


class Place:
    """A process on a home; a second one is what comes after a kill."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, FixedClock()
        self.vault = Vault.load(home, {})
        url = f"sqlite:///{home / 'control.db'}"
        migrated(url)
        self.sql = Sql(url)
        self.audit = Audit(self.sql, self.vault, self.clock, home / "audit.head")
        self.keys = Keys(self.sql, self.vault, self.clock, self.audit)
        self.table = Routes(self.sql, self.clock, self.audit)
        self.fake = Fake()
        self.alerts = Alerts(
            self.sql, self.audit, self.vault, self.clock, address="http://c", channel=lambda kind: self.fake, environment={}
        )
        self.subjects = Subjects(home / "subjects.db", self.vault)
        stores = {
            "providers": Resealing(self.table, self.vault),
            "alerts": Resealing(self.alerts, self.vault),
            "subjects": SubjectKeys(self.subjects),
        }
        self.rotation = Rotation(home, self.vault, self.sql, self.audit, self.clock, stores, environment={})

    def fill(self) -> tuple[str, bytes]:
        """A little of everything that is sealed; a subject and its content."""
        provider = Provider(name="p", protocol="openai", base_url="http://h/v1", keys=("sk-literal", "env:X"))
        self.table.put_provider(seal_keys(provider, self.vault), by=LOCAL)
        self.alerts.put(Alert(name="a", kind="webhook", url="https://h/token", on=("*",), secret=SECRET), by=LOCAL)
        for number in range(20):
            self.subjects.keep(f"user-{number}", b"", begun=1, now=1)
        return self.subjects.keep("ada", b"what ada said", begun=1, now=1)

    def check(self, kept: tuple[str, bytes]) -> None:
        """All of it can be read."""
        (provider,) = self.table.providers(ALL)
        sealed = provider.keys[0].removeprefix("sealed:")
        assert self.vault.open("provider-key", bytes.fromhex(sealed), b"p") == b"sk-literal"
        assert provider.keys[1] == "env:X"
        assert self.alerts.test("a", by=LOCAL).ok
        _, destination = self.fake.told[-1]
        assert (destination.url.reveal(), destination.secret.reveal()) == ("https://h/token", SECRET)
        assert self.subjects.open(*kept) == b"what ada said"
        assert self.subjects.name(kept[0]) == "ada"

    def close(self) -> None:
        self.subjects.close()
        self.sql.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    yield made
    made.close()


def drained(place: Place) -> int:
    steps = 0
    while place.rotation.step():
        steps += 1
    return steps


def test_everything_is_sealed_anew_and_the_old_key_goes(place: Place) -> None:
    kept, old = place.fill(), place.vault.fingerprint
    _, secret = place.keys.create("ci", by=LOCAL)
    assert place.rotation.step() is False
    with place.sql.read() as conn:
        version = snapshot_version(conn)
    begun = place.rotation.begin(person())
    assert (begun.before, begun.left) == ((old,), {"providers": 1, "alerts": 2, "subjects": 21})
    place.check(kept)
    assert drained(place) >= 2
    ended = place.rotation.standing(person("auditor"))
    assert (ended.before, ended.left, ended.outside) == ((), {}, False)
    assert ended.fingerprint not in (old, "")
    place.check(kept)
    place.close()
    again = Place(place.home)
    again.check(kept)
    assert again.keys.find_digest(again.keys.digest(secret.reveal())) is not None, "keys are known as before"
    assert again.audit.verify().ok
    with again.sql.read() as conn:
        assert snapshot_version(conn) > version, "doors are told"
    told = [entry.action for entry in again.audit.list(ALL) if entry.action.startswith("vault.")]
    assert told == ["vault.settle", "vault.rotate"]
    for name in ("subjects.db", "subjects.db-wal", "master.key", "master.root"):
        data = (place.home / name).read_bytes() if (place.home / name).exists() else b""
        assert bytes.fromhex(f"01{old}") not in data, name
        assert f"01{old}".encode() not in data, name
    assert f"01{old}" not in "".join(entry.detail for entry in again.audit.list(ALL)), "the audit is for good, and holds none"
    again.close()


def test_a_killed_process_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = place.fill()
    place.rotation.begin(person())
    assert place.subjects.reseal_keys(limit=5) == 5
    assert place.subjects.stale() == 16
    place.close()
    after = Place(place.home)
    after.check(kept)
    assert after.rotation.standing(person()).left == {"providers": 1, "alerts": 2, "subjects": 16}
    drained(after)
    after.check(kept)
    assert after.vault.before == ()
    after.close()


def test_what_is_damaged_holds_nobody_up_and_is_named(place: Place) -> None:
    kept = place.fill()
    for path, statement in (
        ("control.db", "UPDATE providers SET body = replace(body, 'sealed:01', 'sealed:02')"),
        ("subjects.db", "UPDATE people SET sealed = CAST(x'01' || zeroblob(40) AS BLOB) WHERE id != '" + kept[0] + "'"),
    ):
        with sqlite3.connect(place.home / path) as db:
            db.execute(statement)
    place.rotation.begin(person())
    drained(place)
    assert place.vault.before == ()
    (row,) = place.audit.list(ALL, action="vault.settle")
    assert '"subjects":20' in row.detail
    assert place.subjects.open(*kept) == b"what ada said"


def test_one_at_a_time_and_only_by_an_admin(place: Place) -> None:
    with pytest.raises(Forbidden):
        place.rotation.begin(person("approver"))
    with pytest.raises(Forbidden):
        place.rotation.standing(person("viewer"))
    place.rotation.begin(person())
    with pytest.raises(Conflict, match="being replaced already"):
        place.rotation.begin(person())
    assert len(place.audit.list(ALL, action="vault.rotate")) == 1


def test_a_key_from_the_environment_is_replaced_there(place: Place) -> None:
    outside = Rotation(
        place.home, place.vault, place.sql, place.audit, place.clock, {}, environment={"TANDEM_MASTER_KEY": "from outside"}
    )
    assert outside.standing(person()).outside
    with pytest.raises(Conflict, match="comes from the environment"):
        outside.begin(person())
    assert place.audit.list(ALL, action="vault.rotate") == ()
