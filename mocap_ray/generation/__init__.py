"""Models of motion, one file each, and the table that lists them.

>>> sorted(MODELS)
['motion_evaluator', 'motion_flow', 'motion_vae']
"""

from __future__ import annotations

from typing import Any

from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.evaluator import MotionEvaluator
from mocap_ray.generation.flow_facts import FlowFacts
from mocap_ray.generation.flow_options import FlowConfig
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.generation.options import EvaluatorConfig, MotionVAEConfig
from mocap_ray.training.options import ModelOptions

__all__ = ["FACTS", "MODELS", "MotionEvaluator", "MotionFlow", "MotionVAE"]

MODELS: dict[str, tuple[type[ModelOptions], type[Any]]] = {
    "motion_vae": (MotionVAEConfig, MotionVAE),
    "motion_flow": (FlowConfig, MotionFlow),
    "motion_evaluator": (EvaluatorConfig, MotionEvaluator),
}
"""kind -> (config, model)."""

FACTS: dict[str, type[MotionFacts]] = {"motion_flow": FlowFacts}
"""kind -> what it knows about its data, where that is more than `MotionFacts`."""
