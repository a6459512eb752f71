"""Gates of several conditions, evidence on held-out rows, and the looks at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gates", sa.Column("conditions", sa.Text(), nullable=True))
    op.create_table(
        "held_evidence",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("latency", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_held_evidence"),
    )
    op.create_index("ix_held_evidence_model", "held_evidence", ["model"], unique=False)
    op.create_table(
        "gate_looks",
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("champion", sa.Text(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("looked_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["evidence"], ["held_evidence.id"], name="fk_gate_looks_evidence"),
        sa.PrimaryKeyConstraint("candidate", "champion", "look", name="pk_gate_looks"),
    )
