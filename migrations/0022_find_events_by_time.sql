-- Whoever listens to all runs and was cut off goes on from a moment: the log is found by its times, in which it grows.
-- deploy: before
CREATE INDEX event_log_at ON event_log USING brin (at);
