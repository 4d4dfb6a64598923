"""Draw motion from a rectified flow: requests to conditions, noise to latents, latents to features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.generation.conditions import Conditions
from mocap_ray.generation.keypoints import body25, in_box
from mocap_ray.generation.motion_flow import MotionFlow
from mocap_ray.generation.requests import Keypoints, Request, check_requests
from mocap_ray.generation.solvers import Progress, noise_of, solve
from mocap_ray.generation.text import embedded

STEPS, SOLVER, GUIDANCE = 50, "euler", 2.0
BATCH = 64
"""Motions that are drawn at the same time."""


def names_of(model: MotionFlow) -> dict[str, Sequence[str]]:
    """The labels that a request can name: `domain`, `style`, `action`; empty if the model has no such condition."""
    labels, rates = model.facts.labels, model.config.conditions
    return {
        "domain": labels.domains,
        "style": labels.styles if rates.style else (),
        "action": model.facts.actions if rates.action else (),
    }


@torch.no_grad()
def sample(
    model: MotionFlow,
    requests: Sequence[Request],
    *,
    steps: int = STEPS,
    solver: str = SOLVER,
    guidance: float = GUIDANCE,
    progress: Progress | None = None,
) -> list[Float[np.ndarray, "T 263"]]:
    """Features of one motion for each request, not normalised, contacts between 0 and 1.

    A motion depends on its request and the settings alone, not on the other requests. Frames that a request gives are
    returned as they were given.

    Args:
        model: in eval mode, on any device.
        requests: what to draw.
        steps: of the solver.
        solver: a name of `solvers.SOLVERS`.
        guidance: 1: none; see `MotionFlow.guided`.
        progress: called with the number of steps done, and the total.

    Raises:
        UserError: a request that the model cannot take, or an unknown solver.
    """
    default, fps = model.facts.length, model.facts.fps
    check(model, {f"request {k}": request for k, request in enumerate(requests)})
    # Motions of similar length share a batch, so that little of it is padding.
    lengths = [request.length(fps=fps, default=default) for request in requests]
    order = np.argsort(lengths, kind="stable").tolist()
    found: dict[int, Float[np.ndarray, "T 263"]] = {}
    parts = [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
    for number, part in enumerate(parts):
        told = None
        if progress is not None:
            told = _shifted(progress, steps * number, steps * len(parts))
        batch = [requests[k] for k in part]
        features = _drawn(model, batch, steps=steps, solver=solver, guidance=guidance, progress=told)
        found |= dict(zip(part, features, strict=True))
    return [found[k] for k in range(len(requests))]


def check(model: MotionFlow, requests: Mapping[str, Request]) -> None:
    """Raise UserError for a request that the model cannot take; its key says where it comes from."""
    rates = model.config.conditions
    check_requests(requests, known=names_of(model), fps=model.facts.fps, default=model.facts.length)
    for where, request in requests.items():
        for key, rate in (
            ("text", rates.text), ("keypoints", rates.keypoints), ("given", rates.frames), ("root", rates.path)
        ):  # fmt: skip
            if getattr(request, key) is not None and not rate:
                name = {"given": "frames", "root": "path"}.get(key, key)
                raise UserError(
                    f"{where}: this model was trained without {key} (model.conditions.{name} is 0). Leave it out, or "
                    "choose another model."
                )


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _drawn(
    model: MotionFlow,
    requests: Sequence[Request],
    *,
    steps: int,
    solver: str,
    guidance: float,
    progress: Progress | None,
) -> list[Float[np.ndarray, "T 263"]]:
    """One batch."""
    given, _, x = flowed(model, requests, steps=steps, solver=solver, guidance=guidance, progress=progress)
    features = model.decoded(
        x, length=given.length, frames=given.frames.shape[1], domain=given.domain - 1, style=given.style
    )
    features = torch.where(given.frames_known[..., None], given.frames, features)
    out = features.cpu().numpy()
    return [out[k, :n] for k, n in enumerate(given.length.tolist())]


@torch.no_grad()
def flowed(
    model: MotionFlow,
    requests: Sequence[Request],
    *,
    steps: int = STEPS,
    solver: str = SOLVER,
    guidance: float = GUIDANCE,
    progress: Progress | None = None,
) -> tuple[Conditions, Float[Tensor, "B K D"], Float[Tensor, "B K D"]]:
    """The conditions of requests, their noise, and the normalised latents that it flows to: one batch.

    Arguments as those of `sample`; the requests are not checked.
    """
    device = model.to_velocity.weight.device
    given = conditions_of(model, requests)
    counts = [model.vae.latent_count(int(n)) for n in given.length]
    noise = noise_of([r.seed for r in requests], counts, width=model.facts.vae.latent).to(device)
    given = given.mapped(lambda tensor: tensor.to(device))
    x = solve(
        lambda x, t: model.guided(x, t, given, guidance=guidance),
        noise,
        steps=steps,
        solver=solver,
        progress=progress,
    )
    return given, noise, x


def conditions_of(model: MotionFlow, requests: Sequence[Request]) -> Conditions:
    """The conditions of requests, on the CPU. A request without a domain gets one by its seed."""
    facts, rates = model.facts, model.config.conditions
    length = torch.tensor([r.length(fps=facts.fps, default=facts.length) for r in requests])
    views = max((len(r.keypoints.frames) for r in requests if r.keypoints is not None), default=0)
    given = Conditions.none(length, frames=int(length.max()), views=views)
    names = names_of(model)
    texts = [r.text for r in requests]
    known = torch.tensor([t is not None for t in texts])
    text = given.text.clone()
    text[known] = torch.from_numpy(embedded([t for t in texts if t is not None]))
    given = replace(
        given,
        length_known=torch.full_like(given.length_known, rates.length > 0),
        domain=_domains(requests, names["domain"]),
        style=_numbers([r.style for r in requests], names["style"]),
        action=_numbers([r.action for r in requests], names["action"]),
        text=text,
        text_known=known,
    )
    for k, request in enumerate(requests):
        _fill(given, k, request)
    return given


def _fill(given: Conditions, k: int, request: Request) -> None:
    """Write what a request says about single frames into a batch."""
    if request.given is not None:
        at = list(request.given.frames)
        given.frames[k, at] = torch.tensor(request.given.values)
        given.frames_known[k, at] = True
    if request.root is not None:
        at = list(request.root.frames)
        given.path[k, at] = torch.tensor(request.root.values)
        given.path_known[k, at] = True
    if request.keypoints is not None:
        count = len(request.keypoints.frames)
        given.keypoints[k, :count] = _normalised(request.keypoints)
        given.keypoints_at[k, :count] = torch.tensor(request.keypoints.frames)


def _normalised(keypoints: Keypoints) -> Float[Tensor, "P 25 3"]:
    """Keypoints of a picture as the training has them: in their bounding box, without those that SMPL lacks."""
    values = torch.tensor(keypoints.values)
    _, known = body25(torch.zeros(22, 3))
    return in_box(values[..., :2], values[..., 2] * known)


def _numbers(names: Sequence[str | None], table: Sequence[str]) -> Int[Tensor, "B"]:
    """The number of each name, counted from 1; 0 for None."""
    return torch.tensor([0 if name is None else table.index(name) + 1 for name in names], dtype=torch.int64)


def _domains(requests: Sequence[Request], table: Sequence[str]) -> Int[Tensor, "B"]:
    """The number of each domain; a motion is decoded in some domain, so the seed draws one that is not named."""
    named = _numbers([r.domain for r in requests], table)
    drawn = [1 + int(np.random.default_rng([r.seed, len(table)]).integers(len(table))) for r in requests]
    return torch.where(named > 0, named, torch.tensor(drawn))
