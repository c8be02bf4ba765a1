# SPDX-License-Identifier: MIT
#
# Sourced by tools/try and tools/test: installs Debian packages that are missing.

# need PACKAGE...: installs those that are not installed, as root or through sudo; says what is missing where it cannot.
need() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null; then
        echo "$(basename "$0"): this is not a Debian system; going on without looking whether these are installed: $*" >&2
        return 0
    fi
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing: ${missing[*]}"
    local as_root=() log
    log=$(mktemp) || return 1
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    if ! { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "$(basename "$0"): these packages could not be installed: ${missing[*]}" >&2
        return 1
    fi
    rm -f "$log"
}
