"""Rows that must not vanish while something is made that refers to them."""

from typing import TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def kept(rows: QuerySet[M]) -> list[M]:
    """The rows, in order of their ids, kept from deletion until the transaction ends.

    Whoever deletes such a row locks it FOR UPDATE first; FOR KEY SHARE, which Django has no word for, stops that and
    nothing else. On SQLite a transaction is alone in writing (BEGIN IMMEDIATE), so there a SELECT is enough.
    """
    rows = rows.order_by("pk")
    if connection.vendor != "postgresql":
        return list(rows)
    sql, parameters = rows.query.sql_with_params()
    table = connection.ops.quote_name(rows.model._meta.db_table)
    return list(rows.model._default_manager.raw(f"{sql} FOR KEY SHARE OF {table}", parameters))
