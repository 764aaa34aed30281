"""`manage.py maintain`: what the background processes do, done here and now."""

from argparse import RawDescriptionHelpFormatter
from collections import Counter
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from work import loop
from work.loop import Duty
from work.management.existing import require_registry
from work.models import Due

Row = tuple[Duty, Any]  # by its primary key

HELP = """\
Do all the background work that is due now, and what becomes due by it, then end.

That is what `manage.py serve` does by itself, within a second of its falling due: deleting the bytes of what was
deleted, ending uploads that were abandoned, looking into new layers, collecting layers and blobs that nothing names any
more. Nothing goes before its grace is over: REGISTRY_GRACE after a push, REGISTRY_UPLOAD_EXPIRY after an upload's last
byte. It may run beside a server, or twice; each row is done by one of them. Interrupted at any point it loses nothing.
"""
EXAMPLES = """\
examples:
  manage.py maintain --dry-run     what would be done, and why; nothing is changed
  manage.py maintain               do it; for instance before a backup, or where no background process runs

What fails is listed with its error, stays in the database, and is tried again later; --dry-run lists it until then. The
exit status is then 1.
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and why, change nothing")

    def handle(self, *_args: Any, dry_run: bool, **_options: Any) -> None:
        try:
            require_registry()
            if dry_run:
                self.tell()
            else:
                self.maintain()
        except DatabaseError as problem:
            raise CommandError(f"The database cannot be used: {problem}") from problem

    def tell(self) -> None:
        due = failed = 0
        for duty, key in waiting():
            if row := duty.waiting().filter(pk=key).first():
                self.stdout.write(duty.would(row))
                due += 1
        for duty in loop.duties():
            for row in duty.failed().iterator():
                self.stdout.write(f"{words(duty, 1)} {row}: {last_attempt(row)}")
                failed += 1
        if due or failed:
            later = f", {failed} failed and will be tried again" if failed else ""
            self.stdout.write(f"{due} due now{later}; nothing was changed.")
        else:
            self.stdout.write("Nothing is due.")

    def maintain(self) -> None:
        done: Counter[Duty] = Counter()
        failed: dict[Row, str] = {}
        with loop.renewing(), logging_redirect_tqdm(), tqdm(unit=" rows", disable=None) as bar:
            while rows := [row for row in waiting() if row not in failed]:
                bar.total = bar.n + len(rows)
                for duty, key in rows:
                    bar.set_description(words(duty, 2))
                    if row := loop.claimed(duty.waiting().filter(pk=key)):
                        failure = loop.attempt(row, duty.do)
                        if failure:
                            failed[duty, key] = f"{row}: {type(failure).__name__}: {failure}"
                        else:
                            done[duty] += 1
                    bar.update()
        self.sum_up(done, failed)

    def sum_up(self, done: Counter[Duty], failed: dict[Row, str]) -> None:
        for duty, count in done.items():
            self.stdout.write(f"{count} {words(duty, count)} done")
        for (duty, _), why in failed.items():
            self.stderr.write(f"{words(duty, 1)} {why}")
        if failed:
            raise CommandError(f"{len(failed)} failed and will be tried again.")
        if not done:
            self.stdout.write("Nothing is due.")


def waiting() -> list[Row]:
    """Every row that is due now and in nobody's hands, the oldest of each duty first."""
    return [(duty, key) for duty in loop.duties() for key in duty.waiting().values_list("pk", flat=True)]


def last_attempt(row: Due) -> str:
    return f"attempt {row.attempts} failed ({row.last_error!r}), the next is at {row.due_at:%Y-%m-%d %H:%M:%S} UTC"


def words(duty: Duty, count: int) -> str:
    names = duty.model._meta
    return str(names.verbose_name if count == 1 else names.verbose_name_plural)
