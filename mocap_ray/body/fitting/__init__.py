"""Poses of the SMPL family from the positions of 22 joints: a closed form, then Gauss-Newton steps."""

from mocap_ray.body.fitting.fit import Fitted, fit, fit_batch
from mocap_ray.body.fitting.shape import betas_of, onto, own_body
from mocap_ray.body.fitting.solve import FitOptions, Regulariser

__all__ = ["FitOptions", "Fitted", "Regulariser", "betas_of", "fit", "fit_batch", "onto", "own_body"]
