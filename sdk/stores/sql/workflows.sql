-- name: lock_workflow
INSERT INTO workflows (env, id, name, latest) VALUES ($1, $2, $3, 0)
ON CONFLICT ON CONSTRAINT workflows_pkey DO UPDATE SET id = excluded.id
RETURNING latest

-- name: insert_ir
INSERT INTO irs (env, hash, content) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT irs_pkey DO NOTHING

-- name: find_version
SELECT version FROM workflow_versions
 WHERE env = $1 AND workflow = $2 AND document_digest = $3 AND ir_hash = $4

-- name: insert_version
INSERT INTO workflow_versions (env, workflow, version, ir_hash, document, document_digest, source)
SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6
  FROM workflow_versions WHERE env = $1 AND workflow = $2
RETURNING version

-- name: move_latest
UPDATE workflows SET latest = $3, name = $4, updated_at = now()
 WHERE env = $1 AND id = $2 AND (latest, name) IS DISTINCT FROM ($3, $4)

-- name: get_latest
SELECT v.workflow, w.name, v.version, v.ir_hash, v.document, v.source, v.created_at,
       EXISTS (SELECT FROM pauses p WHERE p.env = v.env AND p.kind = 'workflow' AND p.name = v.workflow
                 AND p.resumed_at IS NULL) AS is_paused
  FROM workflow_versions v JOIN workflows w ON w.env = v.env AND w.id = v.workflow AND w.latest = v.version
 WHERE v.env = $1 AND v.workflow = $2

-- name: get_version
SELECT v.workflow, w.name, v.version, v.ir_hash, v.document, v.source, v.created_at,
       EXISTS (SELECT FROM pauses p WHERE p.env = v.env AND p.kind = 'workflow' AND p.name = v.workflow
                 AND p.resumed_at IS NULL) AS is_paused
  FROM workflow_versions v JOIN workflows w ON w.env = v.env AND w.id = v.workflow
 WHERE v.env = $1 AND v.workflow = $2 AND v.version = $3

-- name: get_ir
SELECT content FROM irs WHERE env = $1 AND hash = $2

-- name: list_workflows
SELECT w.id, w.name, w.latest, w.created_at, w.updated_at,
       (SELECT count(*) FROM workflow_versions v WHERE v.env = w.env AND v.workflow = w.id) AS versions,
       (SELECT count(*) FROM workflow_nodes n WHERE n.env = w.env AND n.workflow = w.id AND n.version = w.latest) AS nodes,
       (SELECT count(*) FROM workflow_edges e WHERE e.env = w.env AND e.workflow = w.id AND e.version = w.latest) AS edges
  FROM workflows w
 WHERE w.env = $1 AND w.id > $2
 ORDER BY w.id
 LIMIT $3

-- name: list_versions
SELECT v.workflow, w.name, v.version, v.ir_hash, v.document, v.source, v.created_at,
       EXISTS (SELECT FROM pauses p WHERE p.env = v.env AND p.kind = 'workflow' AND p.name = v.workflow
                 AND p.resumed_at IS NULL) AS is_paused
  FROM workflow_versions v JOIN workflows w ON w.env = v.env AND w.id = v.workflow
 WHERE v.env = $1 AND v.workflow = $2
 ORDER BY v.version

-- name: ir_hashes
SELECT hash FROM irs WHERE env = $1

-- name: read_irs
SELECT hash, content FROM irs WHERE env = $1 AND hash > $2 ORDER BY hash LIMIT $3
