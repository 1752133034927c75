-- name: add_attempts
INSERT INTO attempt_spending AS s (env, run_id, node, scope, attempt, currency, provider, model, calls, input_tokens,
                                   output_tokens, cached_tokens, cost, unpriced, unknown)
SELECT $1, g.*
  FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[],
              $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]) AS g
ON CONFLICT ON CONSTRAINT attempt_spending_pkey DO UPDATE SET
  provider = excluded.provider,
  model = excluded.model,
  calls = s.calls + excluded.calls,
  input_tokens = s.input_tokens + excluded.input_tokens,
  output_tokens = s.output_tokens + excluded.output_tokens,
  cached_tokens = s.cached_tokens + excluded.cached_tokens,
  cost = s.cost + excluded.cost,
  unpriced = s.unpriced + excluded.unpriced,
  unknown = s.unknown + excluded.unknown

-- name: add_runs
INSERT INTO run_spending AS s (env, run_id, currency, calls, input_tokens, output_tokens, cached_tokens, cost, unpriced,
                               unknown)
SELECT $1, g.*
  FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
              $10::bigint[]) AS g
ON CONFLICT ON CONSTRAINT run_spending_pkey DO UPDATE SET
  calls = s.calls + excluded.calls,
  input_tokens = s.input_tokens + excluded.input_tokens,
  output_tokens = s.output_tokens + excluded.output_tokens,
  cached_tokens = s.cached_tokens + excluded.cached_tokens,
  cost = s.cost + excluded.cost,
  unpriced = s.unpriced + excluded.unpriced,
  unknown = s.unknown + excluded.unknown

-- name: of_attempts
SELECT node, scope, attempt, currency, provider, model, calls, input_tokens, output_tokens, cached_tokens, cost, unpriced,
       unknown
  FROM attempt_spending WHERE run_id = $1
 ORDER BY node, scope, attempt, currency

-- name: by_ir
SELECT r.ir_hash, s.currency, sum(s.input_tokens)::bigint AS input_tokens, sum(s.output_tokens)::bigint AS output_tokens,
       sum(s.cost)::bigint AS cost
  FROM run_spending s JOIN runs r USING (run_id)
 WHERE r.env = $1 AND r.ir_hash = ANY($2::text[])
 GROUP BY r.ir_hash, s.currency

-- name: of_runs
SELECT run_id, currency, calls, input_tokens, output_tokens, cached_tokens, cost, unpriced, unknown
  FROM run_spending WHERE run_id = ANY($1::text[])
 ORDER BY run_id, currency
