"""Print one line that sums what pytest's result files say; exit 1 if a file is missing or empty, or a test failed."""

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(files: list[str]) -> int:
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    incomplete = [file for file in files if not Path(file).is_file()]
    for file in set(files) - set(incomplete):
        suites = list(ElementTree.parse(file).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it
        for count in totals:
            totals[count] += sum(int(suite.get(count, "0")) for suite in suites)
        if not any(int(suite.get("tests", "0")) for suite in suites):
            incomplete.append(file)
    for file in incomplete:
        print(f"{file}: no test ran")
    failed = totals["failures"] + totals["errors"] + len(incomplete)
    print(f"{totals['skipped']} skipped")
    print(f"{totals['tests'] - totals['failures'] - totals['errors'] - totals['skipped']} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
