"""Make what the page will show once, before there is a page: `python -m vizwidgets_command.check REQUEST`."""

import json
import sys

from . import CommandError

if __name__ == "__main__":
    try:
        from .network import explorer  # takes seconds, in which Ctrl-C may come

        explorer(json.loads(sys.argv[1]))
    except CommandError as e:
        sys.exit(f"vizwidgets app: {e}")
    except KeyboardInterrupt:
        sys.exit(1)
