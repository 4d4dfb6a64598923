"""`mocap-ray ...`: one file for each group of commands, tables and progress bars beside them."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script: `main.main`, with Ctrl-C and SIGTERM in hand before anything slow is imported."""
    import sys

    from mocap_ray.cli.stopping import exit_code, raise_on_sigterm

    raise_on_sigterm()
    try:
        from mocap_ray.cli.main import main

        main(arguments)
    except KeyboardInterrupt as error:
        sys.stderr.write("mocap-ray: stopped.\n")
        sys.exit(exit_code(error))
