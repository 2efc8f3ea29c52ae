#!/usr/bin/env bash
# Runs the examples on the CPU and compares what they print, and the pictures that they draw, with what is
# kept here. The pages quote these files, and tests/cpu/printed.rs holds the pages to them.
#
#   examples/printed/check.sh                  all that takes less than two minutes each
#   examples/printed/check.sh stocks sine      these
#   examples/printed/check.sh --write [NAME]   keeps what is printed now; then mend the pages
#
# stocks_choice and char_rnn_choice are a run for each row of a table, some minutes each; they run when named.
#
# Left out is what differs from run to run: times and the name of the processor. What is left is the same on
# every CPU, with any vectors and any number of threads.
set -euo pipefail
cd "$(dirname "$0")/../.."

kept=examples/printed
export GATEFOLD_DEVICE=cpu

# example SECONDS NAME ARGUMENTS: what an example prints, within so many seconds.
example() {
    cargo build --locked --quiet --example "$2"
    timeout "$1" cargo run --locked --quiet --example "$2" -- "${@:3}"
}

stable() {
    sed -E -e 's/^Running on CPU \(.*\)$/Running on CPU/' -e 's/ in [0-9.]+ s([;,]|$)/ in ... s\1/' \
        -e 's|, [0-9]+ windows/s$||'
}

# A line for each row of the scores of the validation years: the model's volatility, that of the last five
# days and RiskMetrics', and the first by the last.
choice() {
    local rows
    rows=$(example 600 stocks --out target/stocks_choice "$@" | sed -n '/^Validation years/,/^Test years/p')
    awk -v options="$*" '$1 ~ /^(AAPL|GOOG|IBM|MSFT|all)$/ {
        printf "%s %s %s %s %s %.3f\n", $1, options, $4, $5, $6, $4 / $6 }' <<<"$rows"
}

# The same for a text: the loss and the perplexity at the end.
loss() {
    example 600 char_rnn --out target/char_rnn_choice "$@" |
        sed -n "s/^Held-out loss \(.*\) nats a character, perplexity \(.*\)/$* \1 \2/p"
}

printed() {
    case $1 in
    stocks) example 60 stocks ;;
    stocks_toy)
        for seed in 0 1 2 3 4 5 6 7 8 9 10 11; do
            example 60 stocks --toy --seed $seed | sed -n "s/^Company/Seed $seed, company/p"
        done
        ;;
    char_rnn)
        # Fails where the model isn't better than the bigram model.
        example 120 char_rnn
        example 60 char_rnn --sample 250 --seed 1 --prompt "Alice "
        ;;
    sine | sequence_classification | train_by_hand | numpy_cell) example 60 "$1" ;;
    stocks_choice)
        for options in "--window 30 --seed 0" "--window 30 --seed 1" "--window 30 --seed 2" \
            "--window 30 --hidden 48" "--window 30 --hidden 64" "--window 30 --layers 1" \
            "--window 45 --seed 0" "--window 45 --seed 1" "--window 60"; do
            choice $options
        done
        ;;
    char_rnn_choice)
        for options in "--epochs 6" "--epochs 10" "--epochs 12" "--hidden 96 --epochs 12"; do
            loss $options
        done
        for epochs in 10 30; do
            for dropped in "" "--zoneout 0.1 " "--recurrent-dropout 0.1 "; do
                for seed in 0 1 2; do
                    loss --epochs $epochs $dropped--seed $seed
                done
            done
        done
        ;;
    *)
        echo "check.sh: there is no $1" >&2
        return 1
        ;;
    esac
}

# The picture that a page shows, and where the example has drawn it.
picture() {
    case $1 in
    stocks) echo "examples/stocks/forecast.png target/stocks/forecast.png" ;;
    sine) echo "examples/sine/sine.png target/sine/sine.png" ;;
    esac
}

write=""
[ "${1:-}" != --write ] || { write=1 && shift; }
[ $# -gt 0 ] || set -- stocks stocks_toy char_rnn sine sequence_classification train_by_hand numpy_cell
status=0
now=$(mktemp)
trap 'rm -f "$now"' EXIT
for name in "$@"; do
    echo "check.sh: $name"
    printed "$name" | stable >"$now"
    read -r shown drawn <<<"$(picture "$name")"
    if [ -n "$write" ]; then
        cp "$now" "$kept/$name.txt"
        [ -z "$shown" ] || cp "$drawn" "$shown"
        continue
    fi
    diff -u "$kept/$name.txt" "$now" || status=1
    [ -z "$shown" ] || cmp "$shown" "$drawn" || status=1
done
if [ $status != 0 ]; then
    echo "check.sh: examples print something else than is kept. If that is meant: $0 --write, and mend the pages"
fi
exit $status
