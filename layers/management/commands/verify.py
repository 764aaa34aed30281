from collections import Counter

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Sum
from tqdm import tqdm

from layers.models import Blob
from layers.verifying import Verdict, in_turn, verify
from oci.digests import Digest
from oci.errors import DigestInvalid
from repositories.models import Repository
from storage.driver import StorageAway
from work.management.existing import require_registry

DAMAGED, UNREADABLE = 1, 2  # exit statuses


class Command(BaseCommand):
    help = (
        "Reads stored layers again and compares them with their digests. What is damaged is answered with 404 from "
        "then on, until the next push of the same layer replaces it; what was damaged and is sound again is served "
        f"again. The exit status is {DAMAGED} where something is damaged, else {UNREADABLE} where something could not "
        "be read."
    )

    def add_arguments(self, parser):
        parser.add_argument("digests", nargs="*", metavar="DIGEST", help="read these")
        parser.add_argument("--repository", metavar="NAME", help="read what this repository has")
        parser.add_argument("--damaged", action="store_true", help="read what was found damaged before")
        parser.add_argument("--all", action="store_true", help="read everything")
        parser.add_argument("--after", type=int, default=0, metavar="N", help="go on where an earlier look has stopped")

    def handle(self, *args, after, **options):
        require_registry()
        found = self.read(chosen_by(**options), after)
        counts = ", ".join(f"{found[each]} {each}" for each in sorted(found))
        self.stdout.write(f"{found.total()} read: {counts}" if found else "There is nothing to read.")
        if found["damaged"]:
            raise CommandError("Push the damaged layers again to have them served.", returncode=DAMAGED)
        if found["unreadable"]:
            raise CommandError("Not everything could be read.", returncode=UNREADABLE)

    def read(self, chosen, after):
        """How many blobs came to which end."""
        found: Counter[str] = Counter()
        size = chosen.filter(pk__gt=after).aggregate(size=Sum("size"))["size"]
        try:
            with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:  # on a terminal
                for blob in in_turn(chosen, after):
                    outcome, line = look(blob, bar.update)
                    found[outcome] += 1
                    after = blob.pk
                    if line:
                        with bar.external_write_mode():
                            self.stdout.write(line)
        except (StorageAway, KeyboardInterrupt) as problem:
            why = "Storage is away" if isinstance(problem, StorageAway) else "Stopped"
            raise CommandError(f"{why}. Go on later with --after {after}.", returncode=UNREADABLE) from problem
        return found


def chosen_by(digests, repository, damaged, **options):
    """The blobs that the options name; several narrow the choice."""
    chosen = Blob.objects.all()
    if digests:
        wanted = {parsed(digest) for digest in digests}
        chosen = chosen.filter(digest__in=wanted)
        if missing := wanted - set(chosen.values_list("digest", flat=True)):
            raise CommandError(f"The registry has no blob {', '.join(sorted(missing))}.")
    if repository:
        if not Repository.objects.filter(name=repository).exists():
            raise CommandError(f"There is no repository {repository!r}.")
        chosen = chosen.filter(layers__repository__name=repository)
    if damaged:
        chosen = chosen.exclude(damaged_at=None)
    if not (digests or repository or damaged or options["all"]):
        raise CommandError("Say what is to be read: digests, --repository NAME, --damaged or --all.")
    return chosen


def parsed(digest):
    try:
        return str(Digest.parse(digest))
    except DigestInvalid as problem:
        raise CommandError(f"{digest!r} is no digest: {problem}") from problem


def look(blob, progress):
    """What became of the blob, in a word, and what is to be said about it, if anything."""
    try:
        verdict = verify(blob, progress)
    except OSError as problem:
        return "unreadable", f"{blob} could not be read: {problem.strerror or problem}"
    if verdict.damaged:
        names = blob.layers.order_by("repository__name").values_list("repository__name", flat=True)
        return "damaged", f"{blob} is damaged ({verdict}), in {', '.join(names) or 'no repository'}"
    if verdict is Verdict.SOUND and blob.damaged_at:
        return "sound", f"{blob} is sound again"
    return str(verdict), ""
