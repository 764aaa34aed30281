"""What the documents list is what there is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
READERS = ("text", "flag", "number", "several", "one_of", "secret", "database")


def read_settings() -> dict[str, ast.expr | None]:
    """Every setting that is read, with the expression that is its default."""
    tree = ast.parse((ROOT / "registry_site/settings.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS]
    return {ast.literal_eval(call.args[0]): call.args[-1] if len(call.args) > 1 else None for call in calls}


def listed_settings() -> dict[str, str]:
    """Every setting that the document lists, with the default it states."""
    document = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `(REGISTRY_\w+)`(?:, `(REGISTRY_\w+)`)? \| (.*?) \|", document, re.M)
    return {name: default for *names, default in rows for name in names if name}


def constant(expression: ast.expr | None) -> object:
    """Its value, where it is made of nothing but literals and arithmetic; else None."""
    plain = (ast.Constant, ast.BinOp, ast.operator)
    if expression is None or not all(isinstance(node, plain) for node in ast.walk(expression)):
        return None
    return eval(ast.unparse(expression))


def test_configuration_lists_every_setting_that_is_read_and_no_other():
    assert len(read_settings()) > 20
    assert listed_settings().keys() == read_settings().keys()


def test_configuration_states_the_defaults_that_the_settings_have():
    defaults = {name: constant(expression) for name, expression in read_settings().items()}
    simple = {name: value for name, value in defaults.items() if value not in (None, "")}
    stated = {name: f"`{str(value).lower() if isinstance(value, bool) else value}`" for name, value in simple.items()}
    assert len(stated) > 20
    assert {name: listed_settings()[name] for name in stated} == stated


def test_links_between_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (document, target)
        for document in documents
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    ]
    assert links
    assert [(str(document), target) for document, target in links if not (document.parent / target).exists()] == []
