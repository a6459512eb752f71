"""Releases: which promotion of a release moved an alias."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alias_moves", sa.Column("release", sa.Text(), nullable=True))
    op.add_column("alias_moves", sa.Column("release_etag", sa.Integer(), nullable=True))
