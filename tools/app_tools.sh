# Sourced by .ci/run: installs what the tests of embedded apps build and run with. Without it, these tests skip.
#
#   install_app_tools     clang, lld, Chromium and CMake from Debian; onnxruntime's C header; three npm packages

install_app_tools() {
    local wanted=(clang:clang wasm-ld:lld chromium:chromium cmake:cmake node:nodejs npm:npm) missing=() each
    for each in "${wanted[@]}"; do
        command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
    done
    if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "installing ${missing[*]}" >&2
        { apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; } ||
            echo "could not install ${missing[*]}: the tests that need them skip" >&2
    fi
    if command -v npm >/dev/null; then
        ONNXRUNTIME_NODE_INSTALL=skip npm ci --prefix tests/embedding/npm --no-audit --no-fund --silent ||
            echo "could not install the npm packages: the tests that need them skip" >&2
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps amd-quark==0.13 ||
        echo "could not install amd-quark: the tests that need its header skip" >&2
}
