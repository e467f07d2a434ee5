-- The usual way to load the catalogue, for comparison in scripts/bench: plain tables, \copy of each file in turn, then
-- keys, an index for each foreign key, and VACUUM ANALYZE; all in one psql session.
--
-- In the directory of the CSV files, with an empty database: psql -X -q -v ON_ERROR_STOP=1 -f usual.sql
--
-- Prints seconds (copy, index, vacuum) and the rows of each table. PostgreSQL's CSV reader pairs unclosed quotes with
-- later ones: with real copies it loses 193 photos here, without an error.

create table product (id int, name text, slogan text, description text, category text, default_price numeric(12,2));
create table features (id int, product_id int, feature text, value text);
create table styles (id int, product_id int, name text, sale_price numeric(12,2), original_price numeric(12,2), default_style boolean);
create table photos (id int, style_id int, url text, thumbnail_url text);
create table skus (id int, style_id int, size text, quantity int);
create table related (id int, product_id int, related_product_id int);

select extract(epoch from clock_timestamp()) as started \gset

\copy product from 'product.csv' with (format csv, header, null 'null')
\copy features from 'features.csv' with (format csv, header, null 'null')
\copy styles from 'styles.csv' with (format csv, header, null 'null')
\copy photos from 'photos.csv' with (format csv, header, null 'null')
\copy skus from 'skus.csv' with (format csv, header, null 'null')
\copy related from 'related.csv' with (format csv, header, null 'null')

select extract(epoch from clock_timestamp()) as copied \gset

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

select extract(epoch from clock_timestamp()) as indexed \gset

vacuum analyze;

select extract(epoch from clock_timestamp()) as vacuumed \gset

\pset format unaligned
\pset fieldsep ' '
\pset tuples_only on
select 'seconds', round(:copied - :started, 2), round(:indexed - :copied, 2), round(:vacuumed - :indexed, 2);
select 'product', count(*) from product union all
select 'features', count(*) from features union all
select 'styles', count(*) from styles union all
select 'photos', count(*) from photos union all
select 'skus', count(*) from skus union all
select 'related', count(*) from related;
