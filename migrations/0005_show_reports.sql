-- Reports and the names that older systems know are views over the projections: they cost no writes.
-- deploy: before

CREATE VIEW run_list AS
SELECT r.run_id, r.env, r.partition, r.workflow, r.version, r.ir_hash, r.status, r.trigger, r.base_run_id, r.by, r.tags,
       r.output_seq, r.error, r.drain_reason, r.is_halted, r.created_at, r.started_at, r.finished_at,
       r.status = 'RUNNING'
         AND EXISTS (SELECT FROM node_executions n WHERE n.run_id = r.run_id AND n.status = 'WAITING')
         AND NOT EXISTS (SELECT FROM node_executions n WHERE n.run_id = r.run_id AND n.status IN ('RUNNING', 'RETRYING'))
         AS is_waiting
  FROM runs r
UNION ALL
SELECT c.run_id, c.env, c.partition, c.workflow, c.version, c.ir_hash, 'PENDING', c.trigger, c.base_run_id, c.by, c.tags,
       NULL, NULL, NULL, false, c.created_at, NULL, NULL, false
  FROM commands c
 WHERE c.type = 'start'
   AND c.xact >= coalesce((SELECT m.xact FROM reconciler_marks m WHERE m.env = c.env AND m.partition = c.partition), '0')
   AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = c.run_id);
COMMENT ON VIEW run_list IS 'All runs: the recorded ones, and as PENDING those that were accepted and not yet recorded.';

CREATE VIEW run_statistics AS
SELECT r.run_id, r.env, r.workflow, r.version, r.status,
       count(n.run_id) AS executions,
       count(*) FILTER (WHERE n.status = 'SUCCEEDED') AS succeeded,
       count(*) FILTER (WHERE n.status = 'FAILED') AS failed,
       count(*) FILTER (WHERE n.status = 'SKIPPED') AS skipped,
       count(*) FILTER (WHERE n.status = 'CANCELLED') AS cancelled,
       count(*) FILTER (WHERE n.status = 'RUNNING') AS running,
       count(*) FILTER (WHERE n.status = 'WAITING') AS waiting,
       count(*) FILTER (WHERE n.status = 'RETRYING') AS retrying,
       count(*) FILTER (WHERE n.attempt > 1) AS retries,
       coalesce(sum(n.ms), 0)::bigint AS handler_ms,
       (extract(epoch FROM coalesce(r.finished_at, now()) - r.started_at) * 1000)::bigint AS elapsed_ms
  FROM runs r LEFT JOIN node_executions n USING (run_id)
 GROUP BY r.run_id;
COMMENT ON VIEW run_statistics IS 'Per run: executions by status, and durations in milliseconds.';

CREATE VIEW workflow_statistics AS
SELECT env, workflow,
       count(*) AS runs,
       count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
       count(*) FILTER (WHERE status = 'TIMED_OUT') AS timed_out,
       count(*) FILTER (WHERE finished_at IS NULL) AS active,
       (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) * 1000)::bigint AS p50_ms,
       (percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) * 1000)::bigint AS p99_ms,
       max(created_at) AS last_created_at
  FROM runs
 GROUP BY env, workflow;
COMMENT ON VIEW workflow_statistics IS 'Per workflow: runs by status, and durations of finished runs in milliseconds.';

CREATE VIEW tasks AS
SELECT n.env, n.workflow AS workflow_id, n.version, n.node AS id, n.name, n.type, n.config, n.requires_approval, n.position
  FROM workflow_nodes n JOIN workflows w ON w.env = n.env AND w.id = n.workflow AND w.latest = n.version;
COMMENT ON VIEW tasks IS 'Nodes of the latest version of each workflow.';

CREATE VIEW dependencies AS
SELECT e.env, e.workflow AS workflow_id, e.version, e.position AS id, e.target AS task_id, e.source AS depends_on_task_id, e.kind
  FROM workflow_edges e JOIN workflows w ON w.env = e.env AND w.id = e.workflow AND w.latest = e.version;
COMMENT ON VIEW dependencies IS 'Edges of the latest version of each workflow.';

CREATE VIEW run_steps AS
SELECT run_id || '/' || node || '/' || scope || '/' || attempt AS id, env, run_id, node AS step, scope, attempt, status,
       reason, worker, started_at, finished_at, ms, error
  FROM node_executions;
COMMENT ON VIEW run_steps IS 'Executions under the name of the run engine.';

CREATE VIEW task_runs AS
SELECT n.run_id || '/' || n.node || '/' || n.scope || '/' || n.attempt AS id, n.env, n.run_id, n.node AS task_id,
       r.workflow AS workflow_id, n.scope,
       CASE WHEN n.status = 'SUCCEEDED' THEN 'SUCCESS'
            WHEN n.status = 'RETRYING' THEN 'QUEUED'
            WHEN n.status = 'WAITING' AND n.reason = 'approval' THEN 'BLOCKED'
            ELSE n.status END AS status,
       n.attempt, bytes_to_json(p.payload) AS output, n.error ->> 'message' AS error,
       n.started_at, n.finished_at, n.updated_at AS heartbeat_at, coalesce(n.started_at, n.updated_at) AS created_at
  FROM node_executions n
  JOIN runs r USING (run_id)
  LEFT JOIN event_payloads p ON p.run_id = n.run_id AND p.seq = n.output_seq;
COMMENT ON VIEW task_runs IS 'Executions under the names and status words of Relay. A large output is shown as its reference.';

CREATE VIEW artifacts AS
SELECT n.run_id || ':' || n.output_seq AS id,
       n.run_id || '/' || n.node || '/' || n.scope || '/' || n.attempt AS task_run_id,
       n.env, n.run_id, n.node, n.scope,
       convert_from(coalesce(b.content, p.payload), 'UTF8') AS content,
       'application/json'::text AS content_type,
       e.payload_digest, n.finished_at AS created_at
  FROM node_executions n
  JOIN event_log e ON e.run_id = n.run_id AND e.seq = n.output_seq
  JOIN event_payloads p ON p.run_id = e.run_id AND p.seq = e.seq AND p.at = e.at
  LEFT JOIN payloads b ON b.env = n.env AND substring(p.payload FROM 1 FOR 1) = '@'::bytea
       AND b.digest = CASE WHEN substring(p.payload FROM 1 FOR 1) = '@'::bytea
                           THEN decode(convert_from(substring(p.payload FROM 2 FOR 32), 'UTF8'), 'hex') END
 WHERE n.status = 'SUCCEEDED';
COMMENT ON VIEW artifacts IS 'Outputs of succeeded executions, exactly one each, with large ones looked up.';

CREATE VIEW applied_keys AS
SELECT env, run_id, seq, run_id || ':' || node || ':' || scope || ':' || attempt || ':' || type AS key, at
  FROM event_log
 WHERE node <> '';
COMMENT ON VIEW applied_keys IS 'Operations that took effect: run:node:scope:attempt:operation.';

CREATE VIEW loop_state AS
SELECT DISTINCT ON (decided.run_id, decided.node, decided.outer_scope)
       decided.env, decided.run_id, decided.node, decided.outer_scope AS scope, decided.iteration,
       decided.decision, decided.at AS updated_at
  FROM (SELECT env, run_id, seq, node, at, bytes_to_json(facts) ->> 'loop' AS decision,
               regexp_replace(scope, '\.?[0-9]+$', '') AS outer_scope,
               substring(scope FROM '[0-9]+$')::bigint AS iteration
          FROM event_log
         WHERE position('"loop":'::bytea IN facts) > 0) AS decided
 WHERE decided.decision IS NOT NULL
 ORDER BY decided.run_id, decided.node, decided.outer_scope, decided.seq DESC;
COMMENT ON VIEW loop_state IS 'Last decision of each loop: iteration from 1, and back, break or exhausted.';
