"""The config of a search, and its checks before the first trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from mocap_ray import config as configs
from mocap_ray.errors import UserError
from mocap_ray.options import Positive, Section, flat, may_change
from mocap_ray.runs.train import TrainConfig, TrainRay
from mocap_ray.searching.population import refusals
from mocap_ray.searching.space import Range, draw_trials, parse_space
from mocap_ray.wording import counted

Space = Annotated[
    dict[str, Range],
    BeforeValidator(parse_space),
    PlainSerializer(lambda space: {key: r.plain() for key, r in space.items()}),
]


class SearchOutput(Section):
    """Where a search writes."""

    root: str
    """Folder for search.yaml, trials/<id>/ (each is the output of a training), trials.csv, page.html, best/."""


class SearchConfig(Section):
    """One search: trains many variants of a base config, and selects the best."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    base: str
    """A train config: a path, or a name in configs/train."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Settings for every trial, which replace those of the base, such as `{data: {root: out}}`."""
    space: Space
    """Key of the base -> range: `log_uniform: [low, high]`, `uniform: [low, high]`, `int: [low, high]`,
    `choice: [...]`, `grid: [...]`; with `when: {other.key: value}` only if the other key has that value."""
    metric: str = "val_loss"
    """A column of metrics.csv."""
    mode: Literal["min", "max"] = "min"
    """Whether a low or a high `metric` is better."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """Number of trials; None: each combination of the grids once."""
    scheduler: Literal["asha", "pbt", "none"] = "asha"
    """`asha` stops poor trials early, compared to others at the same epoch. `pbt` (population based training) runs all
    trials at the same time; the worst ones continue with the weights of the best ones and perturbed values."""
    grace_epochs: Annotated[int, Field(ge=1)] = 3
    """`asha`: epochs before a trial may be stopped."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """`asha`: one of this many trials continues at each rung."""
    perturb_epochs: Annotated[int, Field(ge=1)] = 5
    """`pbt`: epochs between two comparisons of the trials."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """`pbt`: fraction of the trials that counts as the worst, and as the best."""
    searcher: Literal["random", "optuna"] = "random"
    """`random` draws the trials from `seed`; `optuna` proposes them from the results of earlier ones."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the sampling; each trial trains with the seed of the base."""
    concurrency: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of trials that run at the same time; `auto`: as many as fit on the cluster."""
    time_budget_min: Positive | None = None
    """Stops the search after this many minutes; finished epochs count."""
    output: SearchOutput
    ray: TrainRay = TrainRay()
    """The cluster, and `workers` and `gpus_per_worker` of each trial; the section `ray` of the base is ignored."""

    @model_validator(mode="after")
    def _combinations_that_work(self) -> SearchConfig:
        grids = [key for key, r in self.space.items() if r.kind == "grid"]
        if self.trials is None and len(grids) < len(self.space):
            raise UserError(
                "trials: missing; only a space that consists of grids has a fixed number of trials"
            )
        return self


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Texts `key=value` for `configs.load`. JSON is valid YAML, except for floats such as 1e-05."""
    return [f"{key}={json.dumps(value)}" for key, value in flat(values).items()]


def trial_config(config: SearchConfig, values: Mapping[str, Any], root: str) -> TrainConfig:
    """The train config of a trial.

    Raises:
        ConfigError: the base does not accept these values.
    """
    texts = [
        *overrides(config.fixed),
        *overrides(values),
        f"output.root={json.dumps(root)}",
        # The complete section, not key by key: the section `ray` of the base is ignored.
        f"ray={config.ray.model_dump_json()}",
    ]
    return configs.load(config.base, TrainConfig, kind="train", overrides=texts, typed=False)


def base_values(config: SearchConfig) -> dict[str, Any]:
    """The values of the base by dotted key, for conditions. Raises ConfigError."""
    return flat(trial_config(config, {}, config.output.root).plain())


def check_search(config: SearchConfig) -> TrainConfig:
    """Validate the base, and both ends (or all choices) of every range, before the search starts.

    Returns:
        The config of the base.

    Raises:
        ConfigError: every problem, with key and value.
    """
    try:
        base = trial_config(config, {}, config.output.root)
    except configs.ConfigError as error:
        raise configs.ConfigError(_mark_fixed(str(error), config)) from error
    values = flat(base.plain())
    problems = []
    for key in config.space:
        problems += _problems_of(key, config, values)
    if config.scheduler == "pbt":
        problems += _problems_of_population(config, base)
    if not problems:
        try:
            draw_trials(config.space, values, trials=config.trials, seed=config.seed)
        except UserError as error:
            problems.append(str(error))
    if problems:
        distinct = list(dict.fromkeys(problems))
        listed = "".join(f"\n  {problem}" for problem in distinct)
        raise configs.ConfigError(f"search of {config.base}: {counted(len(distinct), 'problem')}{listed}")
    return base


def _mark_fixed(text: str, config: SearchConfig) -> str:
    """The error of a base, with `fixed.` before the keys that the search sets there."""
    keys = tuple(f"{key}:" for key in flat(config.fixed))
    lines = text.splitlines()
    return "\n".join(f"  fixed.{line.strip()}" if line.strip().startswith(keys) else line for line in lines)


def _problems_of(key: str, config: SearchConfig, base: Mapping[str, Any]) -> list[str]:
    """The problems with the range of a key; `base` has the values of the base by dotted key."""
    if key.split(".")[0] in ("ray", "output"):
        return [f"space.{key}: the search itself decides where its trials run and write; remove this key"]
    if key in ("data.folds", "data.fold_splits"):
        return [f"space.{key}: trials with different folds cannot be compared; set it under fixed"]
    problems: dict[str, str] = {}
    for value in config.space[key].values:
        try:
            trial_config(config, {**_when(config, key), key: value}, config.output.root)
        except configs.ConfigError as error:
            for line in str(error).splitlines()[1:] or [str(error)]:
                # A problem of several values is reported once.
                problems.setdefault(line.strip(), f"space.{key}: {value!r}: {line.strip()}")
    missing = [
        f"space.{key}: when {other}: the base has no such key"
        for other, _ in config.space[key].when
        if other not in base and other not in config.space
    ]
    return [*problems.values(), *missing]


def _problems_of_population(config: SearchConfig, base: TrainConfig) -> list[str]:
    """The problems of a search with scheduler pbt."""
    problems = refusals(config.space, may_change(type(base)))
    if base.data.every_fold:
        problems.append(
            f"data.folds {base.data.fold_count}: scheduler pbt copies the weights of one model from trial to trial, "
            "and a trial with folds has several; use scheduler asha, or hold out one fold with fixed.data.fold=0"
        )
    if config.searcher != "random":
        problems.append(
            f"searcher {config.searcher}: scheduler pbt chooses the values itself; use searcher random"
        )
    if config.trials is not None and config.trials < 2:
        problems.append(f"trials {config.trials}: scheduler pbt compares trials; it needs at least 2")
    if config.perturb_epochs >= base.training.max_epochs:
        problems.append(
            f"perturb_epochs {config.perturb_epochs}: a training has "
            f"{counted(base.training.max_epochs, 'epoch')} (training.max_epochs), so the trials would never be "
            "compared; lower it"
        )
    return problems


def _when(config: SearchConfig, key: str, depth: int = 0) -> dict[str, Any]:
    """Values that meet the conditions of a key, including conditions of conditions."""
    values: dict[str, Any] = {}
    for other, allowed in config.space[key].when:
        if other in config.space and depth < len(config.space):
            values.update(_when(config, other, depth + 1))
        values[other] = allowed[0]
    return values
