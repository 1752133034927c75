-- name: list_traces
SELECT e.node, e.scope, e.attempt, e.type, e.facts, p.payload
  FROM event_log e
  LEFT JOIN event_payloads p ON p.run_id = e.run_id AND p.seq = e.seq AND p.at = e.at
 WHERE e.run_id = $1 AND e.node = ANY($2::text[])
   AND e.type IN ('step.input_kept', 'step.succeeded', 'step.reused')
 ORDER BY e.seq DESC
 LIMIT $3
