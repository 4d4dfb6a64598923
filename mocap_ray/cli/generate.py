"""`mocap-ray generate` and `reflow`: motion, and pairs of noise and latents, from a trained flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mocap_ray.cli.options import local_file
from mocap_ray.wording import counted

if TYPE_CHECKING:
    # torch takes seconds to import, and `--help` does not need it.
    from mocap_ray.generation.generator import Generator
    from mocap_ray.generation.requests import Request
    from mocap_ray.runs.ray import RayOptions

app = typer.Typer()
"""The commands of this file; `main.py` adds them at the top level."""

DATA_SET = "dataset"
FORMATS = ("bvh", "amass", "gif", "mp4", DATA_SET)
COMMAND_LINE = "the command line"

Model = Annotated[str, typer.Argument(help="A trained motion_flow: its folder, a checkpoint or an export.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the solver; default: 50.")]
Solver = Annotated[str | None, typer.Option(metavar="NAME", help="euler, midpoint or heun; default: euler.")]
Guidance = Annotated[
    float | None,
    typer.Option(help="Weight of the conditions: 1 is plain, more follows them closer; default: 2."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes on Ray; default: one per CPU.")]
DeviceName = Annotated[str, typer.Option(help="cpu or cuda.")]


@app.command(
    short_help="Generate motion from a trained flow.",
    epilog="\b\nExamples:\n"
    "  mocap-ray generate runs/motion_flow --style elderly --seconds 6 --n 16 --out walks\n"
    '  mocap-ray generate runs/motion_flow --text "a person waves" --out waves --format bvh,gif\n'
    "  mocap-ray generate runs/motion_flow --out back --format amass --body data/body_models\n"
    "  mocap-ray generate runs/motion_flow --prompts prompts.jsonl --out data/generated --format dataset\n\n"
    "Each motion is written as features and joints (.npy), and a page plays all of them. --format adds bvh, amass, gif "
    "or mp4, separated by commas.\n\n"
    "With --format dataset, motions are generated on Ray and written as a data set, which every other command takes. "
    "Run the same command again after a crash, or with more prompts: finished shards are kept.\n\n"
    "A line of a file of prompts: "
    '{"text": "a person walks", "style": "elderly", "seconds": 6, "n": 4, "seed": 0}. '
    "Further keys: name, frames, domain, action, keypoints, given, root (docs/how-to/generate.md).",
)
def generate(
    model: Model,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to write; it must be new.")],
    text: Annotated[str | None, typer.Option(help="What the motion shows, in words.")] = None,
    style: Annotated[str | None, typer.Option(help="A style of the training data.")] = None,
    action: Annotated[str | None, typer.Option(help="An action of the training data.")] = None,
    domain: Annotated[str | None, typer.Option(help="A domain of the training data.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length; default: that of the training windows.")
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, max=100_000, help="Number of motions, with the seeds from --seed on.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="Seed of the first motion.")] = 0,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A .jsonl, .yaml or .txt file of motions, instead of the above."),
    ] = None,
    steps: Steps = None,
    solver: Solver = None,
    guidance: Guidance = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="NAMES", help="Also write bvh, amass, gif, mp4; or dataset.")
    ] = "",
    body: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder of body models, for --format amass.")
    ] = None,
    device: DeviceName = "cpu",
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set made by another model or settings.")
    ] = False,
) -> None:
    """Generate motion from text, style, action, domain, or nothing at all."""
    chosen = _formats(formats, body=body, overwrite=overwrite)
    requests = _requests(
        prompts,
        {"text": text, "style": style, "action": action, "domain": domain, "seconds": seconds},
        n,
        seed,
    )
    if DATA_SET not in chosen:
        from mocap_ray.generation.outputs import require_new

        require_new(local_file(Path(out)))  # before a model is loaded
    generator = load(model, steps=steps, solver=solver, guidance=guidance, device=device)
    if DATA_SET in chosen:
        _data_set(generator, requests, out, workers=workers, overwrite=overwrite)
    else:
        _files(generator, requests, Path(out), chosen, body)


@app.command(
    short_help="Draw pairs of noise and latents with a flow, to train a faster one.",
    epilog="\b\nExample:\n"
    "  mocap-ray reflow runs/motion_flow --out data/pairs --n 50000 --solver heun\n\n"
    "The labels of the pairs are those of random clips of the training data. Run the same command again after a crash, "
    "or with a larger --n: finished shards are kept.",
)
def reflow(
    teacher: Annotated[
        str, typer.Argument(help="A trained motion_flow: its folder, a checkpoint or an export.")
    ],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to write.")],
    n: Annotated[int, typer.Option("--n", min=1, max=100_000_000, help="Number of pairs.")],
    data: Annotated[
        str | None, typer.Option(help="Data set whose labels are drawn; default: that of the teacher.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=2**52, help="Seed of the first pair.")] = 0,
    steps: Steps = None,
    solver: Solver = None,
    guidance: Guidance = None,
    device: DeviceName = "cpu",
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace pairs made by another teacher or other settings.")
    ] = False,
) -> None:
    """Draw pairs of noise and the latents that a flow takes it to; a flow trained on them needs fewer steps."""
    from mocap_ray.cli.data import show_run
    from mocap_ray.distributed.reflow import reflow as run

    generator = load(teacher, steps=steps, solver=solver, guidance=guidance, device=device)
    root = data if data is not None else _training_data(teacher)
    ray = _ray(generator, workers)
    show_run(
        out,
        lambda view: run(
            generator, view, data=root, split=split, count=n, seed=seed, out=out, ray=ray, overwrite=overwrite
        ),
    )


def _training_data(teacher: str) -> str:
    """The data set that a model was trained on. Raises UserError if it does not say."""
    from mocap_ray.errors import UserError
    from mocap_ray.generation.task import WORDS
    from mocap_ray.training.trained import read_trained

    config = read_trained(teacher, WORDS).about.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    root = data.get("root") if isinstance(data, dict) else None
    if not isinstance(root, str):
        raise UserError(f"{teacher}: does not record the data set it was trained on. Name it with --data.")
    return root


def load(
    model: str, *, steps: int | None, solver: str | None, guidance: float | None, device: str
) -> Generator:
    """Load the model with the settings of the command line. Raises UserError."""
    from mocap_ray.generation.generator import Generator, Sampling
    from mocap_ray.priors.judging.evaluate import check_device

    check_device(device)
    given = {"steps": steps, "solver": solver, "guidance": guidance}
    return Generator.load(
        Sampling(model, device=device, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    )


def _formats(text: str, *, body: str | None, overwrite: bool) -> list[str]:
    """The formats of `--format`. Raises UserError."""
    from mocap_ray.errors import UserError

    chosen = [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in FORMATS:
            raise UserError(
                f"--format {name}: no such format. Expected some of {', '.join(FORMATS)}, separated by commas."
            )
    if DATA_SET in chosen and len(chosen) > 1:
        raise UserError(
            "--format dataset: cannot be combined with others; `mocap-ray export` writes them from it."
        )
    if "amass" in chosen and body is None:
        raise UserError("--format amass needs body models. Name their folder with --body.")
    if overwrite and DATA_SET not in chosen:
        raise UserError(
            "--overwrite is for --format dataset. Choose another --out, or delete the folder first."
        )
    return chosen


def _requests(prompts: str | None, options: dict[str, object], n: int, seed: int) -> dict[str, Request]:
    """The requests of a file, or of the options. Raises UserError."""
    from pydantic import ValidationError

    from mocap_ray.documents import first_problem
    from mocap_ray.errors import UserError
    from mocap_ray.generation.prompts import Prompt, read_prompts

    given = {key: value for key, value in options.items() if value is not None}
    if prompts is not None:
        if given or n != 1 or seed:
            names = ", ".join(f"--{key}" for key in (*given, *["n"] * (n != 1), *["seed"] * bool(seed)))
            raise UserError(
                f"--prompts {prompts}: names the motions, so leave out {names}, or put it into the file."
            )
        return read_prompts(prompts)
    try:
        prompt = Prompt.model_validate({**given, "n": n, "seed": seed})
    except ValidationError as error:
        raise UserError(f"--{first_problem(error)}.") from error
    return {f"{COMMAND_LINE}, seed {r.seed}" if n > 1 else COMMAND_LINE: r for r in prompt.requests()}


def _files(
    generator: Generator, requests: dict[str, Request], out: Path, chosen: list[str], body: str | None
) -> None:
    """Write a folder of files, and a page."""
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say
    from mocap_ray.generation.outputs import generate_motions, write_motions
    from mocap_ray.pages.generated import write_page

    screen = console()
    generator.check(requests)
    with counting_bar(screen, "generating") as update:
        motions = generate_motions(generator, requests, progress=update)
    write_motions(out, motions, generator)
    page = write_page(motions, out / "index.html", generator=generator)
    say(screen, f"{out}: {counted(len(motions), 'motion')}, features and joints at {generator.fps:g} fps")
    for name in chosen:
        _export(name, out, generator.fps, body)
    say(screen, f"The page that plays them: {page}")


def _export(name: str, out: Path, fps: float, body: str | None) -> None:
    """Write another format beside the joints."""
    from mocap_ray.cli.exports import exporting, report
    from mocap_ray.dataset.export_motion import export_amass, export_bvh, export_video

    source, folder = out / "joints", out / name
    with exporting() as update:
        if name == "bvh":
            done = export_bvh(source, folder, fps=fps, progress=update)
        elif name == "amass":
            assert body is not None
            done = export_amass(source, folder, body=body, fps=fps, progress=update)
        else:
            done = export_video(source, folder, kind=name, fps=fps, progress=update)
    report(done)


def _data_set(
    generator: Generator, requests: dict[str, Request], out: str, *, workers: int | None, overwrite: bool
) -> None:
    """Generate a data set on Ray."""
    from mocap_ray.cli.data import show_run
    from mocap_ray.distributed.generate import generate as run

    ray = _ray(generator, workers)
    show_run(out, lambda view: run(generator, requests, view, out=out, ray=ray, overwrite=overwrite))


def _ray(generator: Generator, workers: int | None) -> RayOptions:
    """The section `ray`: a GPU for each worker if the model runs on one."""
    from mocap_ray.runs.ray import RayOptions

    return RayOptions(workers=workers or "auto", gpus_per_worker=float(generator.sampling.device != "cpu"))
