"""Examples: what is shown below the help of a command, by its words. A test reads each as the command would."""

from __future__ import annotations

from collections.abc import Sequence

import click

EXAMPLES: dict[str, tuple[str, ...]] = {
    "validate": ("validate shop.yaml", "validate shop.yaml --json"),
    "graph": ("graph shop.yaml", "graph shop --version 3 --format dot"),
    "convert": ("convert shop.yaml --to json", "convert flow.py"),
    "init": ("init shop.yaml",),
    "run": (
        "run shop.yaml --input amount=30 --app shop",
        "run shop --input-file order.json --key order-7 --detach",
        "run report --start-at 2h --tag nightly",
    ),
    "status": ("status run_01K3... --watch",),
    "runs": ("runs --workflow shop --status FAILED --since 2h", "runs --search order-7"),
    "events": ("events run_01K3... --follow", "events run_01K3... --step charge --type 'step.*' --payloads"),
    "logs": ("logs run_01K3... --step charge --follow",),
    "artifacts": ("artifacts run_01K3...", "artifacts run_01K3... 3f9a --output page.html"),
    "replay": (
        "replay run_01K3... --verify",
        "replay run_01K3... --diff 4 12",
        "replay --what-if shop.yaml --workflow shop --since 7d",
    ),
    "audit export": ("audit export --workflow shop --since 7d --output shop.jsonl --sign courante-audit.pem",),
    "audit verify": ("audit verify shop.jsonl --key courante-audit.pem.pub",),
    "approve": ("approve run_01K3...", """approve run_01K3... review --data '{"score": 4}' --reason 'as agreed'"""),
    "reject": ("reject run_01K3... review --reason 'too dear'",),
    "signal": ("""signal run_01K3... payment --data '{"amount": 30}'""",),
    "cancel": ("cancel run_01K3... --reason 'asked for twice'", "cancel run_01K3... --step notify"),
    "pause": ("pause run_01K3...", "pause --workflow shop --reason 'the bank is away'", "pause --queue gpu"),
    "resume": ("resume run_01K3...", "resume --queue gpu"),
    "cache invalidate": ("cache invalidate --workflow shop --step price --older-than 7d --dry-run",),
    "budget": ("budget run_01K3... --add-tokens 100000", "budget run_01K3... --add-cost 2.50"),
    "force": ("""force run_01K3... charge succeed --data '{"receipt": "R7"}'""", "force run_01K3... notify skip"),
    "dlq list": ("dlq list --workflow shop --kind retryable --since 2h",),
    "dlq requeue": ("dlq requeue --workflow shop --error TIMEOUT --dry-run", "dlq requeue run_01K3..."),
    "migrate-run": ("migrate-run run_01K3... --to latest --dry-run",),
    "retry": ("retry run_01K3... --version latest --dry-run", "retry --workflow shop --since 1h"),
    "rerun": ("rerun run_01K3... --from price --dry-run",),
    "rebuild": ("rebuild run_01K3... --change prices --dry-run", "rebuild --workflow shop --since 7d --change prices"),
    "fork": ("fork run_01K3... --at 42 --dry-run", """fork run_01K3... --at 42 --override 'price={"sum": 7}'"""),
    "forget": ("forget run_01K3... --reason 'asked by the customer'", "forget --workflow shop --before 30d --dry-run"),
    "schedules create": (
        "schedules create nightly report --cron '30 3 * * *' --timezone Europe/Berlin",
        "schedules create pulse check --every 10m --input depth=2",
    ),
    "schedules next": ("schedules next --cron '30 3 * * MON-FRI' --count 3",),
    "schedules backfill": ("schedules backfill nightly --since 7d",),
    "up": ("up --app shop --workers 2", "up --detach"),
    "worker": ("worker --app shop --queues default,gpu --concurrency 16",),
    "api": ("api --port 8420",),
    "keys create": ("keys create ann@laptop --scope read --scope approve --expires 90d",),
    "webhooks add": ("webhooks add pager https://pager.example/courante --on run.failed --on alert",),
    "retain": ("retain --dry-run",),
    "migrate": ("migrate --append-role courante_append --read-role courante_read",),
    "bench": ("bench throughput --repetitions 5",),
}


def with_examples(command: click.Command, words: Sequence[str]) -> click.Command:
    """Let the help of a command, and of those inside of it, end with their examples."""
    found = EXAMPLES.get(" ".join(words), ())
    if found and command.epilog is None:
        title = "Example:" if len(found) == 1 else "Examples:"
        command.epilog = "\n".join(["\b", title, *(f"  courante {line}" for line in found)])
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            with_examples(inner, [*words, name])
    return command
