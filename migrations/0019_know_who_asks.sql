-- Keys, sessions of the page, and who did what over HTTP.
-- deploy: before

CREATE TABLE api_keys (
  env text NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  digest bytea NOT NULL,
  scopes text[] NOT NULL,
  created_by text,
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  used_at timestamptz,
  CONSTRAINT api_keys_pkey PRIMARY KEY (env, id),
  CONSTRAINT api_keys_digest_whole CHECK (length(digest) = 32),
  CONSTRAINT api_keys_scopes_some CHECK (cardinality(scopes) > 0)
);
CREATE UNIQUE INDEX api_keys_name_idx ON api_keys (env, name) WHERE revoked_at IS NULL;
COMMENT ON TABLE api_keys IS 'Keys of the HTTP API. The key itself is stored nowhere.';
COMMENT ON COLUMN api_keys.env IS 'environment name; the key is worth nothing in another';
COMMENT ON COLUMN api_keys.id IS 'beginning of the key, crt_ and 12 characters; public';
COMMENT ON COLUMN api_keys.name IS 'who or what uses it; the by of what it does';
COMMENT ON COLUMN api_keys.digest IS 'BLAKE2b of the whole key, 32 bytes';
COMMENT ON COLUMN api_keys.scopes IS 'of read, submit, operate, approve and admin; admin stands for all';
COMMENT ON COLUMN api_keys.created_by IS 'who made it; NULL where unknown';
COMMENT ON COLUMN api_keys.created_at IS 'when it was made, UTC, whole milliseconds';
COMMENT ON COLUMN api_keys.expires_at IS 'from when on it is refused, UTC; NULL: never';
COMMENT ON COLUMN api_keys.revoked_at IS 'when it was revoked, UTC; NULL: it was not';
COMMENT ON COLUMN api_keys.revoked_by IS 'who revoked it; NULL where unknown';
COMMENT ON COLUMN api_keys.used_at IS 'last use, UTC, to five minutes; NULL before the first';

CREATE TABLE api_sessions (
  env text NOT NULL,
  digest bytea NOT NULL,
  key_id text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  expires_at timestamptz NOT NULL,
  CONSTRAINT api_sessions_pkey PRIMARY KEY (env, digest),
  CONSTRAINT api_sessions_key_fkey FOREIGN KEY (env, key_id) REFERENCES api_keys (env, id) ON DELETE CASCADE
);
CREATE INDEX api_sessions_expires_idx ON api_sessions (expires_at);
COMMENT ON TABLE api_sessions IS 'Browsers that have logged in with a key. A row goes at the logout, or after it has expired.';
COMMENT ON COLUMN api_sessions.env IS 'environment name';
COMMENT ON COLUMN api_sessions.digest IS 'BLAKE2b of the token in the cookie, 32 bytes';
COMMENT ON COLUMN api_sessions.key_id IS 'key that it was opened with; when that ends, so does the session';
COMMENT ON COLUMN api_sessions.created_at IS 'login, UTC, whole milliseconds';
COMMENT ON COLUMN api_sessions.expires_at IS 'from when on it is refused, UTC';

CREATE TABLE operator_log (
  number bigint GENERATED ALWAYS AS IDENTITY,
  env text NOT NULL,
  at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  by text NOT NULL,
  key_id text,
  action text NOT NULL,
  target text NOT NULL,
  result text NOT NULL,
  address text NOT NULL,
  CONSTRAINT operator_log_pkey PRIMARY KEY (env, number)
);
COMMENT ON TABLE operator_log IS 'Who did what that is in the log of no run. Nothing updates or deletes a row.';
COMMENT ON COLUMN operator_log.number IS 'order of the rows; may have gaps';
COMMENT ON COLUMN operator_log.env IS 'environment name';
COMMENT ON COLUMN operator_log.at IS 'when it was done, UTC, whole milliseconds';
COMMENT ON COLUMN operator_log.by IS 'name of the key, or the user of the machine; empty where nobody said who it was';
COMMENT ON COLUMN operator_log.key_id IS 'id of the key; NULL where none was used';
COMMENT ON COLUMN operator_log.action IS 'method and path of a request as POST /v1/workflows; or a word as key.created';
COMMENT ON COLUMN operator_log.target IS 'what it was done to, as the id of a key; empty where the action says it';
COMMENT ON COLUMN operator_log.result IS 'status of the answer, or done';
COMMENT ON COLUMN operator_log.address IS 'address of the client; empty where it was on this machine''s command line';

CREATE TRIGGER operator_log_refuse_change BEFORE UPDATE OR DELETE ON operator_log
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER operator_log_refuse_truncate BEFORE TRUNCATE ON operator_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
