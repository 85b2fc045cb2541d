"""The command `python -m compare.seconds`."""

from compare.quality.seconds import main

if __name__ == "__main__":
    main()
