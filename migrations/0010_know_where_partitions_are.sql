-- A partition that was recovered on one Redis must not be recovered again on another that was cut off meanwhile.
-- deploy: before

CREATE TABLE partition_homes (
  env text NOT NULL,
  partition bigint NOT NULL,
  epoch bigint NOT NULL,
  incarnation text NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT partition_homes_pkey PRIMARY KEY (env, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE partition_homes IS 'On which Redis each partition is open. Losing a row only makes it be noted again.';
COMMENT ON COLUMN partition_homes.env IS 'environment name';
COMMENT ON COLUMN partition_homes.partition IS 'partition, from 0';
COMMENT ON COLUMN partition_homes.epoch IS 'epoch since which it is open there';
COMMENT ON COLUMN partition_homes.incarnation IS 'run_id of the server, which every restart changes';
COMMENT ON COLUMN partition_homes.seen_at IS 'when a supervisor saw it open there last, UTC';
