"""Adds what processes have counted to the rows."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import F
from django.utils.timezone import now

from counts.models import Day, Pulled

SECONDS_OF_A_DAY = 86_400
LOOK = timedelta(minutes=10)  # between two looks at how much is stored


class Count(NamedTuple):
    pk: int
    day: float  # since 1970, UTC
    times: int
    at: float  # when last, in seconds since 1970


def record(model: type[Pulled] | None, counts: list[Count]) -> None:
    """Add the pulls of a model's rows (None: the pushes), in one short transaction. A row that is gone is passed over.

    The counts come in the order of their ids. The day is locked last: each transaction changes one model's rows only.
    """
    days: Counter[float] = Counter()
    for count in counts:
        days[count.day] += count.times
    with transaction.atomic():
        if model is not None:
            add_pulls(model, counts)
        for day in sorted(days):
            add_to_day(date_of(day), pulls=days[day] if model else 0, pushes=0 if model else days[day])


def add_pulls(model: type[Pulled], counts: list[Count]) -> None:
    """Written out and prepared once: to compile each UPDATE would hold up the requests of this process for longer."""
    table = connection.ops.quote_name(model._meta.db_table)
    update = (
        f"UPDATE {table} SET pulls = pulls + %s,"  # noqa: S608 - the name of a table of ours
        " last_pulled_at = CASE WHEN last_pulled_at > %s THEN last_pulled_at ELSE %s END WHERE id = %s"
    )
    rows = []
    for count in counts:
        at = connection.ops.adapt_datetimefield_value(datetime.fromtimestamp(count.at, UTC))
        rows.append((count.times, at, at, count.pk))
    with connection.cursor() as cursor:
        cursor.executemany(update, rows)


def add_to_day(day: date, pulls: int, pushes: int) -> None:
    begin(day)
    Day.objects.filter(date=day).update(pulls=F("pulls") + pulls, pushes=F("pushes") + pushes)


def begin(day: date) -> None:
    """Make the row of the day, unless it is there. It is due at once."""
    Day.objects.bulk_create([Day(date=day, due_at=now())], ignore_conflicts=True)


def date_of(day: float) -> date:
    return datetime.fromtimestamp(day * SECONDS_OF_A_DAY, UTC).date()


def record_stored_bytes(day: Day, stored: int) -> None:
    """So many bytes are stored now. What a day that is over has stays; the next one begins, so that none is missing."""
    today = now().date()
    row = Day.objects.filter(date=day.date)
    if day.date < today:
        begin(today)
        row.update(due_at=None)
    else:
        midnight = datetime.combine(day.date, time(), UTC) + timedelta(days=1)
        row.update(stored_bytes=stored, due_at=min(now() + LOOK, midnight))
