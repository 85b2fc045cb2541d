"""The command `python -m compare.bench`; with --growth or --scaling, its other questions."""

import sys

from compare.speed import bench, growth, scaling


def main() -> None:
    """Time the engines; with --growth, what an image costs as batches and data sets grow; with
    --scaling, what several workers cost."""
    if "--growth" in sys.argv[1:]:
        growth.main([word for word in sys.argv[1:] if word != "--growth"])
    elif "--scaling" in sys.argv[1:]:
        scaling.main([word for word in sys.argv[1:] if word != "--scaling"])
    else:
        bench.main()


if __name__ == "__main__":
    main()
