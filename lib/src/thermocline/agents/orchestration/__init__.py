"""Which handler answers a request."""

from thermocline.agents.orchestration.router import RoutingStrategy

__all__ = ["RoutingStrategy"]
