-- The catalogue: its tables, then what comes after the load. The only place that states them.
--
--   psql -v ON_ERROR_STOP=1 -f schema.sql        makes an empty catalogue in the schema "atelier"
--
-- atelier-etl runs the same statements: the CREATE TABLE of a table before its rows, and what names the
-- table afterwards (keys, indexes) behind its rows, with search_path set to its staging schema. It expects
-- plain statements, each ended by a semicolon at a line's end.
--
-- The tables are written once, by COPY, and never changed: rows are frozen as they come in and ANALYZE runs
-- before publishing, so autovacuum has nothing to do here, and index pages need no room to grow.

CREATE SCHEMA IF NOT EXISTS atelier;
SET search_path TO atelier;

CREATE TABLE product (
    id            int           NOT NULL,
    position      int           NOT NULL,  -- rank of id, from 1: page n of the catalogue is a range of it
    name          text          NOT NULL,
    slogan        text          NOT NULL,
    description   text          NOT NULL,
    category      text          NOT NULL,
    default_price numeric(12,2) NOT NULL
) WITH (autovacuum_enabled = false);

CREATE TABLE features (
    id         int  NOT NULL,
    product_id int  NOT NULL,
    feature    text NOT NULL,
    value      text
) WITH (autovacuum_enabled = false);

CREATE TABLE styles (
    id             int           NOT NULL,
    product_id     int           NOT NULL,
    name           text          NOT NULL,
    sale_price     numeric(12,2),
    original_price numeric(12,2) NOT NULL,
    default_style  boolean       NOT NULL
) WITH (autovacuum_enabled = false);

CREATE TABLE photos (
    id            int  NOT NULL,
    style_id      int  NOT NULL,
    url           text NOT NULL,
    thumbnail_url text NOT NULL
) WITH (autovacuum_enabled = false);

CREATE TABLE skus (
    id       int  NOT NULL,
    style_id int  NOT NULL,
    size     text NOT NULL,
    quantity int  NOT NULL
) WITH (autovacuum_enabled = false);

CREATE TABLE related (
    id                 int NOT NULL,
    product_id         int NOT NULL,
    related_product_id int NOT NULL
) WITH (autovacuum_enabled = false);

-- One row: which load this is, what it read and what became of it.
CREATE TABLE load (
    load_id     uuid        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    version     text        NOT NULL,  -- of atelier-etl
    tables      jsonb       NOT NULL   -- by table: source file, size, digests, rows read, loaded, repairs, rejects
);

-- After the rows. A child's key starts with its parent: one index serves as the key and for the look-up by
-- parent, in id order. Foreign keys are not declared: the loader checked every parent, row by row.

ALTER TABLE product  ADD CONSTRAINT product_pkey         PRIMARY KEY (id)             WITH (fillfactor = 100);
ALTER TABLE product  ADD CONSTRAINT product_position_key UNIQUE      (position)       WITH (fillfactor = 100);
ALTER TABLE features ADD CONSTRAINT features_pkey        PRIMARY KEY (product_id, id) WITH (fillfactor = 100);
ALTER TABLE styles   ADD CONSTRAINT styles_pkey          PRIMARY KEY (product_id, id) WITH (fillfactor = 100);
ALTER TABLE photos   ADD CONSTRAINT photos_pkey          PRIMARY KEY (style_id, id)   WITH (fillfactor = 100);
ALTER TABLE skus     ADD CONSTRAINT skus_pkey            PRIMARY KEY (style_id, id)   WITH (fillfactor = 100);
ALTER TABLE related  ADD CONSTRAINT related_pkey         PRIMARY KEY (product_id, id) WITH (fillfactor = 100);
