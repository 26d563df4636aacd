"""Files of requests, and the limits of a space on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the database up to this revision."""
    op.create_table('files',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('request_id', sa.String(length=32), nullable=False),
    sa.Column('kind', sa.String(length=8), nullable=False),
    sa.Column('field', sa.String(length=8), nullable=True),
    sa.Column('attempt_id', sa.String(length=32), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('content_type', sa.String(length=100), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('used', sa.Boolean(), nullable=False),
    sa.Column('created_at', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['request_id'], ['requests.id'], name=op.f('fk_files_request_id_requests'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_files'))
    )
    op.create_index(op.f('ix_files_request_id'), 'files', ['request_id'], unique=False)
    op.create_index('ix_files_unused', 'files', ['created_at'], unique=False, sqlite_where=sa.text('NOT used'), postgresql_where=sa.text('NOT used'))
    op.create_table('file_store',
    sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('name', sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_file_store'))
    )
    op.add_column('requests', sa.Column('files', sa.JSON(), nullable=True))
    op.create_index('ix_requests_finished', 'requests', ['finished_at'], unique=False)
    op.add_column('spaces', sa.Column('upload_mb', sa.Double(), nullable=True))
    op.add_column('spaces', sa.Column('files', sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take the database back to the revision before. Columns are dropped in place: a rebuilt table would lose rows."""
    op.drop_column('spaces', 'files')
    op.drop_column('spaces', 'upload_mb')
    op.drop_index('ix_requests_finished', table_name='requests')
    op.drop_column('requests', 'files')
    op.drop_table('file_store')
    op.drop_table('files')
