# Sourced by the other scripts: makes the virtual environment .venv and installs edgebn into it, if that is not yet done.
#
#   use_environment EXTRAS     EXTRAS: "" or "[test]"

use_environment() {
    local extras=$1 python stamp
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        rm -rf .venv
        python=$(find_python) || return
        echo "making the virtual environment .venv with $python" >&2
        "$python" -m venv .venv || {
            echo "could not make .venv; on Debian: apt-get install python3-venv" >&2
            return 1
        }
    fi
    stamp=$(cat pyproject.toml constraints.txt | cksum) || return
    if [ "$(cat ".venv/installed$extras" 2>/dev/null)" != "$stamp" ]; then
        echo "installing packages (once; TensorFlow is large)" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
            --editable ".$extras" || return
        echo "$stamp" >".venv/installed$extras"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "edgebn needs Python 3.11, 3.12 or 3.13; none was found" >&2
    return 1
}
