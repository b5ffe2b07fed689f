"""Base of every option group, types of single options, and the fingerprint of options."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """Base of every option group."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Inherit the description of options whose default alone is overridden."""
        parents = [base for base in cls.__mro__[1:] if issubclass(base, BaseModel)]
        for name, info in cls.model_fields.items():
            inherited = (base.model_fields[name].description for base in parents if name in base.model_fields)
            info.description = info.description or next(inherited, None)


def fingerprint(value: Any) -> str:
    """Return 16 hex digits that identify a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
