"""The command `python -m compare.bench`; with --growth, its other question."""

import sys

from compare.speed import bench, growth


def main() -> None:
    """Time the engines or, with --growth, what an image costs as batches and data sets grow."""
    if "--growth" in sys.argv[1:]:
        growth.main([word for word in sys.argv[1:] if word != "--growth"])
    else:
        bench.main()


if __name__ == "__main__":
    main()
