"""memory-api: the triggers. What is served is in the library, `thermocline.functions.api`; docs/memory-api.md has the routes."""

import azure.functions as func

from thermocline.functions.api import PROBLEM, memory_api, no_path

SERVICE = memory_api()
_ASGI = func.AsgiMiddleware(SERVICE)  # type: ignore[no-untyped-call]

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)  # tokens are checked by the service itself


@app.function_name("http")
@app.route(route="{*route}", trigger_arg_name="request", methods=[*func.HttpMethod])
async def http(request: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Every request."""
    try:
        answer: func.HttpResponse = await _ASGI.handle_async(request, context)
    except UnicodeDecodeError:  # the middleware's, for a path that is no UTF-8
        return func.HttpResponse(no_path(), status_code=400, mimetype=PROBLEM)
    return answer


@app.function_name("run_jobs")
@app.timer_trigger(arg_name="timer", schedule="%THERMOCLINE_JOBS_SCHEDULE%", run_on_startup=False, use_monitor=True)
async def run_jobs(timer: func.TimerRequest) -> None:
    """Exports and erasures whose runner died."""
    await SERVICE.run_jobs()
