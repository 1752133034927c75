-- What is due is asked of each webhook by itself since 0033: nobody reads the index over all of them any more.
-- deploy: after
-- transaction: none
DROP INDEX CONCURRENTLY IF EXISTS webhook_deliveries_due_idx;
