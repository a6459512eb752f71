"""Approvals: how many people a deed needs; and who approved a move."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


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
