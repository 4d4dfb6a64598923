"""The config of a search, and what can be said about it before the first trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from mocap_ray import config as configs
from mocap_ray.options import Positive, Section, flat, may_change
from mocap_ray.runs.train import TrainConfig, TrainRay
from mocap_ray.searching.population import refusals
from mocap_ray.searching.space import Range, draw_trials, parse_space

Space = Annotated[
    dict[str, Range],
    BeforeValidator(parse_space),
    PlainSerializer(lambda space: {key: r.plain() for key, r in space.items()}),
]


class SearchOutput(Section):
    """Where a search writes."""

    root: str
    """Folder of search.yaml, trials/<id>/ (each the folder of a training), trials.csv, page.html, best/."""


class SearchConfig(Section):
    """One search: many trainings of one base, and the best of them."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    base: str
    """A train config: path, or name of one in configs/train."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Keys of the base set for every trial, such as `{data: {root: out}, training: {max_epochs: 20}}`."""
    space: Space
    """Key of the base to range: `log_uniform: [low, high]`, `uniform: [low, high]`, `int: [low, high]`,
    `choice: [...]`, `grid: [...]`; with `when: {other.key: value}` only while the other key has that value."""
    metric: str = "val_loss"
    """A column of a training's metrics.csv."""
    mode: Literal["min", "max"] = "min"
    trials: Annotated[int, Field(ge=1)] | None = None
    """In all; None: each combination of the grids once."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """`asha` stops trials early that fall behind others of the same epoch; `pbt` trains all at once, and those
    behind go on with the weights of those ahead and values a step away from theirs."""
    grace_epochs: Annotated[int, Field(ge=1)] = 3
    """`asha`: validations before a trial may be stopped."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """`asha`: one of so many goes on at each rung."""
    perturb_epochs: Annotated[int, Field(ge=1)] = 5
    """`pbt`: epochs between two looks at who is behind."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """`pbt`: share of the trials that counts as behind, and as ahead."""
    searcher: Literal["random", "optuna"] = "random"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the draws; each trial trains with the base's own seed."""
    concurrency: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials at once; `auto`: as many as the cluster holds."""
    time_budget_min: Positive | None = None
    """Stops the search after so many minutes; what is finished counts."""
    output: SearchOutput
    ray: TrainRay = TrainRay()
    """`workers` and `gpus_per_worker` of each trial; the base's own `ray` does not count."""

    @model_validator(mode="after")
    def _combinations_that_work(self) -> SearchConfig:
        grids = [key for key, r in self.space.items() if r.kind == "grid"]
        if self.trials is None and len(grids) < len(self.space):
            raise ValueError("trials: missing; only a space made of grids alone has an end of its own")
        return self


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Dotted keys and values as `configs.load` takes them. JSON is YAML, except for floats such as 1e-05."""
    return [f"{key}={json.dumps(value)}" for key, value in flat(values).items()]


def trial_config(config: SearchConfig, values: Mapping[str, Any], root: str) -> TrainConfig:
    """The training that a trial is.

    Raises:
        ConfigError: the base does not take these values.
    """
    texts = [
        *overrides(config.fixed),
        *overrides(values),
        f"output.root={json.dumps(root)}",
        # The whole section, not key by key: the base's own `ray` does not count.
        f"ray={config.ray.model_dump_json()}",
    ]
    return configs.load(config.base, TrainConfig, kind="train", overrides=texts)


def base_values(config: SearchConfig) -> dict[str, Any]:
    """The base's own values by dotted key, for conditions. Raises ConfigError."""
    return flat(trial_config(config, {}, config.output.root).plain())


def check_search(config: SearchConfig) -> TrainConfig:
    """Validate the base, and both ends (or all choices) of every range against it, before anything runs.

    Returns:
        The base.

    Raises:
        ConfigError: every problem, by key and value.
    """
    try:
        base = trial_config(config, {}, config.output.root)
    except configs.ConfigError as error:
        raise configs.ConfigError(_of_fixed(str(error), config)) from error
    known = flat(base.plain())
    problems = []
    for key in config.space:
        problems += _problems_of(key, config, known)
    if config.scheduler == "pbt":
        problems += _problems_of_population(config, base)
    if not problems:
        try:
            draw_trials(config.space, known, trials=config.trials, seed=config.seed)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        told = list(dict.fromkeys(problems))
        count = f"{len(told)} problem{'s' if len(told) > 1 else ''}"
        raise configs.ConfigError(f"search of {config.base}: {count}" + "".join(f"\n  {p}" for p in told))
    return base


def _of_fixed(text: str, config: SearchConfig) -> str:
    """A fault of the base, each line with the place where its key was set."""
    keys = tuple(f"{key}:" for key in flat(config.fixed))
    lines = text.splitlines()
    return "\n".join(f"  fixed.{line.strip()}" if line.strip().startswith(keys) else line for line in lines)


def _problems_of(key: str, config: SearchConfig, known: Mapping[str, Any]) -> list[str]:
    """What is wrong with the range of a key."""
    if key.split(".")[0] in ("ray", "output"):
        return [f"space.{key}: where a trial runs and writes is the search's own affair; remove it"]
    found: dict[str, str] = {}
    for value in config.space[key].values:
        try:
            trial_config(config, {**_when(config, key), key: value}, config.output.root)
        except configs.ConfigError as error:
            for line in str(error).splitlines()[1:] or [str(error)]:
                # What is wrong with each of the values is told once.
                found.setdefault(line.strip(), f"space.{key}: {value!r}: {line.strip()}")
    missing = [
        f"space.{key}: when {other}: the base has no such key"
        for other, _ in config.space[key].when
        if other not in known and other not in config.space
    ]
    return [*found.values(), *missing]


def _problems_of_population(config: SearchConfig, base: TrainConfig) -> list[str]:
    """Why trials could not take over one another."""
    problems = refusals(config.space, may_change(type(base)))
    if config.searcher != "random":
        problems.append(
            f"searcher {config.searcher}: scheduler pbt finds its values itself; use searcher random"
        )
    if config.trials is not None and config.trials < 2:
        problems.append(f"trials {config.trials}: scheduler pbt compares trials; it needs at least 2")
    if config.perturb_epochs >= base.training.max_epochs:
        problems.append(
            f"perturb_epochs {config.perturb_epochs}: a training has {base.training.max_epochs} epochs "
            "(training.max_epochs), so no trial would ever take over another; lower it"
        )
    return problems


def _when(config: SearchConfig, key: str, depth: int = 0) -> dict[str, Any]:
    """Values under which a key is searched, conditions of conditions included."""
    values: dict[str, Any] = {}
    for other, allowed in config.space[key].when:
        if other in config.space and depth < len(config.space):
            values.update(_when(config, other, depth + 1))
        values[other] = allowed[0]
    return values
