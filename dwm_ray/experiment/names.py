"""Printed names of plug-ins and methods."""

from typing import Any

from dwm_ray.registry import plugins


def world_model_label(name: str | None) -> str:
    """Return the printed name of a world model; None is 'model-free'."""
    return "model-free" if name is None else _label("world_models", name)


def agent_label(name: str) -> str:
    return _label("agents", name)


def method_name(config: dict[str, Any]) -> str:
    """Return the method of a run (a JSON tree): 'DWM-TD3+BC', or the agent alone if it is model-free or plans."""
    name, model = config["agent"]["name"], config.get("world_model")
    agent = agent_label(name)
    plans = getattr(plugins("agents").get(name), "plans", False)  # the agent may not exist any more
    return agent if model is None or plans else f"{world_model_label(model['name'])}-{agent}"


def _label(kind: str, name: str) -> str:
    """Return a plug-in's own label, or its name in title case."""
    cls = plugins(kind).get(name)
    label = "" if cls is None else vars(cls).get("label", "")
    return label or "".join(word[:1].upper() + word[1:] for word in name.split("_"))
