-- Runs that ended long enough ago to be forgotten are found at the cost of what is found, however many there are.
-- deploy: before
-- transaction: none
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_finished_idx ON runs (env, finished_at, run_id) WHERE finished_at IS NOT NULL;
