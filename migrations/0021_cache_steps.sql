-- Outputs of steps that are kept are told by workflow and step, counted, and void below the times of invalidations.
-- deploy: before

ALTER TABLE step_cache
  ADD COLUMN workflow text NOT NULL DEFAULT '',
  ADD COLUMN seq bigint NOT NULL DEFAULT 0,
  ADD COLUMN made_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX step_cache_steps_idx ON step_cache (env, workflow, node);
COMMENT ON COLUMN step_cache.key IS '<workflow>:<step>:<hash> of input and config; of the run as well where the scope is run_only';
COMMENT ON COLUMN step_cache.workflow IS 'workflow id';
COMMENT ON COLUMN step_cache.seq IS 'event of that run whose payload the output is';
COMMENT ON COLUMN step_cache.made_at IS 'when the attempt that made it was handed out, UTC: invalidations count from there';
COMMENT ON COLUMN step_cache.created_at IS 'when the step succeeded, UTC';

CREATE TABLE step_cache_counts (
  env text NOT NULL,
  workflow text NOT NULL,
  node text NOT NULL,
  hits bigint NOT NULL,
  misses bigint NOT NULL,
  CONSTRAINT step_cache_counts_pkey PRIMARY KEY (env, workflow, node)
);
COMMENT ON TABLE step_cache_counts IS 'Projection of the log: how often outputs of a step were taken from the cache, and how often they were made and kept.';
COMMENT ON COLUMN step_cache_counts.env IS 'environment name';
COMMENT ON COLUMN step_cache_counts.workflow IS 'workflow id';
COMMENT ON COLUMN step_cache_counts.node IS 'node id';
COMMENT ON COLUMN step_cache_counts.hits IS 'outputs that were taken';
COMMENT ON COLUMN step_cache_counts.misses IS 'outputs that were made and kept';

CREATE TABLE step_cache_floors (
  env text NOT NULL,
  workflow text NOT NULL,
  node text NOT NULL,
  key text NOT NULL,
  below timestamptz NOT NULL,
  raised_at timestamptz NOT NULL,
  CONSTRAINT step_cache_floors_pkey PRIMARY KEY (env, workflow, node, key)
);
COMMENT ON TABLE step_cache_floors IS 'Invalidations: outputs that were made before these times are never taken again, whenever they are recorded.';
COMMENT ON COLUMN step_cache_floors.env IS 'environment name';
COMMENT ON COLUMN step_cache_floors.workflow IS 'workflow id; empty: all';
COMMENT ON COLUMN step_cache_floors.node IS 'node id; empty: all';
COMMENT ON COLUMN step_cache_floors.key IS 'key of one output; empty: all';
COMMENT ON COLUMN step_cache_floors.below IS 'outputs that were made before are void, UTC';
COMMENT ON COLUMN step_cache_floors.raised_at IS 'when somebody asked for it, UTC';
