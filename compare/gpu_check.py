"""The command `python -m compare.gpu_check`."""

import sys

from compare.speed.gpu_check import main

if __name__ == "__main__":
    main(sys.argv[1:])
