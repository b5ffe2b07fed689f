"""Versions and hardware of the machine that writes a run folder."""

import platform
from importlib import metadata
from typing import Any

LIBRARIES = ("dwm-ray", "ray", "torch", "numpy", "gymnasium", "mujoco", "minari", "pyarrow", "pydantic", "h5py")


def environment() -> dict[str, Any]:
    """Return versions and hardware: the content of `environment.json`."""
    import torch  # only the program itself calls this, and most processes open run folders

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpus = torch.get_num_threads()
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": cpus, "gpus": gpus}
    return {**machine, **{name.replace("dwm-ray", "dwm_ray"): _version(name) for name in LIBRARIES}}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
