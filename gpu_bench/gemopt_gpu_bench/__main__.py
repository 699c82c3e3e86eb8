"""``python -m gemopt_gpu_bench``: the same as ``gemopt profile``."""

import sys

from gemopt.cli import main

if __name__ == "__main__":
    sys.exit(main(["profile", *sys.argv[1:]]))
