"""The rotary positions that a ``config.json`` asks for, in old spelling (``rope_theta``, ``rope_scaling``) and new (``rope_parameters``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.model.rope_scaling import RopeScaling

__all__ = ["KEYS", "rope_fields"]

#: The keys that are read here.
KEYS = ("rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor")

_TYPES = ("linear", "llama3", "yarn")
#: transformers' further options of a rule, where they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {"partial_rotary_factor": (1.0, None), "truncate": (True, None), "mscale": (None,), "mscale_all_dim": (None,)}


def rope_fields(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """`ModelConfig`'s ``rope_theta`` and ``rope_scaling``.

    Parameters
    ----------
    path
        For messages.
    values
        The whole config.

    Raises
    ------
    UnsupportedCheckpointError
        On a rule, or an option of one, that is not supported, by name.
    CheckpointError
        When a key is missing or both spellings disagree.
    """
    if values.get("partial_rotary_factor") not in _NEUTRAL["partial_rotary_factor"]:
        raise UnsupportedCheckpointError(f"{path} asks for partial_rotary_factor {values['partial_rotary_factor']!r}, which tritloom does not support")
    theta, new = values.get("rope_theta"), values.get("rope_parameters")
    scaling = _scaling(path, "rope_scaling", values.get("rope_scaling"))
    if new is None:
        if theta is None:
            raise CheckpointError(f"{path} has neither rope_theta nor rope_parameters: add the one the model was trained with")
        return {"rope_theta": theta, "rope_scaling": scaling}
    if not isinstance(new, dict) or new.get("rope_theta") is None:
        raise CheckpointError(f"{path} has rope_parameters without a rope_theta: {new!r}")
    if theta is not None and theta != new["rope_theta"]:
        raise CheckpointError(f"{path} has the rope_theta {theta!r} and, within rope_parameters, {new['rope_theta']!r}: they must agree")
    inner = _scaling(path, "rope_parameters", {key: value for key, value in new.items() if key != "rope_theta"})
    if values.get("rope_scaling") is not None and scaling != inner:
        raise CheckpointError(f"{path} has the rope_scaling {values['rope_scaling']!r} and, within rope_parameters, {new!r}: they must agree")
    return {"rope_theta": new["rope_theta"], "rope_scaling": inner}


def _scaling(path: Path, key: str, values: Any) -> RopeScaling | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} has a {key} that is no JSON object: {values!r}")
    given = dict(values)
    # The older name of rope_type; files may have both.
    old = given.pop("type", None)
    kind = given.pop("rope_type", None) or old or "default"
    if kind != "default" and kind not in _TYPES:
        raise UnsupportedCheckpointError(f"{path} asks for rope_type {kind!r}, and tritloom runs only 'default', {', '.join(map(repr, _TYPES))}")
    for name, allowed in _NEUTRAL.items():
        if given.pop(name, allowed[0]) not in allowed:
            raise UnsupportedCheckpointError(f"{path} asks for {name} {values[name]!r} in {key}, which tritloom does not support")
    if kind == "default":
        if given:
            raise UnsupportedCheckpointError(f"{path} has {key} that tritloom does not support: {values!r}")
        return None
    try:
        return RopeScaling.from_dict({"rope_type": kind, **given})
    except UsageError as error:
        raise UnsupportedCheckpointError(f"{path} has a {key} that tritloom cannot follow: {error}") from error
