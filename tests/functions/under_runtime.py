"""Run by Python 3.13 with azure-functions-runtime: index an app, and invoke its functions, as Azure's worker does.

``python under_runtime.py FOLDER`` reads a JSON list of invocations from stdin and prints one JSON object. The host's side of the conversation
(protobuf messages) is stood in for by plain objects with the same names; indexing, checking, converting and calling are the runtime's own.
"""

import asyncio
import importlib
import json
import os
import sys
from typing import Any

runtime: Any = importlib.import_module("azure_functions_runtime")  # only there where Python is 3.13


class Message:
    """A protobuf message of any kind: its fields as they were given."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def WhichOneof(self, group: str) -> str | None:
        return next(iter(self.__dict__), None)


class BindingInfo(Message):
    out, inout, undefined = 1, 2, 0


class StatusResult(Message):
    Failure, Success = 0, 1


class Protos:
    """The module of messages that the worker's process hands to the runtime."""

    BindingInfo = BindingInfo
    StatusResult = StatusResult

    def __getattr__(self, name: str) -> type[Message]:
        return Message


PROTOS = Protos()


def asked(kind: str, **fields: Any) -> Message:
    """One request of the host."""
    return Message(request=Message(**{kind: Message(**fields)}), properties={"host": "127.0.0.1", "protos": PROTOS})


def data_of(event: dict[str, Any]) -> tuple[Message, dict[str, Message]]:
    """What the host sends of an event, and its metadata."""
    if "http" in event:
        http = {"method": "GET", "url": "http://localhost/", "headers": {}, "params": {}, "query": {}, **event["http"]}
        http["body"] = Message(bytes=http.get("body", "").encode())
        return Message(http=Message(**http)), {}
    if "queue" in event:
        return Message(string=event["queue"]), {"Id": Message(string="1"), "DequeueCount": Message(string="1")}
    if "documents" in event:
        return Message(json=json.dumps(event["documents"])), {}
    return Message(json=json.dumps({"IsPastDue": False})), {}


def shown(response: Any) -> dict[str, Any]:
    """What came of an invocation."""
    if response.result.status != StatusResult.Success:
        return {"error": response.result.exception.message}
    value = response.return_value
    if value is None:
        return {"ok": True}
    http = value.http
    return {"status": int(http.status_code), "headers": dict(http.headers), "body": http.body.bytes.decode()}


async def main(folder: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    started = await runtime.worker_init_request(
        asked("worker_init_request", capabilities={}, function_app_directory=folder)
    )
    if started.result.status != StatusResult.Success:
        return {"error": started.result.exception.message}
    indexed = await runtime.functions_metadata_request(asked("functions_metadata_request"))
    functions = {found.name: found for found in indexed.function_metadata_results or ()}
    results = []
    for event in events:
        function = functions[event["function"]]
        trigger = next(
            binding for text in function.raw_bindings if (binding := json.loads(text))["type"].endswith("Trigger")
        )
        data, metadata = data_of(event)
        response = await runtime.invocation_request(
            asked(
                "invocation_request",
                invocation_id="1",
                function_id=function.function_id,
                input_data=[Parameter(trigger["name"], data)],
                trigger_metadata=metadata,
                trace_context=Message(trace_parent="", trace_state="", attributes={}),
                retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
            )
        )
        results.append(shown(response))
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "library": getattr(sys.modules.get("thermocline"), "__file__", None),
        "functions": {
            name: [json.loads(text)["type"] for text in found.raw_bindings] for name, found in functions.items()
        },
        "results": results,
    }


class Parameter:
    """A parameter's value on the wire."""

    def __init__(self, name: str, data: Message) -> None:
        self.name, self.data = name, data

    def WhichOneof(self, group: str) -> str:
        return "data"


if __name__ == "__main__":
    folder = sys.argv[1]
    sys.path.insert(0, folder)
    os.chdir(folder)
    runtime.start_threadpool_executor()
    told = asyncio.run(main(folder, json.loads(sys.stdin.read() or "[]")))
    print("TOLD " + json.dumps(told))
