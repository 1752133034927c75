-- What a run has said and made can be emptied for privacy; that it was, by whom and why, is remembered.
-- deploy: before

CREATE TABLE forgotten_runs (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  forgotten_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  by text,
  reason text NOT NULL DEFAULT '',
  CONSTRAINT forgotten_runs_pkey PRIMARY KEY (run_id)
);
CREATE INDEX forgotten_runs_time_idx ON forgotten_runs (env, forgotten_at);
COMMENT ON TABLE forgotten_runs IS 'Ended runs whose payloads and texts were emptied. Their events stand, and their chains hold.';
COMMENT ON COLUMN forgotten_runs.env IS 'environment name';
COMMENT ON COLUMN forgotten_runs.run_id IS 'run';
COMMENT ON COLUMN forgotten_runs.forgotten_at IS 'when it was emptied first, UTC, whole milliseconds';
COMMENT ON COLUMN forgotten_runs.by IS 'who asked for it; NULL where unknown';
COMMENT ON COLUMN forgotten_runs.reason IS 'why; empty where nothing was said';
COMMENT ON TABLE commands IS
  'What someone outside asked of the engine. Rows never change, but for what is emptied when their run is forgotten.';
