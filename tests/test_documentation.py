"""What the documents list is what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_configuration_lists_every_setting_that_is_read_and_no_other():
    settings, document = (ROOT / "registry_site/settings.py").read_text(), (ROOT / "docs/configuration.md").read_text()
    read = set(re.findall(r'(?:env\.\w+|secret)\(\s*"(REGISTRY_\w+)"', settings))
    listed = re.findall(r"^\| `(REGISTRY_\w+)`(?:, `(REGISTRY_\w+)`)?", document, re.M)
    assert len(read) > 20
    assert {name for row in listed for name in row if name} == read


def test_links_between_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (document, target)
        for document in documents
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    ]
    assert links
    assert [(str(document), target) for document, target in links if not (document.parent / target).exists()] == []
