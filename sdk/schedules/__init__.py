"""Schedules: runs that the clock starts. One noun per module; what is pure stands apart from what asks servers.

``schedule`` (what a user asks for), ``cron``, ``interval`` and ``cadence`` (its times), ``plan`` (which of the times
that have come are started), ``overlap`` (what happens while an earlier run goes on), ``ticker`` (does it, on Postgres),
``face`` (what a client offers).
"""
