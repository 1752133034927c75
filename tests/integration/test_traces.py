"""Runs as traces: what a collector is sent, and when."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from courante.sdk.submissions.submissions import Submission
from courante.sdk.trace_context import read_traceparent, run_span_of, trace_id_of
from courante.supervisor.monitoring import traces as traces_module
from integration.cases import waits
from integration.flaky import SAID, Flaky
from integration.http_site import Answer, Asked, asks, open_site
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes spans. ``status``: of its answers."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.status = 200

    def give(self, asked: Asked) -> Answer:
        if self.status == 200:
            body = gzip.decompress(asked.body) if asked.headers.get("content-encoding") == "gzip" else asked.body
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        return Answer(status=self.status)

    async def all(self) -> list[Span]:
        return self.spans


def words(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


async def test_a_run_is_a_trace_and_attempts_are_spans(stage: Stage) -> None:
    """With the submitter as a link; what an http node calls is told the span of its attempt."""
    collector = Collector()
    async with open_site(collector.give) as site, open_site(lambda _: Answer.json("1")) as shop:
        stage.supervisor(otlp_url=f"{site.url}/v1/traces")
        stage.worker(Flaky(1).steps(), http_allow="127.0.0.1", traces=True)
        nodes = [
            step("f", "flaky", retry={"max_attempts": 2, "base": "1ms"}),
            asks(url=f"{shop.url}/pay") | {"depends_on": ["f"]},
        ]
        await stage.register(*nodes)
        submission = Submission(workflow="w", input=1, traceparent=f"00-{TRACE}-{PARENT}-01")
        run_id = await stage.client.start(submission)
        assert (await stage.result(run_id)).status == "COMPLETED"
        spans = await until(collector.all, lambda found: len(found) == 4)
    root, failed, mended, called = spans
    assert (root.name, words(root)["courante.status"], root.status.code) == (
        "run w",
        "COMPLETED",
        Status.STATUS_CODE_OK,
    )
    assert {span.trace_id for span in spans} == {trace_id_of(run_id).to_bytes(16)}
    assert root.span_id == run_span_of(run_id).to_bytes(8)
    assert {span.parent_span_id for span in spans[1:]} == {root.span_id}
    (link,) = root.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE, PARENT)
    assert [words(span)["courante.outcome"] for span in (failed, mended, called)] == [
        "retried",
        "succeeded",
        "succeeded",
    ]
    assert (words(failed)["courante.attempt"], words(mended)["courante.attempt"]) == (1, 2)
    assert (failed.status.code, words(failed)["error.type"]) == (Status.STATUS_CODE_ERROR, "AGAIN")
    assert SAID not in str(spans)
    for span in spans[1:]:
        assert root.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    assert "run.completed" in [event.name for event in root.events]
    (asked,) = shop.asked
    sent = read_traceparent(asked.headers["traceparent"])
    assert sent is not None
    assert (sent.trace_id.to_bytes(16), sent.span_id.to_bytes(8)) == (called.trace_id, called.span_id)


async def test_a_collector_that_is_away_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended meanwhile is sent when it is back, once; of a caller that records nothing it is not."""
    monkeypatch.setattr(traces_module, "LOOK_S", 0.05)
    monkeypatch.setattr(traces_module, "BACKOFF_S_MAX", 0.1)
    collector = Collector()
    collector.status = 400
    async with open_site(collector.give) as site:
        stage.supervisor(otlp_url=f"{site.url}/v1/traces")
        stage.worker()
        await stage.register(waits("w", name="go"))
        ids = [await stage.client.submit("w", number) for number in range(2)]
        silent = await stage.client.start(Submission(workflow="w", input=9, traceparent=f"00-{TRACE}-{PARENT}-00"))
        for run_id in (*ids, silent):
            await stage.client.signal(run_id, "go")
            assert (await stage.result(run_id)).status == "COMPLETED"

        async def asked() -> int:
            return len(site.asked)

        await until(asked, lambda count: count > 1)
        assert collector.spans == []
        collector.status = 200
        await until(collector.all, lambda found: len(found) >= 4)
        assert sorted(words(span)["courante.run_id"] for span in collector.spans if span.name == "run w") == sorted(ids)


async def test_without_the_setting_nothing_is_sent(stage: Stage) -> None:
    """Neither spans nor headers."""
    async with open_site(lambda _: Answer.json("1")) as shop:
        supervisor = stage.supervisor()
        stage.worker(http_allow="127.0.0.1")
        assert (await stage.run(await stage.register(asks(url=shop.url)), 1)).status == "COMPLETED"
        assert "traceparent" not in shop.asked[0].headers
        assert supervisor.series() == []
