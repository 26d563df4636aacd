CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE processes (
	id VARCHAR(32) NOT NULL,
	host VARCHAR(255) NOT NULL,
	pid INTEGER NOT NULL,
	started_at DOUBLE PRECISION NOT NULL,
	heartbeat_at DOUBLE PRECISION NOT NULL,
	CONSTRAINT pk_processes PRIMARY KEY (id)
);

CREATE INDEX ix_processes_heartbeat_at ON processes (heartbeat_at);

CREATE TABLE users (
	id SERIAL NOT NULL,
	username VARCHAR(64) NOT NULL,
	username_key VARCHAR(64) NOT NULL,
	password_hash VARCHAR(255) NOT NULL,
	role VARCHAR(16) NOT NULL,
	active BOOLEAN NOT NULL,
	session_key VARCHAR(64) NOT NULL,
	created_at DOUBLE PRECISION NOT NULL,
	last_login_at DOUBLE PRECISION,
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT uq_users_username_key UNIQUE (username_key)
);

CREATE TABLE spaces (
	id SERIAL NOT NULL,
	name VARCHAR(64) NOT NULL,
	name_key VARCHAR(64) NOT NULL,
	title VARCHAR(200) NOT NULL,
	description TEXT NOT NULL,
	owner_id INTEGER,
	visibility VARCHAR(16) NOT NULL,
	enabled BOOLEAN NOT NULL,
	input_prompt BOOLEAN NOT NULL,
	input_audio BOOLEAN NOT NULL,
	input_video BOOLEAN NOT NULL,
	input_file BOOLEAN NOT NULL,
	queue_when_offline BOOLEAN NOT NULL,
	allow_app_without_token BOOLEAN NOT NULL,
	timeout_seconds DOUBLE PRECISION,
	max_attempts INTEGER,
	queue_length INTEGER,
	next_number BIGINT NOT NULL,
	created_at DOUBLE PRECISION NOT NULL,
	updated_at DOUBLE PRECISION NOT NULL,
	CONSTRAINT pk_spaces PRIMARY KEY (id),
	CONSTRAINT fk_spaces_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE SET NULL,
	CONSTRAINT uq_spaces_name_key UNIQUE (name_key)
);

CREATE INDEX ix_spaces_owner_id ON spaces (owner_id);

CREATE TABLE tokens (
	id SERIAL NOT NULL,
	user_id INTEGER NOT NULL,
	name VARCHAR(100) NOT NULL,
	prefix VARCHAR(32) NOT NULL,
	token_hash VARCHAR(64) NOT NULL,
	scopes JSON NOT NULL,
	all_spaces BOOLEAN NOT NULL,
	created_at DOUBLE PRECISION NOT NULL,
	expires_at DOUBLE PRECISION,
	last_used_at DOUBLE PRECISION,
	revoked_at DOUBLE PRECISION,
	CONSTRAINT pk_tokens PRIMARY KEY (id),
	CONSTRAINT fk_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT uq_tokens_token_hash UNIQUE (token_hash)
);

CREATE INDEX ix_tokens_user_id ON tokens (user_id);

CREATE TABLE connections (
	space_id INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	process_id VARCHAR(32) NOT NULL,
	connection_id VARCHAR(32) NOT NULL,
	token_id INTEGER,
	app_name VARCHAR(100),
	app_version VARCHAR(100),
	app_instance VARCHAR(100),
	address VARCHAR(100),
	connected_at DOUBLE PRECISION NOT NULL,
	lost_at DOUBLE PRECISION,
	probe_at DOUBLE PRECISION,
	seen_at DOUBLE PRECISION,
	CONSTRAINT pk_connections PRIMARY KEY (space_id),
	CONSTRAINT fk_connections_space_id_spaces FOREIGN KEY(space_id) REFERENCES spaces (id) ON DELETE CASCADE
);

CREATE TABLE requests (
	id VARCHAR(32) NOT NULL,
	space_id INTEGER,
	space_name VARCHAR(64) NOT NULL,
	user_id INTEGER NOT NULL,
	username VARCHAR(64) NOT NULL,
	number BIGINT NOT NULL,
	status VARCHAR(16) NOT NULL,
	seq BIGINT NOT NULL,
	prompt TEXT NOT NULL,
	parameters JSON NOT NULL,
	result JSON,
	error_code VARCHAR(64),
	error_message TEXT,
	retryable BOOLEAN,
	attempt INTEGER NOT NULL,
	max_attempts INTEGER NOT NULL,
	timeout_seconds DOUBLE PRECISION NOT NULL,
	attempt_id VARCHAR(32),
	expires_at DOUBLE PRECISION NOT NULL,
	queue_left DOUBLE PRECISION NOT NULL,
	deadline_at DOUBLE PRECISION,
	retry_of VARCHAR(32),
	created_at DOUBLE PRECISION NOT NULL,
	started_at DOUBLE PRECISION,
	finished_at DOUBLE PRECISION,
	updated_at DOUBLE PRECISION NOT NULL,
	CONSTRAINT pk_requests PRIMARY KEY (id),
	CONSTRAINT fk_requests_space_id_spaces FOREIGN KEY(space_id) REFERENCES spaces (id) ON DELETE SET NULL,
	CONSTRAINT fk_requests_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX ix_requests_queue ON requests (space_id, number) WHERE status = 'queued';

CREATE INDEX ix_requests_user ON requests (user_id, created_at, id);

CREATE INDEX ix_requests_user_space ON requests (user_id, space_id, updated_at);

CREATE UNIQUE INDEX uq_requests_processing ON requests (space_id) WHERE status = 'processing';

CREATE TABLE token_spaces (
	token_id INTEGER NOT NULL,
	space_id INTEGER NOT NULL,
	CONSTRAINT pk_token_spaces PRIMARY KEY (token_id, space_id),
	CONSTRAINT fk_token_spaces_space_id_spaces FOREIGN KEY(space_id) REFERENCES spaces (id) ON DELETE CASCADE,
	CONSTRAINT fk_token_spaces_token_id_tokens FOREIGN KEY(token_id) REFERENCES tokens (id) ON DELETE CASCADE
);

CREATE TABLE attempts (
	attempt_id VARCHAR(32) NOT NULL,
	request_id VARCHAR(32) NOT NULL,
	number INTEGER NOT NULL,
	space_id INTEGER NOT NULL,
	token_id INTEGER,
	connection_id VARCHAR(32) NOT NULL,
	handed_at DOUBLE PRECISION NOT NULL,
	ended_at DOUBLE PRECISION,
	by_result BOOLEAN NOT NULL,
	CONSTRAINT pk_attempts PRIMARY KEY (attempt_id),
	CONSTRAINT fk_attempts_request_id_requests FOREIGN KEY(request_id) REFERENCES requests (id) ON DELETE CASCADE
);

CREATE INDEX ix_attempts_request_id ON attempts (request_id);

CREATE TABLE transitions (
	id SERIAL NOT NULL,
	request_id VARCHAR(32) NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	from_state VARCHAR(16),
	to_state VARCHAR(16) NOT NULL,
	attempt INTEGER NOT NULL,
	code VARCHAR(64),
	CONSTRAINT pk_transitions PRIMARY KEY (id),
	CONSTRAINT fk_transitions_request_id_requests FOREIGN KEY(request_id) REFERENCES requests (id) ON DELETE CASCADE
);

CREATE INDEX ix_transitions_request_id ON transitions (request_id);
