-- name: read_events
SELECT l.seq, l.at, l.facts,
       (SELECT p.payload FROM event_payloads p WHERE p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at) AS payload
  FROM event_log l
 WHERE l.run_id = $1 AND l.seq > $2 AND l.seq <= $3
 ORDER BY l.seq

-- name: find_events
SELECT l.seq, l.at, l.facts,
       (SELECT p.payload FROM event_payloads p WHERE p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at) AS payload
  FROM event_log l
 WHERE l.run_id = $1 AND l.seq > $2 AND ($3::text IS NULL OR l.node = $3)
   AND ($4::text IS NULL OR l.type = $4 OR (right($4, 2) = '.*' AND starts_with(l.type, left($4, -1))))
 ORDER BY l.seq LIMIT $5

-- name: read_events_of_runs
SELECT l.run_id, l.seq, l.at, l.facts, p.payload
  FROM event_log l LEFT JOIN event_payloads p ON p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at
 WHERE l.run_id = ANY($1::text[])
 ORDER BY l.run_id, l.seq

-- name: read_chain
SELECT l.seq, l.at, l.type, l.node, l.scope, l.attempt, l.worker, l.facts, l.payload_digest, l.prev_hash, l.hash,
       (SELECT p.payload FROM event_payloads p WHERE p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at) AS payload
  FROM event_log l
 WHERE l.run_id = $1 AND l.seq > $2
 ORDER BY l.seq

-- name: read_chain_part
SELECT l.seq, l.at, l.facts, l.payload_digest, l.prev_hash, l.hash,
       (SELECT p.payload FROM event_payloads p WHERE p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at) AS payload
  FROM event_log l
 WHERE l.run_id = $1 AND l.seq > $2
 ORDER BY l.seq
 LIMIT $3

-- name: read_end
SELECT last_seq, last_hash FROM runs WHERE run_id = $1

-- name: heads
SELECT g.run_id, h.seq, h.hash
  FROM unnest($1::text[]) AS g (run_id)
 CROSS JOIN LATERAL (SELECT l.seq, l.hash FROM event_log l WHERE l.run_id = g.run_id ORDER BY l.seq DESC LIMIT 1) AS h

-- name: read_facts_of_env
SELECT l.partition, l.run_id, l.seq, l.at, l.facts, l.payload_digest IS NOT NULL AS has_payload, l.hash
  FROM event_log l
 WHERE l.env = $1 AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = l.run_id AND r.archived_at IS NOT NULL)
 ORDER BY l.run_id, l.seq

-- name: read_halts
SELECT g.run_id, h.facts
  FROM unnest($1::text[]) AS g (run_id)
 CROSS JOIN LATERAL (SELECT l.facts FROM event_log l WHERE l.run_id = g.run_id AND l.type = 'run.halted'
                      ORDER BY l.seq DESC LIMIT 1) AS h

-- name: read_moves
SELECT l.seq, l.facts FROM event_log l
 WHERE l.run_id = $1 AND (l.seq = 1 OR l.type = 'run.migrated')
 ORDER BY l.seq

-- name: read_results
SELECT l.facts, p.payload
  FROM event_log l JOIN event_payloads p ON p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at
 WHERE l.run_id = $1 AND l.type IN ('fanout.collected', 'fanout.restored') AND l.node = ANY($2::text[]) AND l.scope = $3
 ORDER BY l.seq

-- name: read_spans
SELECT l.run_id, l.seq, l.at, l.facts, NULL::bytea AS payload
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w (run_id, first, last)
  JOIN event_log l ON l.run_id = w.run_id AND l.seq BETWEEN w.first AND w.last

-- name: read_window
SELECT l.run_id, l.seq, l.at, l.facts, NULL::bytea AS payload FROM event_log l
 WHERE l.env = $1 AND l.at >= $2 AND l.at < $5 AND (l.at, l.run_id, l.seq) > ($2, $3::text, $4::bigint)
 ORDER BY l.at, l.run_id, l.seq LIMIT $6

-- name: read_partition
SELECT l.run_id, l.seq, l.at, l.facts, NULL::bytea AS payload FROM event_log l
 WHERE l.env = $1 AND l.partition = $2 AND l.at >= $3 AND l.at <= $4

-- name: count_emptied
SELECT count(*) FROM event_log l
 WHERE l.run_id = $1 AND l.payload_digest IS NOT NULL
   AND NOT EXISTS (SELECT FROM event_payloads p WHERE p.run_id = l.run_id AND p.seq = l.seq AND p.at = l.at)

-- name: find_archive
SELECT r.archived_at, a.path, a.name
  FROM runs r
  LEFT JOIN log_archives a ON a.restored_at IS NULL AND a.ends > r.created_at
                          AND a.starts <= coalesce(r.finished_at, r.updated_at)
 WHERE r.run_id = $1 AND r.archived_at IS NOT NULL
 ORDER BY a.starts LIMIT 1
