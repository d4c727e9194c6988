"""What is said of a version in several files is the same."""

import re
from pathlib import Path

import yaml

from nasdepth import __version__

REPOSITORY = Path(__file__).resolve().parent.parent


def test_version_and_date_are_the_same_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.search(r"^## \[(\d[\d.]*)\] - (\S+)$", changes, re.MULTILINE).groups()
    assert version == citation["version"] == __version__
    assert date == citation["date-released"]
