"""The command `python -m compare.report`."""

from compare.report.build import main

if __name__ == "__main__":
    main()
