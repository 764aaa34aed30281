"""`manage.py repository`: what an operator types."""

import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from repositories.models import Repository
from tests.server import ROOT


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("repository", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_repository_is_made_public_and_private_again():
    Repository.objects.create(name="team/app")
    assert "team/app is public now" in said("set-visibility", "team/app", "public")
    assert Repository.objects.get(name="team/app").visibility == "public"
    said("set-visibility", "team/app", "private")
    assert said("list").split() == ["private", "team/app"]


@pytest.mark.django_db
def test_a_repository_can_be_made_public_before_its_first_push():
    assert "waits for its first push" in said("set-visibility", "team/new", "public")
    assert Repository.objects.get(name="team/new").visibility == "public"


@pytest.mark.django_db
def test_what_is_no_name_is_refused_in_words():
    with pytest.raises(CommandError, match="is not a repository name"):
        said("set-visibility", "Team/App", "public")


def test_without_a_registry_it_says_where_it_looked(tmp_path):
    ran = subprocess.run(
        [sys.executable, "manage.py", "repository", "list"],
        cwd=ROOT, env={"REGISTRY_DATA": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert f"No registry in {tmp_path}" in ran.stderr
    assert "Traceback" not in ran.stderr
