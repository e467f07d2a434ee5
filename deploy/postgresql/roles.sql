-- Creates roles and database; run by scripts/provision on the primary. Idempotent. Roles have minimal privileges: the loader
-- can create schemas in its database, the server can read what is granted to atelier_reader, replication reads WAL.
-- Variables: database; load, server, replication (passwords).

SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['atelier_reader', 'atelier_load', 'atelier_server',
    'atelier_replication']) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec

ALTER ROLE atelier_reader NOLOGIN;
ALTER ROLE atelier_load LOGIN CONNECTION LIMIT 40 PASSWORD :'load';
ALTER ROLE atelier_server LOGIN PASSWORD :'server';
ALTER ROLE atelier_server SET default_transaction_read_only = on;
ALTER ROLE atelier_replication LOGIN REPLICATION CONNECTION LIMIT -1 PASSWORD :'replication';
GRANT atelier_reader TO atelier_server;

SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C''', :'database')
    WHERE :'database' NOT IN (SELECT datname FROM pg_database) \gexec

REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"database" TO atelier_load;
GRANT CONNECT ON DATABASE :"database" TO atelier_server;
\connect :"database"
REVOKE ALL ON SCHEMA public FROM PUBLIC;
