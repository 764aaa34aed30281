"""The product's settings over data of this test run's own, with password hashes that cost nothing."""

import os
import shutil
import tempfile
from atexit import register

# What the developer has set for a server of their own must not reach tests; which database they run on, and which
# worker serves, may be chosen.
CHOSEN = ("REGISTRY_DATABASE_URL", "REGISTRY_WORKER")
for name in [name for name in os.environ if name.startswith("REGISTRY_") and name not in CHOSEN]:
    del os.environ[name]
os.environ["REGISTRY_DATA"] = tempfile.mkdtemp(prefix="layerstore-tests-")
register(shutil.rmtree, os.environ["REGISTRY_DATA"], ignore_errors=True)

from registry_site.settings import *  # noqa: E402, F403 - after the environment is as it has to be

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True  # or every test client would look through all static files before its first request

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, as in production: threads that share a database in memory lock each other out in other ways.
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(os.environ["REGISTRY_DATA"], "test.sqlite3")}  # noqa: F405

# Processes that tests start are to be real ones: Django has read this module by now and does not look again.
os.environ["DJANGO_SETTINGS_MODULE"] = "registry_site.settings"
