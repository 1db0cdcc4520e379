"""``rllib report``: runs as one HTML page, and as figures for papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rllib_metarl.cli.output import check_writable
from rllib_metarl.errors import UserError
from rllib_metarl.plugins import look_in


def report(
    directories: Sequence[Path],
    out: Path,
    figures: Path | None,
    evaluations: Sequence[Path],
    title: str | None,
    plugins: Sequence[str],
) -> int:
    """Write the page, and the figures where they are asked for; returns the exit code.

    A sweep's directory has a page of its own.
    """
    print("reading the runs", flush=True)  # before imports that take seconds
    from rllib_metarl.cli.experiment.values import import_plugin
    from rllib_metarl.report.groups import tasks_of
    from rllib_metarl.report.page import make_page
    from rllib_metarl.report.runs import read_runs
    from rllib_metarl.report.sweep_data import is_sweep_directory

    if len(directories) == 1 and is_sweep_directory(directories[0]):
        return _report_sweep(directories[0], out, figures, evaluations, title)
    _check_places(out, figures)
    look_in(Path.cwd())
    for plugin in plugins:
        import_plugin(plugin)
    tasks = tasks_of(read_runs(directories, evaluations))
    runs = [run for task in tasks for group in task.groups for run in group.runs]
    _write(out, make_page(tasks, title or "Report on " + _counted(len(runs), "run")))
    print(f"page: {out} ({_counted(len(runs), 'run')}, {_counted(len(tasks), 'task')})")
    if figures is not None:
        from rllib_metarl.report.figures import write_figures

        written = write_figures(tasks, figures)
        print(f"figures: {figures} ({_counted(len(written), 'file')})")
    return 0


def _report_sweep(
    directory: Path, out: Path, figures: Path | None, evaluations: Sequence[Path], title: str | None
) -> int:
    from rllib_metarl.cli.running.ray_session import quiet
    from rllib_metarl.report.sweep_data import read_sweep
    from rllib_metarl.report.sweep_page import make_sweep_page

    for option, given in (("--figures", figures), ("--evaluation", evaluations)):
        if given:
            raise UserError(
                f"{option}: {directory} belongs to a sweep, whose page has none; give the "
                "directories of its trials for a page on their runs"
            )
    _check_places(out, None)
    with quiet():
        from rllib_metarl.cli.running.record import best_experiment
    sweep = read_sweep(directory)
    best = best_experiment(sweep) if sweep.best else None
    _write(out, make_sweep_page(sweep, title or f"Sweep {sweep.name}", best))
    print(f"page: {out} (a sweep of {_counted(len(sweep.trials), 'trial')})")
    return 0


def _check_places(out: Path, figures: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    check_writable(out, "--out")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise UserError(f"--figures {figures}: is a file, expected a directory")
    try:
        if figures is not None:
            figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--figures {figures}: cannot be made: {error.strerror}") from None


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written: {error.strerror}") from None


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' if number != 1 else ''}"
