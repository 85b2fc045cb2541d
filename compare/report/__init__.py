"""Runs side by side, on one page.

records.py      what a run directory tells
certificate.py  what the runs have in common, checked
forward.py      both networks in numpy: what is checked with, and what the page draws with
build.py        all of it as one page, from page/; the command `compare.report`
sidebyside.py   trains and scores the runs first; the command `compare.sidebyside`
"""
