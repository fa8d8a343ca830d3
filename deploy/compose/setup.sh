#!/bin/sh
# Initialises OpenBao at its first start, unseals it at each one, and gives the key server a role. Can be run again.
set -eu

# bao status: 0 is unsealed, 2 sealed or not initialised, 1 not there yet.
while bao status >/dev/null 2>&1 && status=0 || status=$?; [ "$status" = 1 ]; do sleep 1; done

umask 077
if ! bao operator init -status >/dev/null 2>&1; then
    bao operator init -key-shares=1 -key-threshold=1 >/unseal/init
fi
bao operator unseal "$(sed -n 's/^Unseal Key 1: //p' /unseal/init)" >/dev/null
BAO_TOKEN=$(sed -n 's/^Initial Root Token: //p' /unseal/init)
export BAO_TOKEN

# The one node of a cluster takes a moment to become active.
tries=60
until bao secrets list >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then
        echo "OpenBao is unsealed, and does not become active: see its log" >&2
        exit 1
    fi
    sleep 1
done

bao secrets list | grep -q '^kv/' || bao secrets enable -path=kv -version=2 kv
bao auth list | grep -q '^approle/' || bao auth enable approle
bao policy write kes - <<EOF
path "kv/data/*"     { capabilities = ["create", "read"] }
path "kv/metadata/*" { capabilities = ["list", "delete"] }
EOF
bao write auth/approle/role/kes token_policies=kes token_ttl=20m
bao write auth/approle/role/kes/role-id role_id=kes
if [ ! -s /kes-approle/secret-id ]; then
    # The key server reads it as user 1000. No other container has the volume.
    umask 022
    bao write -field=secret_id -f auth/approle/role/kes/secret-id >/kes-approle/secret-id
fi
