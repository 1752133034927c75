-- The truth about history: append-only, chained per run, split by month so that retention moves whole partitions.
-- deploy: before

CREATE TABLE event_log (
  env text NOT NULL,
  partition bigint NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  type text NOT NULL,
  at timestamptz NOT NULL,
  node text NOT NULL,
  scope text NOT NULL,
  attempt bigint NOT NULL,
  worker text NOT NULL,
  facts bytea NOT NULL,
  payload_digest bytea,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT event_log_pkey PRIMARY KEY (run_id, seq, at),
  CONSTRAINT event_log_seq_positive CHECK (seq >= 1)
) PARTITION BY RANGE (at);
COMMENT ON TABLE event_log IS 'Every event of every run. Nothing updates or deletes a row; the recorder alone appends.';
COMMENT ON COLUMN event_log.env IS 'environment name';
COMMENT ON COLUMN event_log.partition IS 'partition of the run, from 0';
COMMENT ON COLUMN event_log.run_id IS 'run';
COMMENT ON COLUMN event_log.seq IS 'number in its run, from 1 without a gap';
COMMENT ON COLUMN event_log.type IS 'noun.past_tense, see docs/reference/events.md';
COMMENT ON COLUMN event_log.at IS 'Redis time of the transition, UTC, whole milliseconds';
COMMENT ON COLUMN event_log.node IS 'node id; empty where the event is about the run';
COMMENT ON COLUMN event_log.scope IS 'scope of the token; empty outside of loops and maps';
COMMENT ON COLUMN event_log.attempt IS 'try, from 1; 0 where nothing was tried';
COMMENT ON COLUMN event_log.worker IS 'consumer that made the transition; empty where a script did';
COMMENT ON COLUMN event_log.facts IS 'canonical JSON bytes that the hash is made of';
COMMENT ON COLUMN event_log.payload_digest IS 'BLAKE2b of the payload, 16 bytes; NULL where there is none';
COMMENT ON COLUMN event_log.prev_hash IS 'hash of the event before it, 32 bytes; zeros for the first';
COMMENT ON COLUMN event_log.hash IS 'BLAKE2b over prev_hash and this row, 32 bytes';

CREATE TABLE event_payloads (
  env text NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at timestamptz NOT NULL,
  payload bytea NOT NULL,
  CONSTRAINT event_payloads_pkey PRIMARY KEY (run_id, seq, at)
) PARTITION BY RANGE (at);
COMMENT ON TABLE event_payloads IS 'Payloads of events; rows or months may be emptied without breaking a chain.';
COMMENT ON COLUMN event_payloads.env IS 'environment name';
COMMENT ON COLUMN event_payloads.run_id IS 'run';
COMMENT ON COLUMN event_payloads.seq IS 'number of the event in its run, from 1';
COMMENT ON COLUMN event_payloads.at IS 'time of the event, UTC, whole milliseconds';
COMMENT ON COLUMN event_payloads.payload IS 'JSON bytes, or a reference @<hex digest>:<bytes> into payloads';

CREATE TABLE payloads (
  env text NOT NULL,
  digest bytea NOT NULL,
  content bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT payloads_pkey PRIMARY KEY (env, digest)
);
COMMENT ON TABLE payloads IS 'Payloads beyond the inline limit, addressed by content.';
COMMENT ON COLUMN payloads.env IS 'environment name';
COMMENT ON COLUMN payloads.digest IS 'BLAKE2b of content, 16 bytes';
COMMENT ON COLUMN payloads.content IS 'JSON bytes';
COMMENT ON COLUMN payloads.created_at IS 'first time it was stored, UTC';

CREATE TABLE recorder_cursors (
  env text NOT NULL,
  partition bigint NOT NULL,
  epoch bigint NOT NULL,
  partition_seq bigint NOT NULL,
  entry_id text NOT NULL,
  entry_digest bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT recorder_cursors_pkey PRIMARY KEY (env, partition),
  CONSTRAINT recorder_cursors_epoch_positive CHECK (epoch >= 1),
  CONSTRAINT recorder_cursors_seq_not_negative CHECK (partition_seq >= 0)
);
COMMENT ON TABLE recorder_cursors IS 'The fence: which outbox entry is the last one in the log. Moved in the transaction that appends.';
COMMENT ON COLUMN recorder_cursors.env IS 'environment name';
COMMENT ON COLUMN recorder_cursors.partition IS 'partition, from 0';
COMMENT ON COLUMN recorder_cursors.epoch IS 'epoch of the partition, from 1; grows whenever Redis lost or rewound data';
COMMENT ON COLUMN recorder_cursors.partition_seq IS 'partition sequence of the last recorded entry; 0 before the first';
COMMENT ON COLUMN recorder_cursors.entry_id IS 'stream id of that entry; 0-0 where the outbox is to be read from its beginning';
COMMENT ON COLUMN recorder_cursors.entry_digest IS 'BLAKE2b of its fields, 16 bytes; empty for 0-0';
COMMENT ON COLUMN recorder_cursors.at IS 'when it was moved, UTC';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: the event log is append-only', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;

-- Row triggers are cloned to the partitions, statement triggers are not: make_event_partitions adds those.
CREATE TRIGGER event_log_refuse_change BEFORE UPDATE OR DELETE ON event_log
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_log_refuse_truncate BEFORE TRUNCATE ON event_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE event_log_default PARTITION OF event_log DEFAULT;
CREATE TABLE event_payloads_default PARTITION OF event_payloads DEFAULT;
CREATE TRIGGER event_log_refuse_truncate BEFORE TRUNCATE ON event_log_default
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partitions of this month and the next ones; returns the names of the new tables. A month that already has
-- rows in the default partition stays there: they cannot be moved out of an append-only table.
CREATE FUNCTION make_event_partitions(months_ahead bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  child text;
  starts timestamptz;
  ends timestamptz;
  is_taken boolean;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('courante.make_event_partitions', 0));
  FOR ahead IN 0 .. months_ahead LOOP
    starts := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead::int)) AT TIME ZONE 'UTC';
    ends := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead::int + 1)) AT TIME ZONE 'UTC';
    FOREACH parent IN ARRAY ARRAY['event_log', 'event_payloads'] LOOP
      child := parent || '_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMM');
      CONTINUE WHEN to_regclass(child) IS NOT NULL;
      EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE at >= %L AND at < %L)', parent || '_default', starts, ends)
        INTO is_taken;
      CONTINUE WHEN is_taken;
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, starts, ends);
      IF parent = 'event_log' THEN
        EXECUTE format('CREATE TRIGGER event_log_refuse_truncate BEFORE TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', child);
      END IF;
      RETURN NEXT child;
    END LOOP;
  END LOOP;
END $$;

CREATE VIEW events AS
SELECT env, run_id, seq, run_id || ':' || seq AS event_id, type, at, node, scope,
       CASE WHEN node <> '' THEN run_id || '/' || node || '/' || scope END AS token,
       attempt, worker, bytes_to_json(facts) AS facts, payload_digest, prev_hash, hash
  FROM event_log;
COMMENT ON VIEW events IS 'The log for people: with event id, token id, and the facts as JSON.';
