-- Workflow versions and their IRs never change, so that a run stays pinned to what it started with.
-- deploy: before

-- Derived JSON of bytes that are the truth elsewhere. jsonb refuses U+0000 and what is no JSON at all; a reader must
-- never fail on one bad row, so the first is shown as U+FFFD and the second as {"raw": base64}.
CREATE FUNCTION bytes_to_json(content bytea) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN replace(convert_from(content, 'UTF8'), '\u0000', '\ufffd')::jsonb;
EXCEPTION WHEN others THEN
  RETURN jsonb_build_object('raw', encode(content, 'base64'));
END $$;

CREATE TABLE workflows (
  env text NOT NULL,
  id text NOT NULL,
  name text NOT NULL,
  latest bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT workflows_pkey PRIMARY KEY (env, id),
  CONSTRAINT workflows_latest_not_negative CHECK (latest >= 0)
);
COMMENT ON TABLE workflows IS 'One row per workflow; its content stands in workflow_versions.';
COMMENT ON COLUMN workflows.env IS 'environment name';
COMMENT ON COLUMN workflows.id IS 'workflow id, unique in its environment';
COMMENT ON COLUMN workflows.name IS 'name for people, of the latest version';
COMMENT ON COLUMN workflows.latest IS 'version that a run gets when none is asked for, from 1; 0 only while the first is being written';
COMMENT ON COLUMN workflows.created_at IS 'first registration, UTC';
COMMENT ON COLUMN workflows.updated_at IS 'last registration that moved latest, UTC';

CREATE TABLE irs (
  env text NOT NULL,
  hash text NOT NULL,
  content bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT irs_pkey PRIMARY KEY (env, hash)
);
COMMENT ON TABLE irs IS 'Compiled workflow versions, addressed by the hash of their bytes.';
COMMENT ON COLUMN irs.env IS 'environment name';
COMMENT ON COLUMN irs.hash IS 'BLAKE2b of content, 16 bytes as hex';
COMMENT ON COLUMN irs.content IS 'canonical bytes of the IR';
COMMENT ON COLUMN irs.created_at IS 'first registration, UTC';

CREATE TABLE workflow_versions (
  env text NOT NULL,
  workflow text NOT NULL,
  version bigint NOT NULL,
  ir_hash text NOT NULL,
  document bytea NOT NULL,
  document_digest bytea NOT NULL,
  source text,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT workflow_versions_pkey PRIMARY KEY (env, workflow, version),
  CONSTRAINT workflow_versions_content_key UNIQUE (env, workflow, document_digest, ir_hash),
  CONSTRAINT workflow_versions_workflow_fkey FOREIGN KEY (env, workflow) REFERENCES workflows (env, id) ON DELETE CASCADE,
  CONSTRAINT workflow_versions_ir_fkey FOREIGN KEY (env, ir_hash) REFERENCES irs (env, hash),
  CONSTRAINT workflow_versions_version_positive CHECK (version >= 1)
);
COMMENT ON TABLE workflow_versions IS 'Every content that was ever registered under a workflow id; rows never change.';
COMMENT ON COLUMN workflow_versions.env IS 'environment name';
COMMENT ON COLUMN workflow_versions.workflow IS 'workflow id';
COMMENT ON COLUMN workflow_versions.version IS 'number of the version, from 1';
COMMENT ON COLUMN workflow_versions.ir_hash IS 'hash of the IR that runs of this version execute';
COMMENT ON COLUMN workflow_versions.document IS 'normalized document, canonical JSON bytes';
COMMENT ON COLUMN workflow_versions.document_digest IS 'BLAKE2b of document, 16 bytes';
COMMENT ON COLUMN workflow_versions.source IS 'document as it was handed in; NULL where it was built by code';
COMMENT ON COLUMN workflow_versions.created_at IS 'registration, UTC';

CREATE TABLE workflow_nodes (
  env text NOT NULL,
  workflow text NOT NULL,
  version bigint NOT NULL,
  node text NOT NULL,
  position bigint NOT NULL,
  name text NOT NULL,
  type text NOT NULL,
  config jsonb NOT NULL,
  requires_approval boolean NOT NULL,
  CONSTRAINT workflow_nodes_pkey PRIMARY KEY (env, workflow, version, node),
  CONSTRAINT workflow_nodes_version_fkey FOREIGN KEY (env, workflow, version)
    REFERENCES workflow_versions (env, workflow, version) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_nodes IS 'Nodes of each version, taken out of its document by a trigger, for reports. Workers never read them.';
COMMENT ON COLUMN workflow_nodes.env IS 'environment name';
COMMENT ON COLUMN workflow_nodes.workflow IS 'workflow id';
COMMENT ON COLUMN workflow_nodes.version IS 'workflow version, from 1';
COMMENT ON COLUMN workflow_nodes.node IS 'node id';
COMMENT ON COLUMN workflow_nodes.position IS 'place in the document, from 1';
COMMENT ON COLUMN workflow_nodes.name IS 'name for people; the id where the document gives none';
COMMENT ON COLUMN workflow_nodes.type IS 'node type';
COMMENT ON COLUMN workflow_nodes.config IS 'what the type reads; templates are not expanded';
COMMENT ON COLUMN workflow_nodes.requires_approval IS 'a person must agree before the node runs';

CREATE TABLE workflow_edges (
  env text NOT NULL,
  workflow text NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  source text NOT NULL,
  target text NOT NULL,
  kind text NOT NULL,
  CONSTRAINT workflow_edges_pkey PRIMARY KEY (env, workflow, version, target, source, kind),
  CONSTRAINT workflow_edges_version_fkey FOREIGN KEY (env, workflow, version)
    REFERENCES workflow_versions (env, workflow, version) ON DELETE CASCADE
);
COMMENT ON TABLE workflow_edges IS 'Edges of each version, taken out of its document by a trigger. The key serves "all dependencies of a node".';
COMMENT ON COLUMN workflow_edges.env IS 'environment name';
COMMENT ON COLUMN workflow_edges.workflow IS 'workflow id';
COMMENT ON COLUMN workflow_edges.version IS 'workflow version, from 1';
COMMENT ON COLUMN workflow_edges.position IS 'place in the document, from 1';
COMMENT ON COLUMN workflow_edges.source IS 'node id upstream';
COMMENT ON COLUMN workflow_edges.target IS 'node id downstream';
COMMENT ON COLUMN workflow_edges.kind IS 'normal, error or exhausted';

-- Refuses a document that is no JSON object. Reads edges in all the ways a document may name them.
CREATE FUNCTION index_workflow_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  document jsonb := bytes_to_json(NEW.document);
BEGIN
  IF jsonb_typeof(document) <> 'object' OR document ? 'raw' THEN
    RAISE EXCEPTION 'the document of % is not a JSON object', NEW.workflow USING ERRCODE = 'invalid_text_representation';
  END IF;
  INSERT INTO workflow_nodes (env, workflow, version, node, position, name, type, config, requires_approval)
  SELECT NEW.env, NEW.workflow, NEW.version, n.node ->> 'id', n.position,
         coalesce(nullif(n.node ->> 'name', ''), n.node ->> 'id'), coalesce(n.node ->> 'type', ''),
         coalesce(n.node -> 'config', '{}'), coalesce((n.node ->> 'requires_approval')::boolean, false)
    FROM jsonb_array_elements(coalesce(document -> 'nodes', '[]')) WITH ORDINALITY AS n (node, position)
  ON CONFLICT ON CONSTRAINT workflow_nodes_pkey DO NOTHING;
  INSERT INTO workflow_edges (env, workflow, version, position, source, target, kind)
  SELECT NEW.env, NEW.workflow, NEW.version, row_number() OVER (), edge.source, edge.target, edge.kind
    FROM (
      SELECT up #>> '{}' AS source, n ->> 'id' AS target, 'normal' AS kind
        FROM jsonb_array_elements(coalesce(document -> 'nodes', '[]')) AS n,
             jsonb_array_elements(CASE jsonb_typeof(n -> 'depends_on') WHEN 'array' THEN n -> 'depends_on'
                                  WHEN 'string' THEN jsonb_build_array(n -> 'depends_on') ELSE '[]' END) AS up
      UNION ALL
      SELECT coalesce(e ->> 'source', e ->> 'from'), coalesce(e ->> 'target', e ->> 'to'), coalesce(e ->> 'kind', 'normal')
        FROM jsonb_array_elements(coalesce(document -> 'edges', '[]')) AS e
    ) AS edge
   WHERE edge.source IS NOT NULL AND edge.target IS NOT NULL
  ON CONFLICT ON CONSTRAINT workflow_edges_pkey DO NOTHING;
  RETURN NULL;
END $$;

CREATE TRIGGER workflow_versions_index AFTER INSERT ON workflow_versions
  FOR EACH ROW EXECUTE FUNCTION index_workflow_version();
