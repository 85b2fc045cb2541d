"""The command `python -m compare.features`."""

from compare.paper.build import features

if __name__ == "__main__":
    features()
