-- A prototype of a read model, for scripts/bench serve: the responses of /products/:id/styles as text, identical to the
-- server's except for escapes. Uses both cores, as a load would.
set max_parallel_workers_per_gather = 2;
set parallel_setup_cost = 0;
set parallel_tuple_cost = 0;
set min_parallel_table_scan_size = 0;
set work_mem = '256MB';

-- Documents stay in their row up to 8 kB: nothing to be looked up elsewhere, and nothing compressed.
create table bench_read.style_document with (toast_tuple_target = 8160, autovacuum_enabled = false) as
select p.id as product_id,
    '{"product_id":"' || p.id || '","results":[' || coalesce((
        select string_agg(
            '{"style_id":' || s.id || ',"name":' || to_json(s.name) || ',"original_price":"' || s.original_price
            || '","sale_price":' || coalesce('"' || s.sale_price || '"', 'null') || ',"default?":' || s.default_style::text
            || ',"photos":[' || coalesce((
                select string_agg('{"thumbnail_url":' || to_json(f.thumbnail_url) || ',"url":' || to_json(f.url) || '}', ','
                    order by f.id)
                from atelier.photos f where f.style_id = s.id), '')
            || '],"skus":{' || coalesce((
                select string_agg('"' || k.id || '":{"quantity":' || k.quantity || ',"size":' || to_json(k.size) || '}', ','
                    order by k.id)
                from atelier.skus k where k.style_id = s.id), '')
            || '}}', ',' order by s.id)
        from atelier.styles s where s.product_id = p.id), '') || ']}' as body
from atelier.product p;
