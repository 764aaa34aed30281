"""Rows that must not vanish or change while something is done that depends on them.

So that no two wait for each other, all lock in one order: a repository before all it holds, a blob before its layers,
a manifest before its tags, several layers or manifests by id, several tags by name. Who keeps layers may go on to a
manifest; who changes or deletes layers waits for no blob and no manifest after that.
"""

from typing import TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Model, QuerySet

from repositories.models import Repository

M = TypeVar("M", bound=Model)


def kept(rows: QuerySet[M]) -> list[M]:
    """The rows, in order of their ids, kept from deletion until the transaction ends.

    Whoever deletes such a row locks it FOR UPDATE first; FOR KEY SHARE, which Django has no word for, stops that and
    nothing else. On SQLite a transaction is alone in writing (BEGIN IMMEDIATE), so there a SELECT is enough.
    """
    rows = rows.order_by("pk")
    if connection.vendor != "postgresql":
        return list(rows)
    try:
        sql, parameters = rows.query.sql_with_params()
    except EmptyResultSet:  # Django has seen that no row can match, as in `pk__in=[]`
        return []
    table = connection.ops.quote_name(rows.model._meta.db_table)
    return list(rows.model._default_manager.raw(f"{sql} FOR KEY SHARE OF {table}", parameters))


def locked(rows: QuerySet[M], order: str = "pk") -> None:
    """Lock the rows in this order, before a statement that changes or deletes them in any."""
    if connection.features.has_select_for_update:
        list(rows.select_for_update(of=("self",), no_key=True).order_by(order).values_list("pk"))


def living(repository: Repository) -> bool:
    """Whether the repository is not deleted, nor will be until the transaction ends. To be asked first by whoever adds
    something to it: what is not answered before it is deleted must not be said to be there."""
    return bool(kept(Repository.objects.filter(pk=repository.pk).only("pk")))
