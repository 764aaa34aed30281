"""The admin's page of repositories: visibility is edited there, and nothing else."""

import pytest
from django.test import Client

from repositories.models import Repository


@pytest.fixture
def staff(make_user) -> Client:
    client = Client()
    client.force_login(make_user("staff", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def repository(db) -> Repository:
    return Repository.objects.create(name="team/app")


def test_the_list_shows_who_may_read_what(staff, repository):
    page = staff.get("/admin/repositories/repository/").content.decode()
    assert "team/app" in page
    assert "Private" in page or "private" in page


def test_visibility_is_edited_and_the_name_is_not(staff, repository):
    form = {"visibility": "public", "name": "team/other"}
    assert staff.post(f"/admin/repositories/repository/{repository.pk}/change/", form).status_code == 302
    repository.refresh_from_db()
    assert (repository.name, repository.visibility) == ("team/app", "public")


@pytest.mark.parametrize("page", ["add/", "{}/delete/"])
def test_content_comes_from_pushes_and_goes_by_deletes(staff, repository, page):
    assert staff.get(f"/admin/repositories/repository/{page.format(repository.pk)}").status_code == 403
