"""What `script/server` and `manage.py serve` take on the command line.

Each option is a `REGISTRY_*` environment variable too; the command line wins. Settings are read once, when Django
loads, and the child processes read them again: so the options become environment variables before all that. This
module needs nothing but Python, and `--help` answers before anything is installed.
"""

import argparse
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DESCRIPTION = "Run Layerstore, a container registry: the web server and the background process, under one parent."
EXAMPLES = """
examples:
  script/server                                 try it out: http://127.0.0.1:8000, everything under ./data
  script/server --host 0.0.0.0 --port 5000      for other machines too
  script/server --data /srv/registry --tls-cert cert.pem --tls-key key.pem

The first start makes the secret keys and the user "admin". Its password is that of the environment variable
REGISTRY_ADMIN_PASSWORD (or the text of the file named by REGISTRY_ADMIN_PASSWORD_FILE); without one a random password
is made and printed once. Ctrl-C or SIGTERM lets open requests end, 30 seconds at most; a second Ctrl-C hurries.
Every option can be given as an environment variable instead. docs/configuration.md lists all of them.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`; the destination of each is the environment variable that it stands for."""
    option = parser.add_argument
    host = "listen on this address, or on unix:PATH (default: 127.0.0.1)"
    option("--host", dest="REGISTRY_HOST", metavar="ADDRESS", help=host)
    option("--port", dest="REGISTRY_PORT", metavar="N", type=_port, help="listen on this port (default: 8000)")
    option("--data", dest="REGISTRY_DATA", metavar="DIR", type=_path, help="keep everything here (default: ./data)")
    option("--tls-cert", dest="REGISTRY_TLS_CERT", metavar="FILE", type=_path, help="serve HTTPS: the certificates")
    option("--tls-key", dest="REGISTRY_TLS_KEY", metavar="FILE", type=_path, help="serve HTTPS: its private key")


def export(arguments: list[str]) -> None:
    """Make environment variables of the options in `arguments`, what follows `serve` on the command line.

    Ends the process on `--help` and on options that make no sense. The working directory becomes that of the code,
    the same for all processes; paths in the environment keep their meaning.
    """
    options, _ = parser().parse_known_args(arguments)  # the rest are Django's own
    os.environ.update({variable: value for variable, value in vars(options).items() if value is not None})
    for variable, value in os.environ.items():
        if variable in ("REGISTRY_DATA", "REGISTRY_TLS_CERT", "REGISTRY_TLS_KEY") or _names_a_file(variable):
            os.environ[variable] = _path(value)
    os.chdir(BASE_DIR)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="script/server",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_options(made)
    return made


def _names_a_file(variable: str) -> bool:
    return variable.startswith("REGISTRY_") and variable.endswith("_FILE")


def _path(text: str) -> str:
    return str(Path(text).expanduser().absolute()) if text else ""


def _port(text: str) -> str:
    """Checked here, yet kept as text, because it becomes an environment variable."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535; 0 takes any free one)")
    return text


if __name__ == "__main__":
    parser().parse_args()
