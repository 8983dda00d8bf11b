"""What the library costs beside the SDKs that it stands on, measured in one run: ``python -m benchmarks``. docs/performance.md has the figures."""
