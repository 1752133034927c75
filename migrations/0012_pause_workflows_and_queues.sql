-- Whole workflows and queues can be paused; what is meant to stand still is known when Redis has forgotten it.
-- deploy: before

CREATE TABLE pauses (
  env text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  by text,
  reason text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  resumed_at timestamptz,
  CONSTRAINT pauses_pkey PRIMARY KEY (env, kind, name),
  CONSTRAINT pauses_kind_known CHECK (kind IN ('workflow', 'queue'))
);
COMMENT ON TABLE pauses IS 'Workflows and queues that are paused. A single run that is paused stands in runs.';
COMMENT ON COLUMN pauses.env IS 'environment name';
COMMENT ON COLUMN pauses.kind IS 'workflow or queue';
COMMENT ON COLUMN pauses.name IS 'workflow id, or name of the queue';
COMMENT ON COLUMN pauses.by IS 'who paused it; NULL where unknown';
COMMENT ON COLUMN pauses.reason IS 'why; empty where nothing was said';
COMMENT ON COLUMN pauses.created_at IS 'when it was paused, UTC, whole milliseconds';
COMMENT ON COLUMN pauses.resumed_at IS 'when it was resumed, UTC; the row goes once every run goes on; NULL before';
