"""The generated parts of the README and of the pages in docs/."""
