import signal
import threading

from django.core.management.base import BaseCommand

from registry_site.supervisor import end_with_parent
from work.loop import run_forever


class Command(BaseCommand):
    help = (
        "Does what is due when no request is running: deletes the bytes of cancelled uploads, ends abandoned ones. "
        "`manage.py serve` starts it; on further machines it may run alone. Any number may run at once."
    )

    def handle(self, *args, **options):
        end_with_parent()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        run_forever(stop)
