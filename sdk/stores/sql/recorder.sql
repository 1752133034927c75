-- name: irs_of_runs
SELECT run_id, ir_hash FROM runs WHERE run_id = ANY($1::text[])
