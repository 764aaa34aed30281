"""The official OCI conformance program against the real server, with every optional API and data type switched on.

Its exit status proves nothing, it is 0 also when the configuration was not understood: what counts is its results file.
"""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.clients.programs import needed, run
from tests.server import ROOT, Server

pytestmark = pytest.mark.conformance

# Switched on here, because they are off by default in version 1.1 (or, SPARSE, in every version).
OPTIONAL = {
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_MOUNT_ANONYMOUS": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
    "OCI_API_REFERRER": "true",
    "OCI_DATA_SHA512": "true",
    "OCI_DATA_SPARSE": "true",
}
# What the program runs when nothing is switched off, and what it then has to skip. To mount from a private repository
# a token must cover its source, and the program asks only for what the challenge names.
EXPECTED = {
    "public": {"tests": 1032, "failures": 0, "errors": 0, "skipped": 0, "disabled": 0},
    "private": {"tests": 1024, "failures": 0, "errors": 0, "skipped": 4, "disabled": 0},
}


@pytest.mark.parametrize("version", ["1.1", "dev"])
@pytest.mark.parametrize("visibility", ["public", "private"])
def test_the_conformance_program_finds_nothing_to_complain_about(version, visibility, tmp_path):
    results = ROOT / "artifacts" / f"conformance-{version}-{visibility}"
    (results / "junit.xml").unlink(missing_ok=True)  # an earlier run's must not be taken for this one's
    settings = {"REGISTRY_SPARSE_MANIFESTS": "true", "REGISTRY_DEFAULT_VISIBILITY": visibility}

    with Server(tmp_path / "data", environment=settings) as server:
        printed = conformance(version, server, results)

    assert (results / "junit.xml").is_file(), printed
    counts = counted(results / "junit.xml")
    print(f"conformance {version}, {visibility} repositories: {counts}")
    assert counts == EXPECTED[visibility], complaints(results)
    assert all("mount" in name for name in skipped(results)), complaints(results)
    assert ": false" not in configuration(results / "junit.xml"), "something was switched off"


def conformance(version: str, server: Server, results: Path) -> str:
    settings = OPTIONAL | {
        "OCI_VERSION": version,
        "OCI_REGISTRY": server.registry,
        "OCI_TLS": "disabled",
        "OCI_USERNAME": "admin",
        "OCI_PASSWORD": str(server.admin_password),
        "OCI_RESULTS_DIR": str(results),
    }
    results.mkdir(parents=True, exist_ok=True)
    printed = run(needed("conformance"), environment=settings, within=900).stdout
    (results / "output.txt").write_text(printed, encoding="utf-8")
    (results / "server.log").write_text(server.log, encoding="utf-8")
    return printed


def counted(junit: Path) -> dict[str, int]:
    """How many tests ended how. The program leaves out what is zero."""
    suites = ElementTree.parse(junit).getroot()
    return {count: int(suites.get(count, "0")) for count in ("tests", "failures", "errors", "skipped", "disabled")}


def configuration(junit: Path) -> str:
    found = ElementTree.parse(junit).getroot().find("testsuite/properties/property[@name='Config']")
    assert found is not None, "the results do not say what was tested"
    return found.attrib["value"]


def skipped(results: Path) -> list[str]:
    return [case.attrib["name"] for case in cases(results) if case.get("status") == "skipped"]


def complaints(results: Path) -> str:
    """The first tests that did not pass, each with what the program says about it."""
    bad = [case for case in cases(results) if case.get("status") != "passed"]
    lines = [f"{case.get('status')}: {case.get('name')}: {case.findtext('system-out', '')}" for case in bad[:20]]
    return "\n".join([f"{len(bad)} tests did not pass, more in {results}", *lines])


def cases(results: Path) -> list[ElementTree.Element]:
    return list(ElementTree.parse(results / "junit.xml").getroot().iter("testcase"))
