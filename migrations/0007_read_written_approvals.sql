-- A document may say more of an approval than that there is one: an object stands for true.
-- deploy: before

-- Refuses a document that is no JSON object. Reads edges in all the ways a document may name them.
CREATE OR REPLACE FUNCTION index_workflow_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  document jsonb := bytes_to_json(NEW.document);
BEGIN
  IF jsonb_typeof(document) <> 'object' OR document ? 'raw' THEN
    RAISE EXCEPTION 'the document of % is not a JSON object', NEW.workflow USING ERRCODE = 'invalid_text_representation';
  END IF;
  INSERT INTO workflow_nodes (env, workflow, version, node, position, name, type, config, requires_approval)
  SELECT NEW.env, NEW.workflow, NEW.version, n.node ->> 'id', n.position,
         coalesce(nullif(n.node ->> 'name', ''), n.node ->> 'id'), coalesce(n.node ->> 'type', ''),
         coalesce(n.node -> 'config', '{}'), coalesce(n.node -> 'requires_approval' NOT IN ('false', 'null'), false)
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
