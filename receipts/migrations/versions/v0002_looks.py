"""The first of two looks at queues that are known by their counts only."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "looks",
        sa.Column("sweep", sa.String(80), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("runs", sa.LargeBinary(), nullable=False),
        sa.Column("jobs_created_at_s", sa.Float(), nullable=False),
        sa.Column("results_created_at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sweep", "epoch", "at_s", name="pk_looks"),
    )
