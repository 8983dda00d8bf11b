"""Agents with a memory: `AgentBuilder` injects it, with two tools for models."""

from thermocline.agents.agent import Agent
from thermocline.agents.base_agent import BaseRetailAgent, ServiceAgent
from thermocline.agents.builder import AgentBuilder
from thermocline.agents.dependencies import AgentDependencies, ModelTarget
from thermocline.agents.orchestration.router import RoutingStrategy
from thermocline.agents.service import Caller, MemoryApi, bearer_caller, build_service_app, current_caller
from thermocline.agents.tools import Tool, memory_tools

__all__ = [
    "Agent",
    "AgentBuilder",
    "AgentDependencies",
    "BaseRetailAgent",
    "Caller",
    "MemoryApi",
    "ModelTarget",
    "RoutingStrategy",
    "ServiceAgent",
    "Tool",
    "bearer_caller",
    "build_service_app",
    "current_caller",
    "memory_tools",
]
