"""Print one line that sums pytest's result files. Exit 1 if a stage or a test failed, or a suite ran no test."""

import sys
from pathlib import Path
from xml.etree import ElementTree

COUNTS = ("tests", "failures", "errors", "skipped")


def main(failed_stages: int, files: list[str]) -> int:
    tests, failures, errors, skipped = (sum(counts) for counts in zip(*map(counted, files), strict=True))
    print(f"{skipped} skipped")
    failed = max(failures + errors, failed_stages)  # a stage may fail without a test, and nothing may look like success
    print(f"{tests - failures - errors - skipped} passed, {failed} failed")
    return 1 if failed else 0


def counted(file: str) -> list[int]:
    """The counts of one suite; a suite that did not run counts as one error."""
    if Path(file).is_file():
        suites = list(ElementTree.parse(file).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it
        counts = [sum(int(suite.attrib[count]) for suite in suites) for count in COUNTS]
        if counts[0]:
            return counts
    print(f"{file}: no test ran")
    return [1, 0, 1, 0]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
