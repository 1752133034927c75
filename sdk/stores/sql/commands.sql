-- name: insert_starts
INSERT INTO commands (env, run_id, number, type, partition, body, body_digest, by, workflow, version, ir_hash, input_digest,
                      idempotency_key, tags, trigger, start_at, expires_at, traceparent, base_run_id, base_seq, base_terms)
SELECT g.env, g.run_id, 1, 'start', g.partition, g.body, g.body_digest, g.by, g.workflow, g.version, g.ir_hash,
       g.input_digest, g.idempotency_key, g.tags::text[], g.trigger, g.start_at, g.expires_at, g.traceparent, g.base_run_id,
       g.base_seq, g.base_terms
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::text[], $8::bigint[],
              $9::text[], $10::bytea[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[],
              $16::text[], $17::text[], $18::bigint[], $19::bytea[])
    AS g (env, run_id, partition, body, body_digest, by, workflow, version, ir_hash, input_digest, idempotency_key, tags,
          trigger, start_at, expires_at, traceparent, base_run_id, base_seq, base_terms)
 ORDER BY g.run_id
ON CONFLICT ON CONSTRAINT commands_pkey DO NOTHING
RETURNING run_id, created_at

-- name: find_starts
SELECT run_id, env, body_digest, created_at FROM commands WHERE run_id = ANY($1::text[]) AND number = 1

-- name: get_body
SELECT body, base_terms FROM commands WHERE run_id = $1 AND number = 1

-- name: get_mark
SELECT xact::text FROM reconciler_marks
 WHERE env = $1 AND partition = $2 AND xact <= pg_snapshot_xmax(pg_current_snapshot())

-- name: starts_to_apply
WITH missing AS NOT MATERIALIZED (
  SELECT c.* FROM commands c
   WHERE c.type = 'start' AND c.env = $1 AND c.partition = $2 AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = c.run_id))
SELECT m.run_id, m.partition, m.workflow, m.version, m.ir_hash, m.body AS input, m.input_digest, m.idempotency_key, m.by,
       m.tags, m.trigger, m.start_at, m.expires_at, m.traceparent, m.base_run_id, m.base_seq, m.base_terms,
       m.created_at, m.xact::text AS xact,
       m.created_at <= clock_timestamp() - make_interval(secs => $4::float8 / 1000) AS is_old
  FROM ((SELECT * FROM missing
          WHERE base_seq IS NULL AND xact >= $3::text::xid8 AND run_id <> ALL($6::text[])
          ORDER BY xact, created_at LIMIT $5)
         UNION ALL
        (SELECT * FROM missing
          WHERE base_seq IS NOT NULL AND xact >= $3::text::xid8 AND run_id <> ALL($6::text[])
          ORDER BY xact, created_at LIMIT $7)
         UNION ALL
        (SELECT * FROM missing WHERE number = 1 AND run_id = ANY($8::text[]))) m

-- name: snapshot_xmin
SELECT pg_snapshot_xmin(pg_current_snapshot())::text

-- name: move_mark
INSERT INTO reconciler_marks (env, partition, xact) VALUES ($1, $2, $3::text::xid8)
ON CONFLICT ON CONSTRAINT reconciler_marks_pkey DO UPDATE SET xact = excluded.xact
 WHERE reconciler_marks.xact <> excluded.xact

-- name: find_run
SELECT c.partition, c.workflow, c.ir_hash, r.status, r.finished_at, coalesce(r.is_halted, false) AS is_halted
  FROM commands c LEFT JOIN runs r ON r.run_id = c.run_id
 WHERE c.run_id = $1 AND c.number = 1 AND c.env = $2

-- name: lock_run
SELECT env, partition FROM commands WHERE run_id = $1 AND number = 1 FOR UPDATE

-- name: find_decision
SELECT number, type, by, body, created_at FROM commands WHERE run_id = $1 AND decides = $2

-- name: append_command
INSERT INTO commands (env, run_id, number, type, partition, body, body_digest, by, decides)
SELECT $1, $2, max(number) + 1, $3, $4, $5, $6, $7, $8 FROM commands WHERE run_id = $2
RETURNING number, created_at

-- name: commands_after
SELECT number, type, by, body, decides, created_at FROM commands WHERE run_id = $1 AND number > $2 ORDER BY number

-- name: find_decisions
SELECT number, type, by, body, created_at FROM commands
 WHERE run_id = $1 AND decides IS NOT NULL AND type = ANY($2::text[]) ORDER BY number

-- name: find_starters
WITH RECURSIVE started AS (
  SELECT run_id, by, base_run_id FROM commands WHERE run_id = $1 AND number = 1
  UNION
  SELECT b.run_id, c.by, c.base_run_id
    FROM started s LEFT JOIN children k ON k.run_id = s.run_id
    CROSS JOIN unnest(ARRAY[s.base_run_id, k.parent_run_id]) AS b (run_id)
    LEFT JOIN commands c ON c.run_id = b.run_id AND c.number = 1
   WHERE b.run_id IS NOT NULL
)
SELECT DISTINCT by FROM started

-- name: find_releases
WITH RECURSIVE began AS (
  SELECT run_id, base_run_id FROM commands WHERE run_id = $1 AND number = 1
  UNION
  SELECT c.run_id, c.base_run_id FROM began b JOIN commands c ON c.run_id = b.base_run_id AND c.number = 1
)
SELECT c.number, c.type, c.by, c.body, c.created_at FROM began b JOIN commands c USING (run_id)
 WHERE c.type IN ('approve', 'force_succeed', 'force_skip')

-- name: commands_to_apply
SELECT c.run_id, coalesce(r.ir_hash, s.ir_hash) AS ir_hash, c.number, c.type, c.by, c.body, c.decides, c.created_at,
       c.xact::text AS xact,
       c.created_at <= clock_timestamp() - make_interval(secs => $4::float8 / 1000) AS is_old
  FROM commands c
  JOIN commands s ON s.run_id = c.run_id AND s.number = 1
  LEFT JOIN runs r ON r.run_id = c.run_id
 WHERE c.type <> 'start' AND c.env = $1 AND c.partition = $2 AND c.xact >= $3::text::xid8
   AND (r.run_id IS NULL OR (r.finished_at IS NULL AND NOT r.is_halted AND c.number > r.last_command))
   AND c.run_id <> ALL($6::text[]) AND (c.xact, c.run_id, c.number) > ($7::text::xid8, $8, $9)
 ORDER BY c.xact, c.run_id, c.number
 LIMIT $5

-- name: get_command_mark
SELECT command_xact::text FROM reconciler_marks
 WHERE env = $1 AND partition = $2 AND command_xact <= pg_snapshot_xmax(pg_current_snapshot())

-- name: move_command_mark
INSERT INTO reconciler_marks (env, partition, xact, command_xact) VALUES ($1, $2, '0', $3::text::xid8)
ON CONFLICT ON CONSTRAINT reconciler_marks_pkey DO UPDATE SET command_xact = excluded.command_xact
 WHERE reconciler_marks.command_xact <> excluded.command_xact

-- name: get_command
SELECT number, type, by, body, decides, created_at FROM commands WHERE run_id = $1 AND number = $2
