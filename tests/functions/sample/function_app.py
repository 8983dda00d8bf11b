"""An app with one function of each kind that the local host serves; what happens to it stands in the file that SAMPLE_LOG names."""

import json
import os
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def note(what: str, **more: Any) -> None:
    with Path(os.environ["SAMPLE_LOG"]).open("a") as log:
        log.write(json.dumps({"what": what, **more}) + "\n")


@app.route("echo/{name}/{*rest}", methods=["GET", "POST", "HEAD"])
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    told = {
        "function": context.function_name,
        "method": req.method,
        "url": req.url,
        "route": dict(req.route_params),
        "query": dict(req.params),
        "header": req.headers.get("x-sample"),
        "body": req.get_body().decode(),
    }
    return func.HttpResponse(json.dumps(told), status_code=203, headers={"x-made": "here"}, mimetype="application/json")


@app.route("echo/fixed/word", methods=["GET"])
def fixed(req: func.HttpRequest) -> func.HttpResponse:
    """In a thread, for it is no coroutine."""
    return func.HttpResponse("fixed")


@app.route("breaks", methods=["GET"])
async def breaks(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("a secret of the inside")


@app.timer_trigger(arg_name="timer", schedule="%SAMPLE_SCHEDULE%")
async def tick(timer: func.TimerRequest) -> None:
    if os.environ.get("SAMPLE_TICK") == "breaks":
        raise ValueError("the timer broke")
    note("tick", past_due=timer.past_due)


@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
@app.cosmos_db_trigger(
    arg_name="documents",
    connection="COSMOS",
    database_name="%COSMOS_DATABASE%",
    container_name="%COSMOS_CONTAINER%",
    lease_container_name="leases",
    create_lease_container_if_not_exists=False,
    start_from_beginning=True,  # type: ignore[arg-type]  # annotated as a time there
    max_items_per_invocation=4,
)
async def changes(documents: func.DocumentList, context: func.Context) -> None:
    ids = [document["id"] for document in documents]
    poison = Path(os.environ["SAMPLE_LOG"]).with_suffix(".poison")
    failing = poison.exists() and int(poison.read_text()) > context.retry_context.retry_count
    note("changes", ids=ids, retry=context.retry_context.retry_count, failing=failing)
    if failing:
        raise ValueError("poison")


@app.queue_trigger(arg_name="message", connection="EVENTS", queue_name="%SAMPLE_QUEUE%")
async def events(message: func.QueueMessage) -> None:
    body = message.get_body().decode()
    note("events", body=body, count=message.dequeue_count)
    if body == "poison":
        raise ValueError("no such event")
