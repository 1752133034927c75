-- Artifacts may go before the runs that name them: which ones went is remembered, so that whoever asks is told.
-- deploy: before

CREATE TABLE dropped_artifacts (
  env text NOT NULL,
  digest bytea NOT NULL,
  dropped_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  kept_ms bigint NOT NULL,
  CONSTRAINT dropped_artifacts_pkey PRIMARY KEY (env, digest)
);
COMMENT ON TABLE dropped_artifacts IS 'Artifacts that retention has dropped. What was made again since is stored all the same.';
COMMENT ON COLUMN dropped_artifacts.env IS 'environment name';
COMMENT ON COLUMN dropped_artifacts.digest IS 'BLAKE2b of the content, 16 bytes';
COMMENT ON COLUMN dropped_artifacts.dropped_at IS 'when it was dropped the last time, UTC, whole milliseconds';
COMMENT ON COLUMN dropped_artifacts.kept_ms IS 'for how long after the end of their runs artifacts were kept then, in ms';

CREATE TABLE retention_marks (
  env text NOT NULL,
  artifacts_until timestamptz NOT NULL,
  CONSTRAINT retention_marks_pkey PRIMARY KEY (env)
);
COMMENT ON TABLE retention_marks IS 'How far retention has come. Losing a row only makes its next pass longer.';
COMMENT ON COLUMN retention_marks.env IS 'environment name';
COMMENT ON COLUMN retention_marks.artifacts_until IS 'artifacts of runs that ended until then were looked at, UTC';
