"""Keys of submits, and an index for the bound on what one user has waiting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the database up to this revision."""
    op.create_table('submit_keys',
    sa.Column('user_id', sa.Integer(), nullable=False),
    sa.Column('key', sa.String(length=255), nullable=False),
    sa.Column('body_hash', sa.String(length=64), nullable=False),
    sa.Column('request_id', sa.String(length=32), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_submit_keys_user_id_users'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user_id', 'key', name=op.f('pk_submit_keys'))
    )
    op.create_index(op.f('ix_submit_keys_created_at'), 'submit_keys', ['created_at'], unique=False)
    op.create_index('ix_requests_user_queue', 'requests', ['user_id'], unique=False, sqlite_where=sa.text("status = 'queued'"), postgresql_where=sa.text("status = 'queued'"))


def downgrade() -> None:
    """Take the database back to the revision before."""
    op.drop_index('ix_requests_user_queue', table_name='requests')
    op.drop_index(op.f('ix_submit_keys_created_at'), table_name='submit_keys')
    op.drop_table('submit_keys')
