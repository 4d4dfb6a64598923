#!/usr/bin/env bash
# Make a certificate authority for one cluster, and a certificate for each node, for Ray's TLS (docs/clusters.md).
#
#   cluster/certificates.sh FOLDER ADDRESS...        then copy ca.crt and ADDRESS.crt, ADDRESS.key to each node
#
# The authority's key is deleted at the end: who needs another node later makes all certificates again.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "Usage: cluster/certificates.sh FOLDER ADDRESS..." >&2
  exit 2
fi
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"
authority=$(mktemp)
trap 'rm -f "$authority"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=mocap-ray cluster" \
  -keyout "$authority" -out ca.crt 2>/dev/null
for address in "$@"; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$address" -keyout "$address.key" \
    -out "$address.csr" 2>/dev/null
  # Ray also talks to itself on loopback.
  openssl x509 -req -in "$address.csr" -CA ca.crt -CAkey "$authority" -CAcreateserial -days 365 -out "$address.crt" \
    -extfile <(printf 'subjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost\n' "$address") 2>/dev/null
  rm "$address.csr"
done
rm -f ca.srl
