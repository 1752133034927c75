-- Starts of runs that go on from others are found by themselves: of the others as many may be missing.
-- deploy: before
-- transaction: none
CREATE INDEX CONCURRENTLY IF NOT EXISTS commands_restart_xact_idx ON commands (env, partition, xact) WHERE type = 'start' AND base_seq IS NOT NULL;
