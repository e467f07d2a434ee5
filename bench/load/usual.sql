-- The usual way to load the catalogue, for comparison in scripts/bench etl: plain tables, \copy of each file in turn, then
-- keys, an index for each foreign key, and VACUUM ANALYZE; all in one psql session. Prints the time of each statement.
--
-- In the directory of the CSV files, with an empty database: psql -X -v ON_ERROR_STOP=1 -f usual.sql
--
-- PostgreSQL's CSV reader pairs unclosed quotes with later ones: with real copies it loses 193 photos, without an error.

\timing on

create table product (id int, name text, slogan text, description text, category text, default_price numeric(12,2));
create table features (id int, product_id int, feature text, value text);
create table styles (id int, product_id int, name text, sale_price numeric(12,2), original_price numeric(12,2), default_style boolean);
create table photos (id int, style_id int, url text, thumbnail_url text);
create table skus (id int, style_id int, size text, quantity int);
create table related (id int, product_id int, related_product_id int);

\copy product from 'product.csv' with (format csv, header, null 'null')
\copy features from 'features.csv' with (format csv, header, null 'null')
\copy styles from 'styles.csv' with (format csv, header, null 'null')
\copy photos from 'photos.csv' with (format csv, header, null 'null')
\copy skus from 'skus.csv' with (format csv, header, null 'null')
\copy related from 'related.csv' with (format csv, header, null 'null')

alter table product add primary key (id);
alter table features add primary key (id);
alter table styles add primary key (id);
alter table photos add primary key (id);
alter table skus add primary key (id);
alter table related add primary key (id);
create index on features (product_id);
create index on styles (product_id);
create index on photos (style_id);
create index on skus (style_id);
create index on related (product_id);

vacuum analyze;
