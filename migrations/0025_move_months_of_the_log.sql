-- Whole months of the log can be moved away; what was moved, and where to, is remembered.
-- deploy: before

ALTER TABLE runs ADD COLUMN archived_at timestamptz;
COMMENT ON COLUMN runs.archived_at IS 'when the first of its events was moved out of the log, UTC; NULL where all stand there';
CREATE INDEX runs_archived_idx ON runs (env, finished_at) WHERE archived_at IS NOT NULL;

CREATE TABLE log_archives (
  name text NOT NULL,
  starts timestamptz NOT NULL,
  ends timestamptz NOT NULL,
  events bigint NOT NULL,
  runs bigint NOT NULL,
  path text,
  sha256 bytea,
  archived_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  restored_at timestamptz,
  CONSTRAINT log_archives_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE log_archives IS 'Months that were taken out of the log, of all environments. The last time counts.';
COMMENT ON COLUMN log_archives.name IS 'name of the table that was taken out';
COMMENT ON COLUMN log_archives.starts IS 'first time of the month, UTC';
COMMENT ON COLUMN log_archives.ends IS 'first time after it, UTC';
COMMENT ON COLUMN log_archives.events IS 'number of events';
COMMENT ON COLUMN log_archives.runs IS 'number of runs that have events in it';
COMMENT ON COLUMN log_archives.path IS 'file that it was written to; NULL where it was deleted without one';
COMMENT ON COLUMN log_archives.sha256 IS 'SHA-256 of that file, 32 bytes; NULL where there is none';
COMMENT ON COLUMN log_archives.archived_at IS 'when it was taken out, UTC, whole milliseconds';
COMMENT ON COLUMN log_archives.restored_at IS 'when it was put back, UTC; NULL where it was not';
