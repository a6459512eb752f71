"""Approvals: how many people a deed needs, and who approved a move; and the audit's rows carry a hash anybody can recompute.

What the audit's rows say and their MACs stay as they are: each gets the SHA-256 of the row before and of itself.
"""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PAGE = 1000


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("action", "team", name="pk_approvals"),
    )
    op.create_index("ix_requests_state", "requests", ["state"], unique=False)
    op.add_column("alias_moves", sa.Column("approvers", sa.Text(), nullable=True))
    _hash_audit()


def _hash_audit() -> None:
    op.add_column("audit", sa.Column("hash", sa.Text(), nullable=True))
    conn = op.get_bind()
    audit = sa.table(
        "audit", *(sa.column(name) for name in ("seq", "at", "actor", "team", "action", "subject", "detail", "hash"))
    )
    told = (audit.c.seq, audit.c.at, audit.c.actor, audit.c.team, audit.c.action, audit.c.subject, audit.c.detail)
    change = sa.update(audit).where(audit.c.seq == sa.bindparam("row")).values(hash=sa.bindparam("digest"))
    last, after = "0" * 64, None
    while True:
        query = sa.select(*told).order_by(audit.c.seq).limit(PAGE)
        rows = conn.execute(query if after is None else query.where(audit.c.seq > after)).all()
        if not rows:
            return
        hashed = []
        for row in rows:
            text = json.dumps(list(row), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            last = hashlib.sha256(b"tandem-audit-row-1\n" + bytes.fromhex(last) + text.encode()).hexdigest()
            hashed.append({"row": row.seq, "digest": last})
        conn.execute(change, hashed)
        after = rows[-1].seq
