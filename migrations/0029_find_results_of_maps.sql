-- Results of maps that Redis has not any more are read from the log, by the map that they are of.
-- deploy: before
CREATE INDEX event_log_results ON event_log (run_id, node, scope)
 WHERE type IN ('fanout.collected', 'fanout.restored');
