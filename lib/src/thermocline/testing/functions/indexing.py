"""Indexing an app as the Functions worker does, and stricter: what shows in Azure only as "no functions found" is said here in words."""

import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from thermocline.testing.extra import needed_by
from thermocline.testing.functions.bindings import RETURN, Binding, Retry, read_binding, read_retry
from thermocline.testing.functions.errors import BadApp
from thermocline.testing.functions.hostfile import HostFile, read_host_file
from thermocline.testing.functions.routes import Route, read_route

with needed_by(__name__, "functions,service,testing"):
    import azure.functions as func

MODULE: Final = "function_app"
_NAME: Final = re.compile("[A-Za-z][A-Za-z0-9_-]{0,127}")
_METHODS: Final = tuple(str(method.value) for method in func.HttpMethod)  # azure-functions 2 has QUERY as well
_SCHEDULE: Final = re.compile(r"\S+( \S+){5}|(\d+\.)?\d\d:\d\d:\d\d|%[^%]+%")


@dataclass(frozen=True)
class Function:
    """One function of an app, ready to be invoked."""

    name: str
    call: Callable[..., Any]
    folder: Path
    trigger: Binding
    inputs: Mapping[str, str]
    """Parameter -> the converter that makes its value."""
    returns: str | None
    """The binding type of what is returned; None: nothing may be returned."""
    wants_context: bool
    retry: Retry | None
    route: Route | None = None
    methods: tuple[str, ...] = ()

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop, and not in a thread."""
        return inspect.iscoroutinefunction(self.call)


@dataclass(frozen=True)
class App:
    """What an app's folder holds."""

    folder: Path
    host: HostFile
    functions: Mapping[str, Function]
    module: ModuleType
    register: Any
    """The app's object, as ``azure.functions.FunctionApp``."""

    def of(self, kind: str) -> list[Function]:
        """The functions with that type of trigger."""
        return [function for function in self.functions.values() if function.trigger.type == kind]


def index(folder: Path | str) -> App:
    """Import an app's ``function_app.py`` and read its functions; no setting is asked for. Once per process and app: see `loaded`.

    Raises BadApp where the worker would find no function, or the host refuse one: `function_app.py` cannot be imported, or holds no or more
    than one app; a name is used twice; a binding is unknown; a parameter has no binding or a binding no parameter; an annotation does not fit.
    """
    folder = Path(folder).absolute()
    host = read_host_file(folder)
    module = _imported(folder)
    register = _register(folder, module)
    try:
        built = register.get_functions()
    except ValueError as error:
        raise BadApp(f"{folder.name}: {error}") from error
    if not built:
        raise BadApp(f"{folder.name}: the app in {MODULE}.py has no functions")
    functions: dict[str, Function] = {}
    for one in built:
        function = _function(folder, host, one)
        if function.name.lower() in {name.lower() for name in functions}:
            raise BadApp(f"{folder.name}: two functions have the name {function.name}; names differ by more than case")
        functions[function.name] = function
    _check_routes(list(functions.values()))
    return App(folder, host, functions, module, register)


@contextmanager
def loaded(folder: Path | str) -> Iterator[App]:
    """`index`, with the app's modules forgotten at the end, so that it can be indexed again.

    Two apps in one process would clash, for both are the module ``function_app``: raises BadApp while another one is loaded.
    """
    folder = Path(folder).absolute()
    if MODULE in sys.modules:
        raise BadApp(
            f"{folder.name}: this process has loaded {sys.modules[MODULE].__file__}; one process per app, as in Azure: use FunctionsProcess"
        )
    known, path = set(sys.modules), list(sys.path)
    try:
        yield index(folder)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            home = getattr(sys.modules[name], "__file__", None)
            if name == MODULE or (home is not None and Path(home).is_relative_to(folder)):
                del sys.modules[name]
        importlib.invalidate_caches()


def converter(kind: str) -> Any:
    """The official converter of a binding's type, between what the host sends and what a function gets. Raises BadApp if there is none."""
    registry: Any = func.get_binding_registry  # it has no types
    found = registry().get(kind)
    if found is None:
        raise BadApp(f"this azure-functions has no converter for {kind}")
    return found


def _imported(folder: Path) -> ModuleType:
    script = folder / f"{MODULE}.py"
    if not script.is_file():
        raise BadApp(f"{folder} holds no {MODULE}.py")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(MODULE)
    except Exception as error:
        raise BadApp(f"{folder.name}: {MODULE}.py cannot be imported: {type(error).__name__}: {error}") from error
    if module.__file__ is None or Path(module.__file__).resolve() != script.resolve():
        raise BadApp(f"{folder.name}: this process has loaded {module.__file__} as {MODULE}; one process per app")
    return module


def _register(folder: Path, module: ModuleType) -> Any:
    # The names of one object count once, as one may be imported under two.
    found = {id(value): value for value in vars(module).values() if isinstance(value, func.FunctionRegister)}
    if not found:
        raise BadApp(f"{folder.name}: {MODULE}.py has no FunctionApp at its top level")
    if len(found) > 1:
        raise BadApp(f"{folder.name}: {MODULE}.py has {len(found)} FunctionApps at its top level; the worker takes one")
    return next(iter(found.values()))


def _function(folder: Path, host: HostFile, built: Any) -> Function:
    name = str(built.get_function_name())
    where = f"{folder.name}: {name}"
    if _NAME.fullmatch(name) is None:
        raise BadApp(f"{where} is no function's name: a letter, then up to 127 letters, digits, - and _")
    bindings = [read_binding(where, text) for text in built.get_raw_bindings()]
    triggers = [binding for binding in bindings if binding.kind.trigger]
    if len(triggers) != 1:
        raise BadApp(f"{where} has {len(triggers)} triggers; it needs one")
    trigger = triggers[0]
    call = built.get_user_function()
    inputs, wants_context = _inputs(where, call, bindings)
    returns = next((binding.type for binding in bindings if binding.name == RETURN), None)
    _check_options(where, trigger)
    retry = read_retry(where, trigger, built.get_settings_dict("retry_policy"))
    route: Route | None = None
    methods: tuple[str, ...] = ()
    if trigger.type == "httpTrigger":
        route = read_route(where, host.route_prefix, str(trigger.options["route"]))
        methods = _methods(where, trigger.options.get("methods"))
        if returns is None:
            raise BadApp(f"{where} has an HTTP trigger and no output for its answer")
    return Function(name, call, folder, trigger, inputs, returns, wants_context, retry, route, methods)


def _inputs(where: str, call: Callable[..., Any], bindings: list[Binding]) -> tuple[dict[str, str], bool]:
    parameters = dict(inspect.signature(call).parameters)
    try:
        annotations = typing.get_type_hints(call)
    except (NameError, TypeError) as error:
        raise BadApp(f"{where}: its annotations cannot be read: {error}") from error
    bound = {binding.name: binding for binding in bindings if binding.name != RETURN}
    wants_context = "context" in parameters and "context" not in bound
    if wants_context:
        del parameters["context"]
        given = annotations.get("context")
        if given is not None and getattr(given, "__name__", "") != "Context":
            raise BadApp(f"{where}: its parameter context must be an azure.functions.Context, not {given!r}")
    for name in parameters.keys() - bound.keys():
        raise BadApp(f"{where}: its parameter {name} has no binding")
    for name in bound.keys() - parameters.keys():
        raise BadApp(f"{where}: its binding {name} has no parameter")
    inputs: dict[str, str] = {}
    for name, binding in bound.items():
        if binding.out:
            raise BadApp(f"{where}: this host serves no output binding but an HTTP answer, so not {name}")
        inputs[name] = _converter(where, binding, annotations.get(name))
    returned = annotations.get("return")
    if any(binding.name == RETURN for binding in bindings) and returned is not None:
        _check_return(where, next(binding for binding in bindings if binding.name == RETURN), returned)
    return inputs, wants_context


def _converter(where: str, binding: Binding, annotation: Any) -> str:
    official = converter(binding.type)
    if annotation is None:
        return binding.type
    if not isinstance(annotation, type) or not official.check_input_type_annotation(annotation):
        told = getattr(annotation, "__name__", repr(annotation))
        raise BadApp(f"{where}: its parameter {binding.name} is annotated {told}, which does not fit {binding.type}")
    return binding.type


def _check_return(where: str, binding: Binding, annotation: Any) -> None:
    official = converter(binding.type)
    if not isinstance(annotation, type) or not official.check_output_type_annotation(annotation):
        told = getattr(annotation, "__name__", repr(annotation))
        raise BadApp(f"{where}: it is annotated to return {told}, which does not fit {binding.type}")


def _check_options(where: str, trigger: Binding) -> None:
    if trigger.type == "timerTrigger" and _SCHEDULE.fullmatch(str(trigger.options["schedule"])) is None:
        raise BadApp(
            f"{where}: its schedule {trigger.options['schedule']!r} is none: six parts, second minute hour day month weekday, or HH:MM:SS"
        )
    for option in ("connection", "leaseConnection"):
        if "%" in str(trigger.options.get(option, "")):
            raise BadApp(f"{where}: {option} names a setting by itself; write it without %")


def _methods(where: str, given: Any) -> tuple[str, ...]:
    methods = tuple(str(method).upper() for method in given) if given is not None else _METHODS
    for method in methods:
        if method not in _METHODS:
            raise BadApp(f"{where}: {method} is no method that the host serves")
    return methods


def _check_routes(functions: list[Function]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for function in functions:
        if function.route is None:
            continue
        for method in function.methods:
            place = (re.sub(r"\{(\**)\w+", r"{\1", function.route.template.lower()), method)
            if place in taken:
                raise BadApp(
                    f"{function.folder.name}: {taken[place]} and {function.name} both take {method} {function.route.template}"
                )
            taken[place] = function.name


def described(app: App) -> str:
    """The app's functions as JSON, for who indexes in another process."""
    return json.dumps(
        [
            {
                "name": function.name,
                "trigger": function.trigger.type,
                "options": dict(function.trigger.options),
                "route": None if function.route is None else function.route.template,
                "methods": list(function.methods),
            }
            for function in app.functions.values()
        ]
    )
