-- name: append_operations
INSERT INTO operator_log (env, by, key_id, action, target, result, address)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])

-- name: list_operations
SELECT number, at, by, key_id, action, target, result, address
  FROM operator_log
 WHERE env = $1 AND ($2::bigint IS NULL OR number < $2) AND ($3::text IS NULL OR by = $3)
   AND ($4::timestamptz IS NULL OR at >= $4)
 ORDER BY number DESC
 LIMIT $5
