"""``courante schema``: the JSON Schema of workflow files, for editors."""

from __future__ import annotations

import click

from ...compiler.schema import workflow_json_schema
from ..call import Call, json_option, with_call


@click.command()
@json_option
@with_call
def schema(call: Call) -> None:
    """Print the JSON Schema of workflow files.

    Editors complete and check with it: 'courante schema > workflow.schema.json'.
    """
    found = workflow_json_schema()
    call.out.json(found)
    call.out.value(found)
