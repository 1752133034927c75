-- A step may be a run of another workflow: which run stands for which attempt of it, and how far that has come.
-- deploy: before

CREATE TABLE children (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  parent_run_id text COLLATE "C" NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  seq bigint NOT NULL,
  partition bigint NOT NULL,
  workflow text NOT NULL,
  version bigint,
  is_detached boolean NOT NULL,
  depth bigint,
  state text NOT NULL DEFAULT 'wanted',
  wanted_at timestamptz NOT NULL,
  CONSTRAINT children_pkey PRIMARY KEY (run_id),
  CONSTRAINT children_attempt_key UNIQUE (parent_run_id, node, scope, attempt),
  CONSTRAINT children_state_known CHECK (state IN ('wanted', 'starting', 'started', 'settled', 'refused', 'dropped'))
);
-- What is to be done is found at the cost of the child runs that live, not of all that ever were.
CREATE INDEX children_open_idx ON children (env, partition, wanted_at) WHERE state IN ('wanted', 'starting', 'started');
COMMENT ON TABLE children IS 'Projection of the log, but for state: child runs, by the step of their parent.';
COMMENT ON COLUMN children.env IS 'environment name';
COMMENT ON COLUMN children.run_id IS 'child run, whether it was started or not';
COMMENT ON COLUMN children.parent_run_id IS 'run whose step it is';
COMMENT ON COLUMN children.node IS 'node id in the parent';
COMMENT ON COLUMN children.scope IS 'scope of the parent''s token; empty outside of loops and maps';
COMMENT ON COLUMN children.attempt IS 'try of the step, from 1; each has a child run of its own';
COMMENT ON COLUMN children.seq IS 'event of the parent whose payload is the input';
COMMENT ON COLUMN children.partition IS 'partition of both runs, from 0';
COMMENT ON COLUMN children.workflow IS 'workflow id that was asked for';
COMMENT ON COLUMN children.version IS 'version that was asked for; NULL for the latest';
COMMENT ON COLUMN children.is_detached IS 'the step does not wait for its end, and it does not end with its parent';
COMMENT ON COLUMN children.depth IS 'how many runs stand above it, from 1; NULL while it is wanted';
COMMENT ON COLUMN children.state IS
  'wanted, starting (about to be started), started, settled (nothing is left to do), refused, dropped (never started)';
COMMENT ON COLUMN children.wanted_at IS 'when the step asked for it, UTC';

CREATE OR REPLACE FUNCTION drop_executions_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM node_executions USING gone WHERE node_executions.run_id = gone.run_id;
  DELETE FROM dead_letters USING gone WHERE dead_letters.run_id = gone.run_id;
  DELETE FROM children USING gone WHERE children.parent_run_id = gone.run_id;
  RETURN NULL;
END $$;
