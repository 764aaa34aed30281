#!/usr/bin/env python
"""Layerstore's command line: `manage.py help` lists every command."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from registry_site import options

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_site.settings")
    if sys.argv[1:2] == ["serve"]:
        options.export(sys.argv[2:])
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Layerstore cannot start: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # as the shell says it
