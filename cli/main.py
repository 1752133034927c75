"""The ``courante`` command: finds the command by name, loads only its module, and turns every error into an exit code.

Nothing but click is imported before a command runs, so that ``--help`` is quick; the table below repeats each command's
first line of help for that reason (a test holds the two against each other).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click

from .call import Call, service_options
from .examples import with_examples
from .exits import ExitCode
from .output import Output


class Entry(NamedTuple):
    """Where a command is: the module in ``commands/``, the name in it, and its line of help."""

    module: str
    name: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Workflows": {
        "validate": Entry("validate", "validate", "Check a workflow file and say everything that is wrong with it."),
        "graph": Entry("graph", "graph", "Draw a workflow as Mermaid or DOT."),
        "convert": Entry("convert", "convert", "Print a workflow file as YAML, JSON or Python."),
        "schema": Entry("schema", "schema", "Print the JSON Schema of workflow files."),
        "init": Entry("workflows", "init", "Register a workflow file; what changed becomes a new version."),
        "workflows": Entry("workflows", "workflows", "List registered workflows, or show one."),
    },
    "Runs": {
        "run": Entry("run", "run", "Run a workflow and wait for its result; works with nothing running."),
        "status": Entry("status", "status", "Show a run and its steps."),
        "runs": Entry("runs", "runs", "List runs, newest first."),
        "events": Entry("events", "events", "Show the event log of a run."),
        "logs": Entry("logs", "logs", "Show what the steps of a run say, and follow it."),
        "artifacts": Entry("artifacts", "artifacts", "List the artifacts of a run, or fetch one."),
        "replay": Entry("replay", "replay", "Rebuild a run's state from its log alone, or verify it."),
        "audit": Entry(
            "audit", "audit", "Export runs for an audit, check what was exported, and anchor what the log says."
        ),
        "approvals": Entry("decisions", "approvals", "List the steps that wait for somebody to decide."),
        "approve": Entry("decisions", "approve", "Let a step go on that waits for a decision."),
        "reject": Entry("decisions", "reject", "Let a step fail that waits for a decision."),
        "signal": Entry("control", "signal", "Send a signal to a run."),
        "cancel": Entry("control", "cancel", "Cancel a run, or one step of it."),
        "pause": Entry(
            "pauses", "pause", "Hand out no more steps of a run, a workflow or a queue until it is resumed."
        ),
        "resume": Entry("pauses", "resume", "Let a paused run, workflow or queue go on."),
        "cache": Entry("cache", "cache", "Outputs of steps that are kept: count them, or make them void."),
        "budget": Entry("budget", "budget", "Raise what the calls of models of a run may take."),
        "complete": Entry("control", "complete", "Let a step succeed that has handed out a token."),
        "fail": Entry("control", "fail", "Let a step fail that has handed out a token."),
        "force": Entry("control", "force", "Say how a step ends that waits, retries or runs."),
        "dlq": Entry("dlq", "dlq", "Steps that failed for good: list them, start their runs again, or drop them."),
        "migrate-run": Entry(
            "migrate_run", "migrate_run", "Let a live run go on with another version of its workflow."
        ),
        "retry": Entry("retry", "retry", "Start a run again from where it was before it came to a bad end."),
        "rerun": Entry("rerun", "rerun", "Execute steps of a run again, with all that follows from them."),
        "rebuild": Entry("rebuild", "rebuild", "Execute again what a change makes out of date."),
        "fork": Entry("fork", "fork", "Start a run that goes on from where another one was after one of its events."),
        "forget": Entry("forget", "forget", "Empty what ended runs have said and made, for good."),
        "schedules": Entry("schedules", "schedules", "Start workflows by the clock: cron or intervals."),
    },
    "Services": {
        "up": Entry("up", "up", "Start everything on this machine: servers, workers, supervisor, API."),
        "down": Entry("up", "down", "Stop what 'up' started, and the embedded servers."),
        "worker": Entry("daemons", "worker", "Run a worker until it is told to stop."),
        "supervisor": Entry("daemons", "supervisor", "Run a supervisor until it is told to stop."),
        "api": Entry("api", "api", "Serve the HTTP API until it is told to stop."),
        "doctor": Entry("doctor", "doctor", "Say what is used and whether it is safe."),
        "health": Entry("health", "health", "Say in one word whether all is well, and what is not."),
        "keys": Entry("keys", "keys", "Keys of the HTTP API: make, list and revoke them."),
        "webhooks": Entry("webhooks", "webhooks", "Tell others of ends of runs, approvals and alerts."),
        "statistics": Entry("statistics", "statistics", "Count runs, steps and retries, and how long they took."),
        "retain": Entry("retain", "retain", "Archive, forget and delete what is older than the policy says."),
        "recover": Entry("recover", "recover", "Rebuild what Redis has lost from the log, by hand."),
        "migrate": Entry("migrate", "migrate", "Bring the database schema up to date."),
        "config": Entry("config", "config", "Show every setting, and where it comes from."),
        "bench": Entry("bench", "bench", "Measure one question on this machine."),
    },
}
ENTRIES: dict[str, Entry] = {name: entry for entries in SECTIONS.values() for name, entry in entries.items()}


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f".commands.{entry.module}", package=__package__)
        command = getattr(module, entry.name)
        assert isinstance(command, click.Command)
        return with_examples(command, [cmd_name])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in ENTRIES and not args[0].startswith("-"):
            from ..compiler.diagnostics import did_you_mean

            near = did_you_mean(args[0], ENTRIES)
            raise click.UsageError(f"there is no command {args[0]!r}{'; ' + near if near else ''}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        for section, entries in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from .. import __version__

        click.echo(f"courante {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings: options, then COURANTE_* variables, then courante.toml. 'courante COMMAND --help' says more.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@service_options
def cli() -> None:
    """An event-sourced choreography engine on Redis Streams and Postgres."""


def run_cli(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code. Writes to stdout and stderr, raises nothing."""
    call = Call()
    try:
        code = cli.main(args=list(argv), prog_name="courante", obj=call, standalone_mode=False)
        return int(code or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted(Output(is_json=call.is_json))
    except click.ClickException as error:
        return _usage(error, Output(is_json=call.is_json or "--json" in argv), argv)
    except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it is told
        return _failed(error, Output(is_json=call.is_json))


def _interrupted(out: Output) -> int:
    if out.is_json:
        out.error("interrupted", "interrupted", "")
    else:
        sys.stderr.write("interrupted\n")
    return ExitCode.INTERRUPTED


def _usage(error: click.ClickException, out: Output, argv: Sequence[str]) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=out.is_json)
        if out.is_json:
            out.error("usage", "no command was given", "see 'courante --help'")
        return ExitCode.USAGE
    hint = f"see '{' '.join(['courante', *_commands(argv)])} --help'"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"{error.ctx.get_usage().replace('Usage: ', 'usage: ')}; see '{error.ctx.command_path} --help'"
    out.error("usage", " ".join(error.format_message().split()), hint)
    return ExitCode.USAGE


def _commands(argv: Sequence[str]) -> list[str]:
    """The command that was named, and one inside it: click does not always say."""
    group: click.Group = cli
    context, names = click.Context(cli), list[str]()
    for word in argv:
        found = group.get_command(context, word)
        if found is None:
            break
        names.append(word)
        if not isinstance(found, click.Group):
            break
        group = found
    return names


def _failed(error: Exception, out: Output) -> int:
    from .exits import explain

    known = explain(error)
    if known is None:
        from ..sdk.secrets.redaction import REDACTOR

        sys.stderr.write(REDACTOR.redact("".join(traceback.format_exception(error))))
        message = REDACTOR.redact(f"{type(error).__name__}: {error}")
        out.error("internal_error", message, "this is a fault of courante: please report it")
        return ExitCode.INVALID
    if known.exit_code == ExitCode.OK:
        return ExitCode.OK
    if known.exit_code == ExitCode.INTERRUPTED and not out.is_json:  # as asked: no error
        out.note(known.message)
        out.note(known.hint)
    else:
        out.error(known.code, known.message, known.hint)
    return known.exit_code
