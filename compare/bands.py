"""The command `python -m compare.bands`."""

from compare.quality.bands import main

if __name__ == "__main__":
    main()
