-- What was asked of a run and has not reached it is found at the cost of what is missing.
-- deploy: before

ALTER TABLE runs ADD COLUMN last_command bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN runs.last_command IS 'number of the last command that the log has; 1 is the start';

ALTER TABLE reconciler_marks ADD COLUMN command_xact xid8 NOT NULL DEFAULT '0';
COMMENT ON COLUMN reconciler_marks.command_xact IS 'every command of an older transaction is in the log, or its run has ended';

CREATE INDEX commands_other_xact_idx ON commands (env, partition, xact) WHERE type <> 'start';

-- What is queued again after a wait is neither waiting nor running.
ALTER TABLE node_executions DROP CONSTRAINT node_executions_status_known;
ALTER TABLE node_executions ADD CONSTRAINT node_executions_status_known CHECK (
  status IN ('READY', 'RUNNING', 'WAITING', 'RETRYING', 'SUCCEEDED', 'FAILED', 'SKIPPED', 'CANCELLED'));
COMMENT ON COLUMN node_executions.status IS 'READY, RUNNING, WAITING, RETRYING, SUCCEEDED, FAILED, SKIPPED or CANCELLED';
ALTER TABLE node_executions ADD COLUMN escalated_at timestamptz;
COMMENT ON COLUMN node_executions.escalated_at IS 'when somebody else was told that it waits for a decision, UTC; NULL before';
DROP INDEX node_executions_open_idx;
DROP INDEX node_executions_open_run_idx;
CREATE INDEX node_executions_open_idx ON node_executions (status, run_id)
  WHERE status IN ('READY', 'RUNNING', 'WAITING', 'RETRYING');
CREATE INDEX node_executions_open_run_idx ON node_executions (run_id)
  WHERE status IN ('READY', 'RUNNING', 'WAITING', 'RETRYING');
CREATE INDEX node_executions_asking_idx ON node_executions (env, updated_at, run_id)
  WHERE status = 'WAITING' AND reason = 'approval';

CREATE VIEW pending_approvals AS
SELECT n.env, n.run_id, r.workflow, r.version, r.ir_hash, n.node, n.scope, n.attempt, n.updated_at AS asked_at,
       n.due_at AS expires_at, n.escalated_at
  FROM node_executions n JOIN runs r USING (run_id)
 WHERE n.status = 'WAITING' AND n.reason = 'approval';
COMMENT ON VIEW pending_approvals IS 'Steps that wait for a person to decide; whom to escalate to stands in the document.';

CREATE OR REPLACE VIEW run_list AS
SELECT r.run_id, r.env, r.partition, r.workflow, r.version, r.ir_hash, r.status, r.trigger, r.base_run_id, r.by, r.tags,
       r.output_seq, r.error, r.drain_reason, r.is_halted, r.created_at, r.started_at, r.finished_at,
       r.status = 'RUNNING'
         AND EXISTS (SELECT FROM node_executions n WHERE n.run_id = r.run_id AND n.status = 'WAITING')
         AND NOT EXISTS (
           SELECT FROM node_executions n WHERE n.run_id = r.run_id AND n.status IN ('READY', 'RUNNING', 'RETRYING'))
         AS is_waiting
  FROM runs r
UNION ALL
SELECT c.run_id, c.env, c.partition, c.workflow, c.version, c.ir_hash, 'PENDING', c.trigger, c.base_run_id, c.by, c.tags,
       NULL, NULL, NULL, false, c.created_at, NULL, NULL, false
  FROM commands c
 WHERE c.type = 'start'
   AND c.xact >= coalesce((SELECT m.xact FROM reconciler_marks m WHERE m.env = c.env AND m.partition = c.partition), '0')
   AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = c.run_id);

CREATE OR REPLACE VIEW task_runs AS
SELECT n.run_id || '/' || n.node || '/' || n.scope || '/' || n.attempt AS id, n.env, n.run_id, n.node AS task_id,
       r.workflow AS workflow_id, n.scope,
       CASE WHEN n.status = 'SUCCEEDED' THEN 'SUCCESS'
            WHEN n.status IN ('READY', 'RETRYING') THEN 'QUEUED'
            WHEN n.status = 'WAITING' AND n.reason = 'approval' THEN 'BLOCKED'
            ELSE n.status END AS status,
       n.attempt, bytes_to_json(p.payload) AS output, n.error ->> 'message' AS error,
       n.started_at, n.finished_at, n.updated_at AS heartbeat_at, coalesce(n.started_at, n.updated_at) AS created_at
  FROM node_executions n
  JOIN runs r USING (run_id)
  LEFT JOIN event_payloads p ON p.run_id = n.run_id AND p.seq = n.output_seq;
