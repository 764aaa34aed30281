# Read by the commands beside it, which have set $root. `virtualenv` leaves a .venv with what pyproject.toml asks for;
# `virtualenv dev` adds what developing needs. When nothing changed since the last time, it costs one checksum.

python=$root/.venv/bin/python

virtualenv() {
    stamp=$root/.venv/installed${1:+-$1}
    wanted=$(cksum <"$root/pyproject.toml")
    ! installed || return 0
    exec 9<"$root/pyproject.toml"
    if command -v flock >/dev/null; then flock 9; fi # whoever else is at it has finished when we go on
    installed || install "$@"
    exec 9<&-
}

# With what the database of REGISTRY_DATABASE_URL needs, or of REGISTRY_DATABASE_URL_FILE, the file that holds it.
virtualenv_for_database() {
    url=${REGISTRY_DATABASE_URL:-}
    if [ -r "${REGISTRY_DATABASE_URL_FILE:-}" ]; then url=$(cat "$REGISTRY_DATABASE_URL_FILE"); fi
    case $url in
    postgres*) virtualenv postgres ;;
    *) virtualenv ;;
    esac
}

installed() {
    [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
}

install() {
    "$python" -m pip --version >/dev/null 2>&1 || make_virtualenv
    echo "Installing what Layerstore needs into .venv. This can take a minute, and is done once ..." >&2
    "$python" -c '
import sys, tomllib
project = tomllib.load(sys.stdin.buffer)["project"]
extras = [line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]]
print(*project["dependencies"], *extras, sep="\n")
' "$@" <"$root/pyproject.toml" >"$root/.venv/requirements.txt"
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$root/.venv/requirements.txt"
    echo "$wanted" >"$stamp"
}

make_virtualenv() {
    find_python
    if ! "$found" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$found" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        echo "Python is here, but not its venv module. On Debian and Ubuntu: apt-get install $version-venv" >&2
        exit 1
    fi
    "$found" -m venv --clear "$root/.venv"
}

# Sets $found: a Python that can make a .venv, or else one that cannot.
find_python() {
    found=
    for candidate in python3.13 python3.12 python3.11 python3; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        found=${found:-$candidate}
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "Layerstore needs Python 3.11 or newer. On Debian and Ubuntu: apt-get install python3 python3-venv" >&2
        exit 1
    fi
}
