"""``courante config``: every setting that is in force, and where it comes from."""

from __future__ import annotations

import click
from click import style

from ...sdk.settings import DEFAULT, unknown_variables, variable_of
from ..call import Call, service_options, with_call


@click.command()
@service_options
@with_call
def config(call: Call) -> None:
    """Show every setting, and where it comes from.

    An option of the command wins over a COURANTE_* variable, that over courante.toml in the current directory (or the
    file that COURANTE_CONFIG names), that over the default. Passwords are masked.
    """
    settings, sources = call.settings_and_sources
    shown = settings.show()
    unknown = unknown_variables()
    call.out.json(
        {
            "settings": {
                name: {"value": value, "source": sources[name], "variable": variable_of(name)}
                for name, value in shown.items()
            },
            "unknown": unknown,
        }
    )
    rows = [
        [name, _text(name, value), style(sources[name], dim=True) if sources[name] == DEFAULT else sources[name]]
        for name, value in shown.items()
    ]
    call.out.table(["setting", "value", "source"], rows)
    for warning in unknown:
        call.out.note(f"{call.out.glyph('warning')} {warning}")


def _text(name: str, value: object) -> str:
    if value is None:
        return "(embedded)" if name in ("redis_url", "database_url") else "(none)"
    return str(value).lower() if isinstance(value, bool) else str(value)
