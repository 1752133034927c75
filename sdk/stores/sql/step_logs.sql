-- name: lock_partition
SELECT pg_try_advisory_xact_lock(hashtextextended('step_logs ' || $1::text || ' ' || $2::integer, 0))

-- name: insert_lines
INSERT INTO step_logs (env, run_id, at, source, number, node, scope, attempt, worker, level, text, fields)
SELECT $1, g.run_id, g.at, g.source, g.number, g.node, g.scope, g.attempt, g.worker, g.level, g.text, g.fields
  FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::integer[],
              $9::text[], $10::text[], $11::text[], $12::text[])
       WITH ORDINALITY AS g (run_id, at, source, number, node, scope, attempt, worker, level, text, fields, place)
 WHERE NOT EXISTS (SELECT FROM forgotten_runs f WHERE f.run_id = g.run_id)
 ORDER BY g.place
ON CONFLICT ON CONSTRAINT step_logs_pkey DO NOTHING

-- name: last_id
SELECT coalesce(max(id), 0) FROM step_logs WHERE env = $1 AND run_id = $2

-- name: lines_in_time
SELECT run_id, at, source, number, id, node, scope, attempt, worker, level, text, fields FROM step_logs
 WHERE env = $1 AND run_id = $2 AND ($3::text IS NULL OR node = $3) AND id <= $4
   AND (at, source, number) > ($5::timestamptz, $6::bigint, $7::integer)
 ORDER BY at, source, number LIMIT $8

-- name: lines_after
SELECT run_id, at, source, number, id, node, scope, attempt, worker, level, text, fields FROM step_logs
 WHERE env = $1 AND run_id = $2 AND ($3::text IS NULL OR node = $3) AND id > $4
 ORDER BY id LIMIT $5

-- name: lines_of_runs
SELECT s.run_id, s.at, s.source, s.number, s.id, s.node, s.scope, s.attempt, s.worker, s.level, s.text, s.fields
  FROM unnest($2::text[], $3::bigint[]) AS w (run_id, after)
 CROSS JOIN LATERAL (SELECT l.* FROM step_logs l WHERE l.env = $1 AND l.run_id = w.run_id AND l.id > w.after
                      ORDER BY l.id LIMIT $4) AS s
 ORDER BY s.run_id, s.id

-- name: last_numbers
SELECT source, max(number) AS number FROM step_logs WHERE env = $1 AND run_id = $2 AND id <= $3 GROUP BY source

-- name: drop_old
DELETE FROM step_logs WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM step_logs WHERE env = $1 AND at < now() - make_interval(secs => $2) LIMIT $3
  FOR UPDATE SKIP LOCKED))
