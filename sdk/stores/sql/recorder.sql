-- name: irs_of_runs
SELECT run_id, ir_hash FROM runs WHERE run_id = ANY($1::text[])

-- name: used_elsewhere
SELECT g.digest
  FROM unnest($2::bytea[]) AS g (digest)
 CROSS JOIN LATERAL (
       SELECT count(*) AS events,
              bool_or(r.finished_at IS NULL
                      AND (p.run_id <> ALL($3::text[])
                           OR l.scope = '' AND l.node <> ALL($4::text[])
                              AND l.type NOT IN ('fanout.collected', 'fanout.restored'))
                      AND (g.digest, p.run_id, l.node, l.scope) NOT IN (
                          SELECT * FROM unnest($5::bytea[], $6::text[], $7::text[], $8::text[]))) AS is_used
         FROM (SELECT run_id, seq, at FROM event_payloads
                WHERE substring(payload FROM 1 FOR 1) = '@'::bytea AND substring(payload FROM 2 FOR 32) = g.digest
                  AND env = $1
                LIMIT $9) p
         JOIN event_log l ON l.run_id = p.run_id AND l.seq = p.seq AND l.at = p.at
         JOIN runs r ON r.run_id = p.run_id) found
 WHERE found.events = $9 OR found.is_used
