"""What is wrong with an app is said in words when it is indexed: in Azure most of this shows only as "no functions found"."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.functions.grounds import SAMPLE
from tests.functions.runtime_313 import under_runtime

from thermocline.testing.functions import BadApp
from thermocline.testing.functions.indexing import loaded

START = "import azure.functions as func\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
GET = "@app.route('a', methods=['GET'])\nasync def a(req: func.HttpRequest) -> func.HttpResponse: ...\n"
TIMER = "@app.timer_trigger(arg_name='timer', schedule='0 0 * * * *')\n"
FEED = "@app.cosmos_db_trigger(arg_name='documents', connection='COSMOS', database_name='d', container_name='c'"


def made(folder: Path, code: str, host: str = '{"version": "2.0"}') -> Path:
    (folder / "function_app.py").write_text(code)
    (folder / "host.json").write_text(host)
    return folder


BROKEN = {
    "an import fails": (
        "import no_such_package\n",
        "cannot be imported: ModuleNotFoundError: No module named 'no_such",
    ),
    "its syntax": ("def f(:\n", "cannot be imported: SyntaxError"),
    "no app": ("import azure.functions as func\n", "has no FunctionApp at its top level"),
    "two apps": (START + "other = func.FunctionApp()\n" + GET, "has 2 FunctionApps"),
    "no functions": (START, "has no functions"),
    "one name twice": (START + GET + GET, "does not have a unique function name"),
    "names differ by case": (
        START + GET + GET.replace("'a'", "'b'").replace("def a", "def A"),
        "two functions have the name A",
    ),
    "one route twice": (START + GET + GET.replace("def a", "def b"), "a and b both take GET api/a"),
    "two triggers": (START + TIMER + GET, "A trigger was already registered"),
    "an unknown binding": (
        START + "@app.blob_trigger(arg_name='x', path='p', connection='C')\ndef f(x: func.InputStream) -> None: ...\n",
        "this host knows no binding blobTrigger",
    ),
    "a misspelled option": (
        START + FEED + ", lease_container_nam='l')\ndef f(documents: func.DocumentList) -> None: ...\n",
        "cosmosDBTrigger has no option leaseContainerNam; did you mean leaseContainerName?",
    ),
    "a parameter without binding": (
        START + TIMER + "def f(timer: func.TimerRequest, x: int) -> None: ...\n",
        "its parameter x has no binding",
    ),
    "a binding without parameter": (START + TIMER + "def f() -> None: ...\n", "its binding timer has no parameter"),
    "a wrong annotation": (
        START + TIMER + "def f(timer: func.HttpRequest) -> None: ...\n",
        "HttpRequest, which does not fit timerTrigger",
    ),
    "a wrong return": (START + GET.replace("func.HttpResponse:", "int:"), "to return int, which does not fit http"),
    "an annotation that is nothing": (
        START + TIMER + "def f(timer: 'Nothing') -> None: ...\n",
        "annotations cannot be read",
    ),
    "a schedule": (
        START + "@app.timer_trigger(arg_name='t', schedule='hourly')\ndef f(t: func.TimerRequest) -> None: ...\n",
        "schedule 'hourly' is none",
    ),
    "a connection in percent signs": (
        START + FEED.replace("'COSMOS'", "'%COSMOS%'") + ")\ndef f(documents: func.DocumentList) -> None: ...\n",
        "connection names a setting by itself",
    ),
    "a retry without effect": (
        START + "@app.retry(strategy='fixed_delay', max_retry_count='3', delay_interval='00:00:01')\n" + GET,
        "has no effect on httpTrigger",
    ),
    "a retry's delay": (
        START
        + "@app.retry(strategy='fixed_delay', max_retry_count='-1', delay_interval='5')\n"
        + TIMER
        + "def f(timer: func.TimerRequest) -> None: ...\n",
        "write it as HH:MM:SS",
    ),
    "a retry's strategy": (
        START
        + "@app.retry(strategy='often', max_retry_count='-1', delay_interval='00:00:01')\n"
        + TIMER
        + "def f(timer: func.TimerRequest) -> None: ...\n",
        "fixed_delay or exponential_backoff",
    ),
    "an output binding": (
        START
        + TIMER
        + "@app.queue_output(arg_name='out', queue_name='q', connection='C')\ndef f(timer: func.TimerRequest, out: func.Out[str]) -> None: ...\n",
        "knows no binding queue",
    ),
    "a context of another type": (
        START + TIMER + "def f(timer: func.TimerRequest, context: int) -> None: ...\n",
        "context must be an azure.functions.Context",
    ),
    "a method": (START + GET.replace("'GET'", "'TRACE'"), "TRACE"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_said(what: str, tmp_path: Path) -> None:
    code, said = BROKEN[what]
    with pytest.raises(BadApp) as refused, loaded(made(tmp_path, code)):
        raise AssertionError("it was indexed")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("// why\n{}", "is no JSON (it allows no comments)"),
        ("{}", '"version": "2.0"'),
        ('{"version": "2.0", "extension": {}}', "has extension, which host.json does not know"),
        ('{"version": "2.0", "extensions": {"queues": {"visibilityTimeout": "soon"}}}', "no time as HH:MM:SS"),
    ],
)
def test_a_host_file_that_the_host_would_refuse(host: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadApp) as refused, loaded(made(tmp_path, START + GET, host)):
        raise AssertionError("it was indexed")

    assert said in str(refused.value)


def test_folders_that_hold_no_app(tmp_path: Path) -> None:
    with pytest.raises(BadApp, match=r"holds no host\.json"), loaded(tmp_path):
        raise AssertionError("it was indexed")
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    with pytest.raises(BadApp, match=r"holds no function_app\.py"), loaded(tmp_path):
        raise AssertionError("it was indexed")


def test_an_app_can_be_indexed_again_and_its_modules_are_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for number, folder in enumerate((one, two)):
        folder.mkdir()
        (folder / "parts.py").write_text(f"NUMBER = {number}\n")
        made(folder, "import parts\n" + START + GET)
    for number, folder in ((0, one), (1, two), (0, one)):
        with loaded(folder) as app:
            assert number == app.module.__dict__["parts"].NUMBER
    assert not {"parts", "function_app"} & set(sys.modules)


def test_the_command_prints_the_functions_or_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "thermocline.testing.functions", "--index"]
    good = subprocess.run([*command, SAMPLE], capture_output=True, text=True, check=False)
    bad = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)

    assert good.returncode == 0
    assert '"name": "changes"' in good.stdout
    assert (bad.returncode, "Traceback" in bad.stderr) == (1, False)
    assert "holds no host.json" in bad.stderr


# --- Python 3.13, the worker's own runtime -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("an import fails", "no_such_package"),
        ("no app", "Could not find top level function app"),
        ("two apps", "More than one"),
        ("one name twice", "unique function name"),
        ("a parameter without binding", "declared in Python but not in the function definition"),
        ("a wrong annotation", "do not match the corresponding"),
    ],
)
def test_the_runtime_refuses_what_we_refuse(what: str, said: str, tmp_path: Path) -> None:
    assert said in under_runtime(made(tmp_path, BROKEN[what][0]))["error"]


def test_the_runtime_runs_each_kind_of_function(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"function": "echo", "http": {"params": {"name": "a", "rest": "b"}, "body": "hi"}},
        {"function": "fixed", "http": {}},
        {"function": "tick"},
        {"function": "events", "queue": "one"},
        {"function": "changes", "documents": [{"id": "7"}]},
        {"function": "breaks", "http": {}},
    ]
    told = under_runtime(SAMPLE, events, {"SAMPLE_LOG": str(tmp_path / "log")})

    echo, fixed, *rest, breaks = told["results"]
    assert (echo["status"], '"body": "hi"' in echo["body"], fixed["body"]) == (203, True, "fixed")
    assert rest == [{"ok": True}] * 3
    assert "ValueError" in breaks["error"]
    assert len((tmp_path / "log").read_text().splitlines()) == 3
