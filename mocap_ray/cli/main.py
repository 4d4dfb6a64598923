"""`mocap-ray ...`: the command line of the package.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
import typer.exceptions

from mocap_ray.cli import (
    archives,
    bodies,
    configs,
    data,
    dataset,
    demo,
    estimators,
    exports,
    priors,
    rebuild,
    viewing,
)
from mocap_ray.cli.options import in_order
from mocap_ray.cli.stopping import exit_code
from mocap_ray.version import __version__

app = typer.Typer(
    name="mocap-ray",
    help="Archives of human motion in, one clean, typed Parquet data set out.",
    epilog="\b\nStart here:\n  mocap-ray demo                    make a small data set and a page\n"
    "  mocap-ray body check FOLDER       show which body models exist, and where to get the others\n"
    "  mocap-ray extract --help          extract your own archive\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 stopped by Ctrl-C, 143 by SIGTERM.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
# In the order of the help.
app.add_typer(data.app)
app.add_typer(demo.app)
app.add_typer(archives.app, name="archive")
app.add_typer(bodies.app, name="body")
app.add_typer(configs.app, name="configs")
app.add_typer(dataset.app, name="dataset")
app.add_typer(estimators.app, name="estimator")
app.add_typer(exports.app, name="export")
app.add_typer(rebuild.app, name="rebuild")
app.add_typer(priors.app)
app.add_typer(viewing.app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; prints the user's errors as one sentence and sets the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may not be valid text
    # Imported here, so that `--help` does not wait for numpy and pyarrow.
    from mocap_ray.cli.screen import explained, is_usage, print_error
    from mocap_ray.errors import UserError, bug_report
    from mocap_ray.lock import Locked
    from mocap_ray.storage import without_secrets

    code = 0
    command = typer.main.get_command(app)
    try:
        # Not `app(...)`, which turns Ctrl-C and SIGTERM alike into a silent exit code 130.
        words = in_order(sys.argv[1:] if arguments is None else arguments)
        with command.make_context("mocap-ray", words) as context:
            command.invoke(context)
    except typer.Exit as done:
        code = done.exit_code
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes stdout once more at its end
        code = 1  # as rich does for what it prints
    except (UserError, Locked, OSError) as error:
        print_error(explained(error))
        code = 2 if is_usage(error) else 1
    except KeyboardInterrupt as error:  # outside of a run, which has a message of its own
        print_error("stopped.")
        code = exit_code(error)
    except (
        typer.exceptions.TyperException
    ) as error:  # usage: typer's own message, which repeats the arguments
        message = io.StringIO()
        getattr(error, "show", lambda file: print(error, file=file))(message)
        sys.stderr.write(without_secrets(message.getvalue()))
        code = error.exit_code
    except Exception as error:
        print_error(bug_report(error))
        code = 1
    sys.exit(code)


def _version(requested: bool) -> bool:
    if requested:
        print(f"mocap-ray {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
