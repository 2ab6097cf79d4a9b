#!/usr/bin/env bash
# Records docs/session.svg: a real session with the plugin in the QEMU on the path. Three terminals: one client has a
# disk hashed, another asks QEMU meanwhile, the third is examples/qmp_top.
#
#   docs/session.sh        needs tmux, qemu-system-x86_64, qemu-img, qmp-shell, asciinema 2 (PyPI), svg-term (npm: svg-term-cli)
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --example qemu_plugin --features host
cargo build --release --example qmp_top
built=${CARGO_TARGET_DIR:-target}/release/examples
folder=$(mktemp -d)
qemu=
cleanup() {
    tmux -L session kill-server 2>/dev/null || true
    if [ -n "$qemu" ]; then kill "$qemu" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap cleanup EXIT

# Something to hash for six seconds.
qemu-img create -q -f qcow2 "$folder/disk.qcow2" 6G
qemu-system-x86_64 -accel tcg -display none -drive "file=$folder/disk.qcow2,if=virtio,id=disk0" \
    -object iothread,id=io0 -plugin "$built/libqemu_plugin.so,qmp=unix:$folder/ours.sock,accounts=on" &
qemu=$!
until [ -S "$folder/ours.sock" ]; do :; done

# The panes' shells only start what is shown: `clear` hides how.
tmux -L session -f /dev/null new-session -d -x 112 -y 34 -s session "qmp-shell $folder/ours.sock"
tmux -L session set -g status off
tmux -L session split-window -v -l 24 "qmp-shell $folder/ours.sock"
tmux -L session split-window -v -l 14 "$built/qmp_top --interval 500 $folder/ours.sock"

keys() { # PANE TEXT: typed, and entered
    local pane=$1 text=$2
    for ((at = 0; at < ${#text}; at++)); do
        tmux -L session send-keys -t "session:0.$pane" -l "${text:at:1}"
        sleep 0.03
    done
    tmux -L session send-keys -t "session:0.$pane" Enter
}

play() {
    sleep 1
    keys 0 'x-blockdev-checksum device=disk0 algorithm=sha256 iothread=io0 speed=1000000000'
    sleep 1
    keys 1 'query-status'
    sleep 1
    keys 1 'query-name'
    sleep 0.7
    keys 1 'query-iothreads'
    sleep 5
    tmux -L session kill-server
}
play &
asciinema rec --quiet --overwrite --cols 112 --rows 34 -c 'tmux -L session attach -t session' "$folder/session.cast"
wait %2 2>/dev/null || true
svg-term --in "$folder/session.cast" --out docs/session.svg --window --no-cursor --width 112 --height 34
