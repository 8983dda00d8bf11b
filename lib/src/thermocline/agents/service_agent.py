"""`ServiceAgent`, where earlier code looks for it."""

from thermocline.agents.base_agent import ServiceAgent

__all__ = ["ServiceAgent"]
