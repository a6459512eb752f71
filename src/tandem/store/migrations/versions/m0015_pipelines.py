"""Pipelines: their steps, what triggers them, and which Run began which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("parent", sa.Text()))
    op.create_index("ix_runs_parent", "runs", ["parent"])
    op.create_table(
        "pipeline_steps",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("ix_pipeline_steps_key", "pipeline_steps", ["team", "pipeline", "key"])
    op.create_index("ix_pipeline_steps_used_at", "pipeline_steps", ["used_at"])
    op.create_table(
        "pipeline_triggers",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
    )
    op.create_index("ix_pipeline_triggers_pipeline", "pipeline_triggers", ["pipeline"])
