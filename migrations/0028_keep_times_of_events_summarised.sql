-- The newest events are those that are asked for by time: their ranges are summarised as they fill, not at a vacuum to come.
-- deploy: before
DROP INDEX event_log_at;
CREATE INDEX event_log_at ON event_log USING brin (at) WITH (autosummarize = on);
