"""How methods are called in tables and figures: world model, hyphen, agent; the agent alone where it is model-free."""

from __future__ import annotations

from typing import Any

from dwm_ray.registry import plugins

WORLD_MODELS = {
    "dwm": "DWM",
    "dydiff": "DyDiff",
    "dawm": "DAWM",
    "one_step": "OneStep",
    "transformer": "Transformer",
    "autoregressive": "Autoregressive",
    "synther": "SynthER",
}
AGENTS = {
    "bc": "BC",
    "td3_bc": "TD3+BC",
    "iql": "IQL",
    "pql": "PQL",
    "cql": "CQL",
    "diffusion_ql": "Diffusion-QL",
    "decision_diffuser": "Decision Diffuser",
}


def world_model_label(name: str | None) -> str:
    """Printed name of a world model; a plug-in without an entry is named after its file, None is 'model-free'."""
    return "model-free" if name is None else WORLD_MODELS.get(name) or _from_file(name)


def agent_label(name: str) -> str:
    """Printed name of an agent; a plug-in without an entry is named after its file."""
    return AGENTS.get(name) or _from_file(name)


def method_name(config: dict[str, Any]) -> str:
    """'DWM-TD3+BC', 'OneStep-IQL', 'TD3+BC', ... for the dump of a RunConfig. An agent that plans has its world model
    inside: its own name is the method's."""
    name, model = config["agent"]["name"], config.get("world_model")
    agent = agent_label(name)
    plans = getattr(plugins("agents").get(name), "plans", False)  # results may be of an agent that is gone
    return agent if model is None or plans else f"{world_model_label(model['name'])}-{agent}"


def _from_file(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
