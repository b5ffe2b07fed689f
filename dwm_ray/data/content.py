"""The arrays of `Episodes` and the fingerprint of their content."""

import hashlib
from dataclasses import replace

import numpy as np

from dwm_ray.types import Episodes

ARRAYS = ("obs", "act", "rew", "next_obs", "terminated", "truncated", "known_next")
"""The array fields of `Episodes`."""


def with_fingerprint(episodes: Episodes) -> Episodes:
    """Return the episodes with a card that identifies their content by 16 hex digits."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = getattr(episodes, name)
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    if episodes.card.env_id is None:  # models then use the terminations and bounds of the data
        digest.update(repr(episodes.spaces).encode())
    return replace(episodes, card=replace(episodes.card, fingerprint=digest.hexdigest()[:16]))
