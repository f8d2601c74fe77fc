#!/bin/bash
# fuzz.sh SECONDS [CORPUS_FOLDER]: builds every fuzz_* target with libFuzzer and runs each so long;
# with 0 seconds it only builds them.
# Debug builds: they find the checks that a release build has folded away.
set -u
seconds=$1
corpora=${2:-.build-fuzz/corpus}
failed=0
targets=$(cd Sources && ls -d fuzz_*)
export SWIFT_BACKTRACE=enable=no
for target in $targets; do
    swift build --sanitize=fuzzer -Xswiftc -DFUZZING --product "$target" \
        --scratch-path .build-fuzz || { echo "fuzz $target: does not build"; failed=1; continue; }
    [ "$seconds" -gt 0 ] || continue
    mkdir -p "$corpora/$target"
    if timeout $((seconds + 120)) .build-fuzz/debug/"$target" -max_total_time="$seconds" \
        -artifact_prefix="$corpora/$target-" "$corpora/$target" >"$corpora/$target.log" 2>&1
    then
        echo "fuzz $target: $(grep -E '^Done' "$corpora/$target.log")"
    else
        tail -40 "$corpora/$target.log"
        echo "fuzz $target: failed; the input is beside $corpora/$target-"
        failed=1
    fi
done
exit $failed
