"""The command line: ``python -m data_prep LAYOUT SOURCE DEST``."""

import argparse
import errno
import logging
import os
import sys
from pathlib import Path

from data_prep import LAYOUTS, prepare
from data_prep.workers import cores


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    layouts = "\n".join(f"  {name:15} {layout.expected}" for name, layout in LAYOUTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m data_prep",
        description="Find, align and crop the faces of a data set. Run it again to go on after "
        "an interruption.",
        epilog=f"layouts:\n{layouts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layout", metavar="LAYOUT", help="how SOURCE lies on disk (see below)")
    parser.add_argument("source", metavar="SOURCE", help="folder of the data set; only read")
    parser.add_argument("dest", metavar="DEST", help="folder to write, new or empty")
    parser.add_argument("--size", type=int, default=128, help="side of the crops (%(default)s)")
    parser.add_argument(
        "--align",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="find each face and level its eyes; --no-align takes the middle square of each "
        "picture, for sets of face crops (default: what the layout is)",
    )
    parser.add_argument(
        "--workers", type=int, default=cores(), help="processes (all cores: %(default)s)"
    )
    parser.add_argument(
        "--test-share", type=float, default=0.2, help="share of people to test on (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which people (%(default)s)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what went wrong is one sentence and exit status 1."""
    if hasattr(sys.stdout, "reconfigure"):  # names may hold what a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    options = vars(parser().parse_args(arguments))
    handler = logging.StreamHandler(sys.stdout)
    handler.handleError = lambda record: None  # nobody may be reading; the run goes on
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        finished = (Path(options["dest"]) / "report.json").exists()
        report = prepare(**options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"data_prep: {sentence(error, options['dest'])}") from None
    except KeyboardInterrupt:
        raise SystemExit("data_prep: stopped; run the same command again to go on.") from None
    already = f"{options['dest']} is already prepared; nothing to do.\n" if finished else ""
    show(already + summary(report), options["dest"])


ADVICE = {
    errno.ENOSPC: "free some space and run the same command again to go on",
    errno.EACCES: "allow it or choose another folder",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "choose another folder",
}


def sentence(error: Exception, dest: str) -> str:
    """What was wrong, where, and what to do; the system's own errors say only the first."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    advice = ADVICE.get(error.errno, "mend it and run the same command again to go on")
    return f"{error.filename or dest}: {error.strerror}; {advice}."


def show(text: str, dest: str) -> None:
    """Print at the end of a run, whose result is there even if nobody reads this."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would try again when it ends, and complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SystemExit(
                f"data_prep: {dest} is prepared, but the summary could not be printed "
                f"({error.strerror}); read report.html there."
            ) from None


def summary(report: dict) -> str:
    """The report in a few lines."""
    skipped = ", ".join(f"{n} {reason}" for reason, n in report["skipped"].items()) or "none"
    lines = [f"{report['found']} pictures found, {report['used']} used; skipped: {skipped}."]
    for split, counts in report["pictures"].items():
        people = report["people"].get(split)
        of = f" of {people} people" if people else ""
        counted = ", ".join(f"{name} {n}" for name, n in counts.items())
        lines.append(f"{split}: {sum(counts.values())} pictures{of} ({counted}).")
    if report["used"] and "test" not in report["pictures"]:
        lines.append("test: no pictures; give more people or pictures, or a larger --test-share.")
    lines.append(f"{report['grey']} are grey, {report['upscaled']} were enlarged.")
    copies = report["near_duplicates"]
    if copies is None:
        lines.append("Near-duplicates were not sought: pip install imagehash, then prepare anew.")
    else:
        lines.append(f"{copies['test_pictures']} test pictures have a near-duplicate in training.")
    lines.append("Read report.html; skipped.csv names every skipped file.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
