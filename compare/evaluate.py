"""The command `python -m compare.evaluate`."""

from compare.quality.evaluate import main

if __name__ == "__main__":
    main()
