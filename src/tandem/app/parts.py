"""The parts of the control process, in the order in which one is made of another."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tandem.app import Role
from tandem.app.ground import Ground, lay
from tandem.app.judging import Judging, judge
from tandem.app.labour import Labour, hire
from tandem.app.law import Law, rule
from tandem.app.material import Material, gather
from tandem.app.models import Models, make
from tandem.app.money import Money, price
from tandem.app.pipes import Pipes, connect
from tandem.app.records import Records, keep
from tandem.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All of them, and the admin key on the first start."""

    ground: Ground
    records: Records
    money: Money
    labour: Labour
    material: Material
    judging: Judging
    law: Law
    pipes: Pipes
    models: Models
    admin: str | None


def assemble(settings: Settings, role: Role) -> Parts:
    """Builds every part of a home's control process. Nothing goes on yet."""
    ground = lay(settings)
    records = keep(
        ground,
        counting=lambda trace, content: models.counting(trace, content),
        naming=lambda trace, content: models.outcomes.name(trace, content),
    )
    admin = ground.keys.first(os.environ.get("TANDEM_ADMIN_KEY"))
    money = price(ground, records)
    labour = hire(ground, role)
    material = gather(ground, records, labour)
    judging = judge(ground, records, money, labour)
    law = rule(ground, records, judging)
    pipes = connect(ground, labour, law)
    models = make(ground, records, money, labour, judging, law, pipes)
    return Parts(
        ground=ground,
        records=records,
        money=money,
        labour=labour,
        material=material,
        judging=judging,
        law=law,
        pipes=pipes,
        models=models,
        admin=admin,
    )
