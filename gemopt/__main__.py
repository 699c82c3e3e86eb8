"""``python -m gemopt``."""

import sys

from gemopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
