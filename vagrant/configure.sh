#!/bin/sh
# Joins this machine to the network: configure.sh OWN-ADDRESS ETCD-ADDRESS NETWORK. Repeatable.
set -eu
own=$1 etcd=$2 network=$3
endpoint=http://$etcd:2379

if [ "$own" = "$etcd" ]; then
    cat >/etc/default/etcd <<ETCD
ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ETCD_ADVERTISE_CLIENT_URLS=$endpoint
ETCD
    systemctl enable etcd
    systemctl restart etcd
    # Whoever provisions again finds the network configured.
    twillctl --etcd-endpoints "$endpoint" network show >/dev/null 2>&1 ||
        twillctl --etcd-endpoints "$endpoint" network init --network "$network"
fi

# The default route of such a machine leads to the provider's NAT, where every machine has one address.
cat >/etc/twill/twilld.env <<ENV
TWILLD_ETCD_ENDPOINTS=$endpoint
TWILLD_IFACE=$own
TWILLD_IP_MASQ=true
ENV
systemctl enable twilld
systemctl restart twilld

# A first image, for `twill run`.
/src/twill/packaging/examples/busybox-image.sh | twill import - busybox
