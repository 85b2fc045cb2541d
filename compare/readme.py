"""The command `python -m compare.readme`."""

from compare.pages.readme import main

if __name__ == "__main__":
    main()
