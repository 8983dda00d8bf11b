"""Agents with a memory: `AgentBuilder` injects it, with two tools for models."""

from thermocline.agents.agent import Agent
from thermocline.agents.builder import AgentBuilder
from thermocline.agents.tools import Tool, memory_tools

__all__ = ["Agent", "AgentBuilder", "Tool", "memory_tools"]
