# environment: a virtual environment with Courante and its tools in it, made once and kept up to date.
#
# Sourced by the other scripts, never run. Leaves the shell in the root of the repository and sets
#   root   the repository   venv   the environment   python   its Python
# COURANTE_VENV names another place for the environment, COURANTE_PYTHON another Python to make it with.
# Nothing is installed when neither pyproject.toml nor locked.txt has changed since the last time. What is installed has a
# hash in locked.txt; nothing else is.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
venv=${COURANTE_VENV:-$root/.venv}
python=$venv/bin/python

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Tests start hundreds of processes: without bytecode each of them compiles the whole package first.
unset PYTHONDONTWRITEBYTECODE

stop() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Print the first Python that is at least 3.11.
find_python() {
    for candidate in ${COURANTE_PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    base=$(find_python) || stop "Python 3.11 or newer is needed and was not found.
  Debian, Ubuntu: apt-get install python3 python3-venv     macOS: brew install python
  Somewhere else already: COURANTE_PYTHON=/path/to/python3 $0"
    "$base" -c 'import ensurepip, venv' >/dev/null 2>&1 || stop "$base cannot make virtual environments: its venv or ensurepip part is missing.
  Debian, Ubuntu: apt-get install python3-venv"
    printf 'Making %s with %s\n' "$venv" "$("$base" --version)" >&2
    "$base" -m venv --clear "$venv" || stop "could not make $venv
  Debian, Ubuntu: apt-get install python3-venv"
}

# What the environment was made from; another root means that the checkout was moved.
wanted_stamp() {
    printf '%s\n' "$root"
    cat pyproject.toml locked.txt | cksum
}

if ! is_new_enough "$python" || ! "$python" -m pip --version >/dev/null 2>&1; then
    make_venv
fi
if [ "$(cat "$venv/courante.stamp" 2>/dev/null)" != "$(wanted_stamp)" ]; then
    printf 'Installing Courante and its tools into %s\n' "$venv" >&2
    "$python" -m pip install --quiet --require-hashes -r locked.txt >&2 &&
        "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation -e . >&2 ||
        stop "pip could not install the packages of locked.txt: see above"
    wanted_stamp >"$venv/courante.stamp"
fi
