-- Steps that failed for good are found and dealt with without reading logs; a run may go on from another one.
-- deploy: before

ALTER TABLE commands ADD COLUMN base_seq bigint;
COMMENT ON COLUMN commands.base_seq IS 'start only: event of the base run after which this one goes on; NULL where it begins at its beginning';
CREATE INDEX commands_base_idx ON commands (base_run_id) WHERE base_run_id IS NOT NULL;

CREATE TABLE dead_letters (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  seq bigint NOT NULL,
  error jsonb,
  failed_at timestamptz NOT NULL,
  is_open boolean NOT NULL DEFAULT true,
  CONSTRAINT dead_letters_pkey PRIMARY KEY (run_id, node, scope)
);
-- A long history of dead letters that were dealt with costs the list of the open ones nothing.
CREATE INDEX dead_letters_open_idx ON dead_letters (env, failed_at DESC, run_id DESC) WHERE is_open;
CREATE INDEX dead_letters_env_idx ON dead_letters (env, failed_at DESC, run_id DESC);
COMMENT ON TABLE dead_letters IS 'Projection of the log: steps that failed for good, handled by nothing. Those of runs that ended FAILED are dead letters.';
COMMENT ON COLUMN dead_letters.env IS 'environment name';
COMMENT ON COLUMN dead_letters.run_id IS 'run';
COMMENT ON COLUMN dead_letters.node IS 'node id';
COMMENT ON COLUMN dead_letters.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN dead_letters.attempt IS 'the last try, from 1';
COMMENT ON COLUMN dead_letters.seq IS 'event by which it failed';
COMMENT ON COLUMN dead_letters.error IS 'why it failed';
COMMENT ON COLUMN dead_letters.failed_at IS 'when it failed, UTC';
COMMENT ON COLUMN dead_letters.is_open IS 'false once its run was started again or somebody has dropped it';

CREATE TABLE dead_letter_drops (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  by text,
  reason text NOT NULL DEFAULT '',
  dropped_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  CONSTRAINT dead_letter_drops_pkey PRIMARY KEY (run_id, node, scope)
);
COMMENT ON TABLE dead_letter_drops IS 'Dead letters that somebody has dealt with otherwise than by starting their runs again. Rows never change.';
COMMENT ON COLUMN dead_letter_drops.env IS 'environment name';
COMMENT ON COLUMN dead_letter_drops.run_id IS 'run';
COMMENT ON COLUMN dead_letter_drops.node IS 'node id';
COMMENT ON COLUMN dead_letter_drops.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN dead_letter_drops.by IS 'who dropped it; NULL where unknown';
COMMENT ON COLUMN dead_letter_drops.reason IS 'why; empty where nothing was said';
COMMENT ON COLUMN dead_letter_drops.dropped_at IS 'when, UTC, whole milliseconds';

CREATE OR REPLACE FUNCTION drop_executions_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM node_executions USING gone WHERE node_executions.run_id = gone.run_id;
  DELETE FROM dead_letters USING gone WHERE dead_letters.run_id = gone.run_id;
  RETURN NULL;
END $$;
