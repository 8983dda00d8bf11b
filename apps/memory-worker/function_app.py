"""memory-worker: the triggers. What they do is in the library, `thermocline.functions.worker`; what they are bound to is in README.md."""

import json

import azure.functions as func

from thermocline.functions.worker import WORKER

app = func.FunctionApp()


@app.function_name("settle_changes")
@app.cosmos_db_trigger(
    arg_name="documents",
    connection="COSMOS",
    database_name="%COSMOS_DATABASE%",
    container_name="%COSMOS_CONTAINER%",
    lease_container_name="%THERMOCLINE_LEASES_CONTAINER%",
    create_lease_container_if_not_exists=False,
    start_from_beginning=True,  # type: ignore[arg-type]  # the host takes a truth value, and the SDK's annotation is wrong
    max_items_per_invocation=100,
    feed_poll_delay=5000,
)
@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
async def settle_changes(documents: func.DocumentList) -> None:
    """Every write, from the change feed into hot."""
    await WORKER.settle_changes([*documents])


@app.function_name("sweep")
@app.timer_trigger(arg_name="timer", schedule="%THERMOCLINE_SWEEP_SCHEDULE%", run_on_startup=False, use_monitor=True)
async def sweep(timer: func.TimerRequest) -> None:
    """A slice of the sweep."""
    await WORKER.sweep()


@app.function_name("replay_dead_letters")
@app.timer_trigger(arg_name="timer", schedule="%THERMOCLINE_REPLAY_SCHEDULE%", run_on_startup=False, use_monitor=True)
async def replay_dead_letters(timer: func.TimerRequest) -> None:
    """What was set aside while a part of hot was unavailable."""
    await WORKER.replay_dead_letters()


@app.function_name("vault_event")
@app.queue_trigger(arg_name="message", connection="EVENTS", queue_name="%THERMOCLINE_VAULT_EVENTS_QUEUE%")
async def vault_event(message: func.QueueMessage) -> None:
    """A secret or key of the vault changed, or nears its expiry."""
    await WORKER.vault_event(message.get_body())


@app.function_name("health")
@app.route(route="health", trigger_arg_name="request", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(request: func.HttpRequest) -> func.HttpResponse:
    """How the worker is, and what is missing of its settings."""
    found = await WORKER.health()
    return func.HttpResponse(
        json.dumps(found.document, default=str), status_code=found.status, mimetype="application/json"
    )
