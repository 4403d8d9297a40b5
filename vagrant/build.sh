#!/bin/sh
# Builds and installs Twill on a fresh machine of the Vagrantfile. Repeatable.
set -eu

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates curl make >/dev/null
if ! [ -x "$HOME/.cargo/bin/cargo" ]; then
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
fi
cd /src/twill
make build
make install PREFIX=/usr
systemctl daemon-reload
