"""What both servers need: the extra packages, a free port, a browser."""

from __future__ import annotations

import errno
import os
import socket
import sys
import webbrowser
from importlib.util import find_spec

from . import CommandError

_TRIES = 50


def require(module: str, title: str) -> None:
    """Raise unless a package of the extra `lab` is installed."""
    if find_spec(module) is None:
        raise CommandError(f'{title} is not installed. Get it with: {sys.executable} -m pip install "vizwidgets[lab]"')


def free_port(wanted: int | None, default: int, ip: str = "127.0.0.1") -> int:
    """The port that was asked for, or else the default one, or the next that is free."""
    first = wanted or default
    if _free(first, ip):
        return first
    other = next((p for p in range(first + 1, min(first + _TRIES, 65536)) if _free(p, ip)), None)
    if wanted:
        hint = f"; {other} is free: --port {other}" if other else ""
        raise CommandError(f"port {wanted} is taken by another program{hint}")
    if other is None:
        raise CommandError(f"the ports from {first} on are all taken; choose one with --port")
    print(f"Port {first} is taken by another program; using {other}.", flush=True)
    return other


def _free(port: int, ip: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as s:
        if os.name == "posix":  # as the servers do: a port that was in use a moment ago can be taken again
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((ip, port))
        except PermissionError as e:
            raise CommandError(f"port {port} may not be used here ({e.strerror}); take one above 1023: --port 8888") from e
        except socket.gaierror as e:
            raise CommandError(f"{ip!r} is no address of this computer ({e.strerror})") from e
        except OSError as e:
            if e.errno == errno.EADDRNOTAVAIL:
                raise CommandError(f"{ip!r} is no address of this computer ({e.strerror})") from e
            return False
    return True


def browser(wanted: bool) -> webbrowser.BaseBrowser | None:
    """The browser to open, if one is wanted and there is one."""
    if not wanted:
        return None
    try:
        return webbrowser.get()
    except webbrowser.Error:
        print("There is no browser on this computer: open the address in one of your own.", flush=True)
        return None
