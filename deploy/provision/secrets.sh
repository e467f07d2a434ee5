# Passwords and certificates, in the directory SECRETS:
#
#   load.password server.password replication.password     of the roles atelier_load, …
#   ca.crt ca.key                                          the CA of the cluster
#   ADDRESS.crt ADDRESS.key                                of each host with a database or a server
# shellcheck shell=bash

# need_secrets NAME…: called before anything is changed. A missing one would end up as an empty file or an empty password.
need_secrets() {
    local name
    for name in "$@"; do
        [ -s "$SECRETS/$name" ] || die "$SECRETS/$name is missing" \
            "scripts/provision secrets creates it on one host; copy it from there, readable only by root"
        [[ $name != *.password || $(cat "$SECRETS/$name") != *[[:cntrl:]]* ]] ||
            die "$SECRETS/$name has more than one line, or ends as on Windows" "a password is one line"
    done
}

provision_secrets() {
    local name address names
    need openssl openssl
    umask 077
    mkdir -p "$SECRETS"
    for name in load server replication; do
        if [ -s "$SECRETS/$name.password" ]; then continue; fi
        openssl rand -hex 24 >"$SECRETS/$name.password"
        say "created $SECRETS/$name.password"
    done
    if [ ! -s "$SECRETS/ca.crt" ]; then
        ! compgen -G "$SECRETS/*.*.*.*.crt" >/dev/null || die "$SECRETS has certificates of hosts, but not ca.crt, which they need" \
            "restore ca.crt and ca.key; or remove all .crt and .key there, and give every host the new ones"
        make_certificate ca -subj '/CN=Atelier Catalogue' \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
    fi
    for address in $DB_PRIMARY $DB_STANDBYS $APPS; do
        if [ -s "$SECRETS/$address.crt" ]; then continue; fi
        [ -s "$SECRETS/ca.key" ] || die "$SECRETS/ca.key is missing, which signs the certificate of $address" \
            "copy it from the host where the secrets were created, or create the certificate there"
        names=IP:$address
        case " $DB_PRIMARY $DB_STANDBYS " in *" $address "*) names+=,DNS:$(host_name "$address") ;; esac
        case " $APPS " in *" $address "*) names+=,DNS:$SERVER_NAME ;; esac
        make_certificate "$address" -CA "$SECRETS/ca.crt" -CAkey "$SECRETS/ca.key" -subj "/CN=$address" \
            -addext "subjectAltName=$names" -addext extendedKeyUsage=serverAuth -addext basicConstraints=CA:FALSE
    done
}

# make_certificate NAME OPTION…: a key and a certificate with these options of openssl req. Both files or none.
make_certificate() {
    local name=$1
    shift
    quietly "openssl could not create the certificate $name" "see what is in $SECRETS" openssl req -x509 -config /dev/null \
        -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -keyout "$SECRETS/.new.key" -out "$SECRETS/.new.crt" "$@"
    mv "$SECRETS/.new.key" "$SECRETS/$name.key"
    mv "$SECRETS/.new.crt" "$SECRETS/$name.crt"
    say "created $SECRETS/$name.key and $name.crt"
}
