#!/usr/bin/env bash
# Makes the certificates of the tests of TLS, good ones and ones of each kind that is refused. They guard nothing: run it
# again (in this folder) when another kind is wanted, and commit what it made.
set -euo pipefail
century=36500
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -days $century -subj "/CN=An authority for tests" -out ca.pem \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign
openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out server.key
openssl req -new -key server.key -subj "/CN=localhost" -out request
issue() { openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial "$@" 2>/dev/null; }
names='subjectAltName=DNS:localhost,IP:127.0.0.1,IP:0.0.0.0'
issue -days $century -extfile <(echo "$names") -out good.pem
issue -days $century -extfile <(echo "subjectAltName=DNS:elsewhere.example") -out other-name.pem
issue -days $century -extfile <(echo "basicConstraints=CA:false") -out common-name-only.pem
# Only this command makes one that has expired already, or that is not valid yet.
cat > config <<CONF
[ca]
default_ca = authority
[authority]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
CONF
: > index; echo 01 > serial
between() {
    openssl ca -batch -config config -cert ca.pem -keyfile ca.key -in request -notext -startdate "$1" -enddate "$2" \
        -extfile <(echo "$names") -out "$3" 2>/dev/null
}
between 20200101000000Z 20210101000000Z expired.pem
between 21000101000000Z 21100101000000Z not-yet-valid.pem
# Without extensions it is of version 1.
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days $century -out version-1.pem 2>/dev/null
rm -f ca.key request config ca.srl index* serial* 01.pem 02.pem
