"""Models of motion, one file each, and the table that lists them.

>>> sorted(MODELS)
['motion_evaluator', 'motion_vae']
"""

from __future__ import annotations

from typing import Any

from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.options import EvaluatorConfig, MotionVAEConfig
from mocap_ray.training.options import ModelOptions

__all__ = ["MODELS", "MotionEvaluator", "MotionVAE"]

MODELS: dict[str, tuple[type[ModelOptions], type[Any]]] = {
    "motion_vae": (MotionVAEConfig, MotionVAE),
    "motion_evaluator": (EvaluatorConfig, MotionEvaluator),
}
"""kind -> (config, model)."""
