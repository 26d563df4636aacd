"""Login sessions that were signed out of before their time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the database up to this revision."""
    op.create_table('ended_sessions',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('until', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ended_sessions'))
    )
    op.create_index(op.f('ix_ended_sessions_until'), 'ended_sessions', ['until'], unique=False)


def downgrade() -> None:
    """Take the database back to the revision before."""
    op.drop_index(op.f('ix_ended_sessions_until'), table_name='ended_sessions')
    op.drop_table('ended_sessions')
