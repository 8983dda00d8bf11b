"""`RoutingStrategy`: handlers by intent, with a small model's handler that may pass a request on to the large one's."""

import inspect
from collections.abc import Callable
from typing import Any

from thermocline.agents.complexity import assess_complexity

Handler = Callable[[dict[str, Any]], Any]


class RoutingStrategy:
    """A registry of handlers, plain or async functions of a request. Of two handlers for an intent the small model's is asked first; the large one's answers
    where the request's complexity reaches ``complexity_threshold``, or where the first one answers ``upgrade``."""

    def __init__(self, complexity_threshold: float = 0.5) -> None:
        self.complexity_threshold = complexity_threshold
        self._handlers: dict[str, tuple[Handler, Handler | None]] = {}

    def register(self, intent: str, handler: Handler) -> None:
        """One handler for an intent; it takes the place of what was registered before."""
        self._handlers[intent] = handler, None

    def register_model_handlers(self, intent: str, *, slm_handler: Handler, llm_handler: Handler | None = None) -> None:
        """A handler for the small model, and one for the large."""
        self._handlers[intent] = slm_handler, llm_handler

    @property
    def intents(self) -> list[str]:
        """What there are handlers for."""
        return sorted(self._handlers)

    async def route(self, intent: str, payload: dict[str, Any]) -> Any:
        """What the intent's handler answers. Raises KeyError for an intent that nothing was registered for."""
        found = self._handlers.get(intent)
        if found is None:
            raise KeyError(f"no handler for the intent {intent!r}")
        first, second = found
        if second is not None and assess_complexity(payload) >= self.complexity_threshold:
            return await _called(second, payload)
        answer = await _called(first, payload)
        return await _called(second, payload) if second is not None and asks_for_more(answer) else answer


def asks_for_more(answer: Any) -> bool:
    """Whether a small model's answer is the word ``upgrade``: by itself, or as a dictionary's ``response``, ``content`` or ``message``."""
    text = answer
    if isinstance(answer, dict):
        text = next((answer[name] for name in ("response", "content", "message") if answer.get(name) is not None), "")
    return isinstance(text, str) and text.strip().lower() == "upgrade"


async def _called(handler: Handler, payload: dict[str, Any]) -> Any:
    answer = handler(payload)
    return await answer if inspect.isawaitable(answer) else answer
