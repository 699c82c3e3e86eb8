"""``python -m gemopt``."""

from gemopt.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
