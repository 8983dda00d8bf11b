"""The memory over HTTP, for callers in other languages: what ``build_service_app(memory_api=…)`` adds below ``/v1``; docs/memory-api.md."""
