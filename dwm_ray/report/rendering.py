"""Render states of a MuJoCo environment in a separate process, because OpenGL may crash or wait for a display.

The module imports neither torch nor other parts of this package, so that the process starts fast.
"""

import base64
import json
import sys
from typing import Any

import gymnasium
import imageio.v3 as iio
import numpy as np

RENDERING = {"render_mode": "rgb_array", "width": 240, "height": 180, "camera_name": "track"}
"""Arguments of the environment; environments without this camera use a fixed view."""


def render(request: dict[str, Any]) -> list[str]:
    """Return an image of each of the `states` (positions, velocities) of `env_id` as base64 PNG."""
    env = gymnasium.make(request["env_id"], **{**request["kwargs"], **RENDERING})
    env.reset(seed=0)
    images = []
    for positions, velocities in request["states"]:
        env.unwrapped.set_state(np.array(positions), np.array(velocities))
        image = iio.imwrite("<bytes>", env.render(), extension=".png")
        images.append(base64.b64encode(image).decode())
    env.close()
    return images


if __name__ == "__main__":
    print(json.dumps(render(json.load(sys.stdin))))
