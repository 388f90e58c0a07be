"""The command `vizwidgets`. It stands beside the package, whose import takes seconds: `--help` and `lab` need no PyTorch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version


class CommandError(Exception):
    """What ends the command with one line for the user, and no traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all went well, 1 for an error, 2 for a wrong use, 130 when interrupted early.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Examples
    --------
    >>> main(["lab", "course", "--no-browser"])
    """
    options = _parser().parse_args(argv)
    try:
        if options.command == "lab":
            from .lab import lab as run
        else:
            from .app import app as run
        return run(options)
    except CommandError as e:
        print(f"vizwidgets {options.command}: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vizwidgets", description="Look inside convolutional networks, live.")
    parser.add_argument("--version", action="version", version=f"vizwidgets {version('vizwidgets')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lab = commands.add_parser(
        "lab", help="copy the notebooks to a folder and open JupyterLab there",
        description="Copy the notebooks to a folder and open JupyterLab on the first. What you changed in them is kept: a "
        "newer version of such a notebook is put beside it as NAME.new.ipynb.",
    )  # fmt: skip
    lab.add_argument("folder", nargs="?", default="vizwidgets-notebooks", metavar="FOLDER", help="default: %(default)s")

    app = commands.add_parser(
        "app", help="open the Explorer alone, as a page",
        description="Open the Explorer alone, as a page. Each visitor has a Python process of his own, which takes some "
        "0.9 GB of memory and ends when the page is closed.",
    )  # fmt: skip
    app.add_argument("network", nargs="?", default="flowers", metavar="NETWORK",
                     help="what vizwidgets.load takes (flowers, resnet50, ...), or one's own: FILE.py:NAME or MODULE:NAME, "
                     "a torch.nn.Module, a Net, or a function without arguments that gives one; default: %(default)s")  # fmt: skip
    app.add_argument("--weights", metavar="FILE", help=".safetensors, or a state dict saved by torch.save")
    app.add_argument("--labels", metavar="FILE", help="class names: a text file with one on each line, or a JSON list")
    app.add_argument("--image", metavar="FILE", help="the picture shown first; others can be opened on the page")
    app.add_argument("--theme", choices=["light", "dark"], default="light", help="default: %(default)s")
    app.add_argument("--ip", default="127.0.0.1", metavar="ADDRESS",
                     help="where to listen; by default only this computer sees the page. 0.0.0.0 offers it to everyone who "
                     "reaches this computer: without password or encryption, and with 0.9 GB for each of them. Visitors can "
                     "use the page, but run no code")  # fmt: skip

    for command, port in ((lab, 8888), (app, 8866)):
        command.add_argument("--port", type=_port, metavar="N", help=f"default: {port}, or the next free one")
        command.add_argument("--no-browser", dest="browser", action="store_false",
                             help="only say where the page is (another browser: set BROWSER)")  # fmt: skip
        command.set_defaults(default_port=port)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; ports are whole numbers from 1 to 65535")
    return int(text)
