"""The memory over HTTP, for callers in other languages: what ``build_service_app(memory_api=…)`` adds below ``/v1``; docs/memory-api.md."""

from thermocline.agents.service.memory.api import ERASE, READ, WRITE, MemoryApi, Tokens

__all__ = ["ERASE", "READ", "WRITE", "MemoryApi", "Tokens"]
