"""One settings file. Every difference between deployments is a `REGISTRY_*` environment variable with a sane default;
`REGISTRY_X_FILE` names a file that holds the value. `docs/configuration.md` describes each of them.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from registry_site.addresses import as_host, own_hosts
from registry_site.environment import check_files, database, flag, number, one_of, secret, several, text
from registry_site.secrets import kept

check_files()
BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where everything is kept -----------------------------------------------------------------------------------------

REGISTRY_DATA = Path(text("REGISTRY_DATA", str(BASE_DIR / "data"))).absolute()

# --- Secrets: made on the first start, the same on every machine of a cluster -----------------------------------------

SECRET_KEY = secret("REGISTRY_SECRET_KEY") or kept(REGISTRY_DATA / "secrets" / "secret-key")
REGISTRY_TOKEN_KEY = secret("REGISTRY_TOKEN_KEY") or kept(REGISTRY_DATA / "secrets" / "token-key")
REGISTRY_ADMIN_PASSWORD = secret("REGISTRY_ADMIN_PASSWORD")

# --- Addresses --------------------------------------------------------------------------------------------------------

REGISTRY_HOST = text("REGISTRY_HOST", "127.0.0.1")
REGISTRY_PORT = number("REGISTRY_PORT", 8000)
REGISTRY_PUBLIC_URL = text("REGISTRY_PUBLIC_URL", "").rstrip("/")

chosen = [as_host(name) for name in several("REGISTRY_ALLOWED_HOSTS")]
ALLOWED_HOSTS = chosen or own_hosts(REGISTRY_HOST, REGISTRY_PUBLIC_URL)
CSRF_TRUSTED_ORIGINS = [REGISTRY_PUBLIC_URL] if REGISTRY_PUBLIC_URL else []

# --- Serving ----------------------------------------------------------------------------------------------------------

REGISTRY_WORKERS = number("REGISTRY_WORKERS", max(2, min(4, os.cpu_count() or 1)))  # web processes
REGISTRY_WORKER = text("REGISTRY_WORKER", "loop")  # or gthread, gunicorn's own
REGISTRY_THREADS = number("REGISTRY_THREADS", 64)  # requests at once in each of them
REGISTRY_MAX_REQUESTS = number("REGISTRY_MAX_REQUESTS", 0)  # after which a process is replaced; 0: never
REGISTRY_CONNECTIONS = number("REGISTRY_CONNECTIONS", 1000)  # at once, in each process
REGISTRY_CONNECTIONS_PER_ADDRESS = number("REGISTRY_CONNECTIONS_PER_ADDRESS", 0)  # in each process; 0: no bound
REGISTRY_HEAD_TIMEOUT = number("REGISTRY_HEAD_TIMEOUT", 10)  # seconds for the head of a request
REGISTRY_STALL_TIMEOUT = number("REGISTRY_STALL_TIMEOUT", 30)  # seconds in which a client takes nothing of an answer
REGISTRY_QUEUE_TIMEOUT = number("REGISTRY_QUEUE_TIMEOUT", 30)  # seconds a request waits for a thread
REGISTRY_TLS_CERT = text("REGISTRY_TLS_CERT", "")  # PEM files; both or none
REGISTRY_TLS_KEY = text("REGISTRY_TLS_KEY", "")
REGISTRY_TRUSTED_PROXIES = several("REGISTRY_TRUSTED_PROXIES")  # whose X-Forwarded-Proto and -For count
REGISTRY_ACCESS_LOG = flag("REGISTRY_ACCESS_LOG", False)

# --- What the registry does -------------------------------------------------------------------------------------------

REGISTRY_DEFAULT_VISIBILITY = text("REGISTRY_DEFAULT_VISIBILITY", "private")
REGISTRY_DELETE_ENABLED = flag("REGISTRY_DELETE_ENABLED", True)
REGISTRY_SPARSE_MANIFESTS = flag("REGISTRY_SPARSE_MANIFESTS", False)
REGISTRY_MANIFEST_LIMIT = number("REGISTRY_MANIFEST_LIMIT", 4 * 1024 * 1024)  # bytes
REGISTRY_GRACE = timedelta(seconds=number("REGISTRY_GRACE", 24 * 3600))
REGISTRY_UPLOAD_EXPIRY = timedelta(seconds=number("REGISTRY_UPLOAD_EXPIRY", 24 * 3600))
REGISTRY_BODY_TIMEOUT = number("REGISTRY_BODY_TIMEOUT", 60)  # seconds without a byte
REGISTRY_BODY_MIN_RATE = number("REGISTRY_BODY_MIN_RATE", 1024)  # bytes per second, over as long; 0: any

# --- Who may do what --------------------------------------------------------------------------------------------------

REGISTRY_SERVICE = text("REGISTRY_SERVICE", "layerstore")
REGISTRY_TOKEN_LIFETIME = number("REGISTRY_TOKEN_LIFETIME", 300)  # seconds
REGISTRY_LOGIN_FAILURES_PER_MINUTE = number("REGISTRY_LOGIN_FAILURES_PER_MINUTE", 20)

AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["access.backends.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- The application --------------------------------------------------------------------------------------------------

DEBUG = flag("REGISTRY_DEBUG", False)
ROOT_URLCONF = "registry_site.urls"
WSGI_APPLICATION = "registry_site.wsgi.application"
APPEND_SLASH = True  # for the admin; /v2/ never sees CommonMiddleware
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "registry_site",
    "work",
    "counts",
    "repositories",
    "access",
    "layers",
    "uploads",
    "manifests",
]

MIDDLEWARE = [
    "registry_site.middleware.distribution_headers",
    "registry_site.middleware.client_address",
    "django.middleware.security.SecurityMiddleware",
    "registry_site.middleware.whole_forms",
    "registry_site.middleware.WhiteNoise",
    "registry_site.middleware.Sessions",
    "registry_site.middleware.Common",
    "registry_site.middleware.Csrf",
    "registry_site.middleware.Authentication",
    "registry_site.middleware.Messages",
    "registry_site.middleware.FrameOptions",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # served from the packages themselves: nothing to collect, nothing to forget

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = bool(REGISTRY_TLS_CERT) or REGISTRY_PUBLIC_URL.startswith("https://")
SECURE_CONTENT_TYPE_NOSNIFF = True

REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "wire.errors.exception_handler",
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.RegistryAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.HoldsRequiredScopes"],
}

# --- The database -----------------------------------------------------------------------------------------------------

REGISTRY_DATABASE_CONNECTIONS = number("REGISTRY_DATABASE_CONNECTIONS", 16)  # at most, in each process; PostgreSQL
SQLITE = f"sqlite:///{quote(str(REGISTRY_DATA / 'db.sqlite3'))}"
DATABASES = {"default": database("REGISTRY_DATABASE_URL", SQLITE)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # FULL: a commit that was acknowledged survives a power cut. IMMEDIATE: writers queue instead of failing. A cache of
    # 256 KiB: each thread has a connection, and pages that are not in its own are in the kernel's.
    DATABASES["default"] |= {
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;",
        },
    }
else:
    # A request has a connection only while it asks something. One that broke is replaced before it is used, and who
    # gets none, because the database is away, knows within two seconds.
    DATABASES["default"] |= {
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **DATABASES["default"].get("OPTIONS", {}),
            "connect_timeout": 2,
            "tcp_user_timeout": 2000,  # milliseconds that what was sent may stay unconfirmed
            "options": "-c default_transaction_isolation=read\\ committed -c synchronous_commit=on "
            "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
            "pool": {
                "min_size": 1,
                "max_size": REGISTRY_DATABASE_CONNECTIONS,
                "timeout": 1.5,  # seconds
                "reconnect_timeout": 2,  # after which the next request tries anew, instead of waiting ever longer
            },
        },
    }

# --- Background work --------------------------------------------------------------------------------------------------

REGISTRY_BROKER_URL = secret("REGISTRY_BROKER_URL")  # none: each background process is its own
REGISTRY_BACKGROUND_THREADS = number("REGISTRY_BACKGROUND_THREADS", max(3, min(4, os.cpu_count() or 1)))

CELERY_BROKER_URL = REGISTRY_BROKER_URL or "memory://localhost/"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any]
if REGISTRY_BROKER_URL:  # who sends must not wait long when it is away: the work is found without it
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 0.3, "socket_timeout": 0.3, "max_retries": 0}
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.02}  # seconds; of itself, one
CELERY_IMPORTS = ["work.tasks"]
CELERY_TASK_DEFAULT_QUEUE = "layerstore"
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = REGISTRY_BACKGROUND_THREADS
CELERY_WORKER_PREFETCH_MULTIPLIER = 16
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False

# --- Blobs ------------------------------------------------------------------------------------------------------------

STORAGES = {
    "blobs": {"BACKEND": "storage.filesystem.FilesystemDriver", "OPTIONS": {"location": REGISTRY_DATA / "blobs"}},
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # nothing is stored there
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# --- Logs -------------------------------------------------------------------------------------------------------------

REGISTRY_LOG_LEVEL = one_of("REGISTRY_LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"numbered": {"()": "wire.requests.Numbered"}},
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}{request_number}: {message}", "style": "{"},
        "bare": {"format": "{message}", "style": "{"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["numbered"]},
        "stdout": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stdout"},
    },
    "root": {"handlers": ["stderr"], "level": REGISTRY_LOG_LEVEL},
    "loggers": {
        # Refusals are answers, not events: a line for each would let a client fill the disk.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "celery": {"level": "WARNING"},  # a message is not an event
        "layerstore.access": {"handlers": ["stdout"], "level": "INFO", "propagate": False},
    },
}
