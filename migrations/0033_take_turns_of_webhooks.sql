-- What is due of each webhook is found by itself: of one that answers slowly there may be much.
-- deploy: before
-- transaction: none
CREATE INDEX CONCURRENTLY IF NOT EXISTS webhook_deliveries_turn_idx ON webhook_deliveries (env, webhook, due_at) WHERE state = 'due';
