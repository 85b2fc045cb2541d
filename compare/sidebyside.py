"""The command `python -m compare.sidebyside`."""

from compare.report.sidebyside import main

if __name__ == "__main__":
    main()
