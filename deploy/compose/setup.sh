#!/bin/sh
# Initialises OpenBao at its first start, unseals it at each one, and gives the key server a role. Can be run again.
set -eu

# wait_until CONDITION SECONDS MESSAGE: runs a command every second until it succeeds, or ends the script.
wait_until() {
    tries=$2
    until "$1"; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "$3: $(bao status 2>&1)" >&2
            exit 1
        fi
        sleep 1
    done
}

# OpenBao says whether it is initialised. No answer means neither: `bao operator init -status` exits with 2, as for
# "not initialised", also if it reaches nobody.
is_answered() {
    initialised=$(bao status 2>/dev/null | sed -n 's/^Initialized *//p')
    [ "$initialised" = true ] || [ "$initialised" = false ]
}
wait_until is_answered 120 "OpenBao does not say whether it is initialised"

umask 077
# A run that ended between the initialisation and the renaming left the whole file.
if [ ! -s /unseal/init ] && grep -q '^Initial Root Token: ' /unseal/init.new 2>/dev/null; then
    mv /unseal/init.new /unseal/init
fi
if [ "$initialised" = false ]; then
    if [ -s /unseal/init ]; then
        echo "OpenBao is not initialised, but the volume unseal has the unseal key of an earlier one in the file" \
            "init. If the volume openbao of that one is lost for good, remove the file, and start again." >&2
        exit 1
    fi
    # There is no second copy of these secrets: they are on the disk before they get their name.
    bao operator init -key-shares=1 -key-threshold=1 >/unseal/init.new
    sync /unseal/init.new
    mv /unseal/init.new /unseal/init
    sync /unseal/
elif [ ! -s /unseal/init ]; then
    echo "OpenBao is initialised, but its unseal key is not in the file init of the volume unseal: restore the file" >&2
    exit 1
fi
# By standard input: everybody on the machine can read the arguments of a process.
sed -n 's/^Unseal Key 1: //p' /unseal/init | tr -d '\n' | bao write sys/unseal key=- >/dev/null
BAO_TOKEN=$(sed -n 's/^Initial Root Token: //p' /unseal/init)
export BAO_TOKEN

# The one node of a cluster takes a moment to become active. Until then it may answer reads, but takes no writes.
is_active() {
    bao status 2>/dev/null | grep -q '^HA Mode *active$' && bao secrets list >/dev/null 2>&1
}
wait_until is_active 60 "OpenBao is unsealed, and does not become active (see its log)"

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
