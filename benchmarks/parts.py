"""The parts of the benchmark, each an ``async def part(scale: Scale) -> Result`` that is imported in its own process only."""

PARTS = {
    "hot": "benchmarks.hot:hot",
    "near": "benchmarks.near:near",
    "many": "benchmarks.many:many",
    "warm": "benchmarks.services:warm",
    "cold": "benchmarks.services:cold",
    "degrade": "benchmarks.degrade:degrade",
    "wire": "benchmarks.wire:wire",
    "scaling": "benchmarks.scaling:scaling",
    "memory": "benchmarks.memory:memory",
    "telemetry": "benchmarks.telemetry:of_telemetry",
    "batches": "benchmarks.batches:batches",
    "embedded": "benchmarks.embedded:embedded",
    "sessions": "benchmarks.sessions:sessions",
    "sketch": "benchmarks.sketch:sketch",
    "dictionary": "benchmarks.dictionary:dictionary",
    "import": "benchmarks.startup:startup",
}
