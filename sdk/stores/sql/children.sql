-- name: insert_children
INSERT INTO children (env, run_id, parent_run_id, node, scope, attempt, seq, partition, workflow, version, is_detached,
                      wanted_at)
SELECT $1, g.run_id, g.parent_run_id, g.node, g.scope, g.attempt, g.seq, r.partition, g.workflow, g.version, g.is_detached,
       g.wanted_at
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[],
              $10::boolean[], $11::timestamptz[])
    AS g (run_id, parent_run_id, node, scope, attempt, seq, workflow, version, is_detached, wanted_at)
  JOIN runs r ON r.run_id = g.parent_run_id
ON CONFLICT ON CONSTRAINT children_pkey DO NOTHING

-- name: open_children
SELECT c.run_id, c.parent_run_id, c.node, c.scope, c.attempt, c.seq, c.partition, c.workflow, c.version, c.is_detached,
       c.state, p.by, p.tags, r.status, r.output_seq, r.error::text AS error,
       coalesce(n.status = 'WAITING' AND n.reason = 'child', false) AS is_awaited, g.run_id AS going_on,
       s.run_id IS NOT NULL AS is_accepted, c.wanted_at
  FROM children c
  JOIN runs p ON p.run_id = c.parent_run_id
  LEFT JOIN runs r ON r.run_id = c.run_id AND r.finished_at IS NOT NULL
  LEFT JOIN node_executions n ON n.run_id = c.parent_run_id AND n.node = c.node AND n.scope = c.scope AND n.attempt = c.attempt
  LEFT JOIN commands s ON s.run_id = c.run_id AND s.number = 1 AND c.state = 'wanted'
  LEFT JOIN LATERAL (SELECT g.run_id FROM commands g WHERE g.base_run_id = r.run_id AND g.base_seq IS NOT NULL AND g.trigger <> 'fork'
                      ORDER BY g.created_at DESC LIMIT 1) g ON c.state = 'started' AND NOT c.is_detached
 WHERE c.env = $1 AND c.partition = $2 AND c.state IN ('wanted', 'starting', 'started')
   AND (c.state <> 'started' OR r.run_id IS NOT NULL OR n.status IS DISTINCT FROM 'WAITING' OR n.reason IS DISTINCT FROM 'child')
   AND ($4::timestamptz IS NULL OR (c.wanted_at, c.run_id) > ($4, $5))
 ORDER BY c.wanted_at, c.run_id
 LIMIT $3

-- name: has_open_children
SELECT EXISTS (SELECT FROM children WHERE env = $1 AND partition = $2 AND state IN ('wanted', 'starting', 'started'))

-- name: take_up_child
WITH RECURSIVE line (run_id) AS (
  SELECT parent_run_id FROM children WHERE run_id = $1
  UNION
  SELECT s.base_run_id FROM line JOIN commands s ON s.run_id = line.run_id AND s.number = 1 AND s.base_seq IS NOT NULL
)
UPDATE children c
   SET state = $2, depth = 1 + coalesce((SELECT max(p.depth) FROM children p JOIN line ON line.run_id = p.run_id), 0)
 WHERE c.run_id = $1 AND c.state = 'wanted'
RETURNING c.depth

-- name: move_children
UPDATE children SET state = g.state
  FROM unnest($1::text[], $2::text[], $3::text[]) AS g (run_id, since, state)
 WHERE children.run_id = g.run_id AND children.state = g.since

-- name: follow_child
UPDATE children SET run_id = $2
 WHERE run_id = $1 AND state = 'started' AND NOT EXISTS (SELECT FROM children c WHERE c.run_id = $2)

-- name: children_of
WITH RECURSIVE line (run_id, up) AS (
  SELECT $1::text COLLATE "C", 0
  UNION ALL
  SELECT s.base_run_id, line.up + 1 FROM line JOIN commands s ON s.run_id = line.run_id AND s.number = 1 AND s.base_seq IS NOT NULL
)
SELECT c.run_id, c.node, c.scope, c.attempt, c.workflow, coalesce(l.version, c.version) AS version, c.is_detached, c.depth,
       c.state, l.status, l.is_waiting, CASE WHEN line.up > 0 THEN c.parent_run_id END AS taken_from
  FROM line
  JOIN children c ON c.parent_run_id = line.run_id
  LEFT JOIN run_list l ON l.run_id = c.run_id
 WHERE line.up = 0
    OR EXISTS (SELECT FROM node_executions n WHERE n.run_id = $1 AND n.node = c.node AND n.scope = c.scope AND n.attempt = c.attempt
                AND n.reason = 'reused_from_base_run')
       AND NOT EXISTS (SELECT FROM line nearer JOIN children d ON d.parent_run_id = nearer.run_id
                        WHERE nearer.up < line.up AND (d.node, d.scope, d.attempt) = (c.node, c.scope, c.attempt))
 ORDER BY c.wanted_at, c.node, c.scope, c.attempt

-- name: parents_of
SELECT run_id, parent_run_id, node, scope, attempt, is_detached, depth FROM children WHERE run_id = ANY($1::text[])
