-- name: keep_outputs
INSERT INTO step_cache AS c (env, key, scope, workflow, node, run_id, seq, output, made_at, created_at, expires_at)
SELECT $1, g.key, g.scope, g.workflow, g.node, g.run_id, g.seq, p.payload, g.made_at, g.at, g.expires_at
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::timestamptz[], $9::timestamptz[],
              $10::timestamptz[]) AS g (key, scope, workflow, node, run_id, seq, made_at, at, expires_at)
  JOIN event_payloads p ON p.run_id = g.run_id AND p.seq = g.seq AND p.at = g.at
 ORDER BY g.key
ON CONFLICT ON CONSTRAINT step_cache_pkey DO UPDATE
   SET scope = excluded.scope, run_id = excluded.run_id, seq = excluded.seq, output = excluded.output,
       made_at = excluded.made_at, created_at = excluded.created_at, expires_at = excluded.expires_at
 WHERE (c.made_at, c.run_id, c.seq) < (excluded.made_at, excluded.run_id, excluded.seq)

-- name: count_looks
INSERT INTO step_cache_counts AS c (env, workflow, node, hits, misses)
SELECT $1, g.workflow, g.node, g.hits, g.misses
  FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS g (workflow, node, hits, misses)
 ORDER BY g.workflow, g.node
ON CONFLICT ON CONSTRAINT step_cache_counts_pkey DO UPDATE
   SET hits = c.hits + excluded.hits, misses = c.misses + excluded.misses

-- name: get_outputs
SELECT c.key, c.run_id, c.output, c.made_at, c.expires_at
  FROM step_cache c
 WHERE c.env = $1 AND c.key = ANY($2::text[]) AND (c.expires_at IS NULL OR c.expires_at > $3)
   AND NOT EXISTS (SELECT FROM step_cache_floors f
                    WHERE f.env = c.env AND f.workflow IN ('', c.workflow) AND f.node IN ('', c.node)
                      AND f.key IN ('', c.key) AND c.made_at < f.below)

-- name: lock_floors
SELECT pg_advisory_xact_lock($1, hashtext($2))

-- name: raise_floor
INSERT INTO step_cache_floors AS f (env, workflow, node, key, below, raised_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT ON CONSTRAINT step_cache_floors_pkey DO UPDATE
   SET below = greatest(f.below, excluded.below), raised_at = greatest(f.raised_at, excluded.raised_at)

-- name: get_floors
SELECT workflow, node, key, below, raised_at FROM step_cache_floors
 WHERE env = $1 AND (key = '' OR raised_at > $2)
 ORDER BY raised_at DESC, workflow, node, key

-- name: matching_outputs
SELECT count(*) AS entries, coalesce(sum(octet_length(c.output)), 0)::bigint AS bytes
  FROM step_cache c
 WHERE c.env = $1 AND ($2 = '' OR c.workflow = $2) AND ($3 = '' OR c.node = $3) AND ($4 = '' OR c.key = $4)
   AND c.made_at < $5

-- name: delete_outputs
WITH gone AS (
  SELECT key FROM step_cache c
   WHERE c.env = $1 AND ($2 = '' OR c.workflow = $2) AND ($3 = '' OR c.node = $3) AND ($4 = '' OR c.key = $4)
     AND c.made_at < $5
   ORDER BY key LIMIT $6 FOR UPDATE)
DELETE FROM step_cache c USING gone WHERE c.env = $1 AND c.key = gone.key
RETURNING c.key

-- name: delete_void_outputs
WITH gone AS (
  SELECT key FROM step_cache c
   WHERE c.env = $1
     AND (c.expires_at <= $2
          OR EXISTS (SELECT FROM step_cache_floors f
                      WHERE f.env = c.env AND f.workflow IN ('', c.workflow) AND f.node IN ('', c.node)
                        AND f.key IN ('', c.key) AND c.made_at < f.below))
   ORDER BY key LIMIT $3 FOR UPDATE SKIP LOCKED)
DELETE FROM step_cache c USING gone WHERE c.env = $1 AND c.key = gone.key
RETURNING c.key

-- name: statistics
SELECT coalesce(n.workflow, e.workflow) AS workflow, coalesce(n.node, e.node) AS node,
       coalesce(e.entries, 0)::bigint AS entries, coalesce(e.bytes, 0)::bigint AS bytes,
       coalesce(n.hits, 0) AS hits, coalesce(n.misses, 0) AS misses
  FROM (SELECT workflow, node, hits, misses FROM step_cache_counts
         WHERE env = $1 AND ($2 = '' OR workflow = $2) AND ($3 = '' OR node = $3)) n
  FULL JOIN (SELECT c.workflow, c.node, count(*) AS entries,
                    sum(CASE WHEN substring(c.output FROM 1 FOR 1) = '@'::bytea
                             THEN split_part(convert_from(c.output, 'UTF8'), ':', 2)::bigint
                             ELSE octet_length(c.output) END) AS bytes
               FROM step_cache c
              WHERE c.env = $1 AND ($2 = '' OR c.workflow = $2) AND ($3 = '' OR c.node = $3)
                AND (c.expires_at IS NULL OR c.expires_at > $4)
                AND NOT EXISTS (SELECT FROM step_cache_floors f
                                 WHERE f.env = c.env AND f.workflow IN ('', c.workflow) AND f.node IN ('', c.node)
                                   AND f.key IN ('', c.key) AND c.made_at < f.below)
              GROUP BY c.workflow, c.node) e
    ON e.workflow = n.workflow AND e.node = n.node
 ORDER BY 1, 2

-- name: clear_counts
DELETE FROM step_cache_counts WHERE env = $1

-- name: clear_outputs
DELETE FROM step_cache WHERE env = $1
