-- The usual way to answer /products/:id/styles, for comparison in scripts/bench serve: one prepared statement that builds
-- the JSON in the database. pgbench runs it for random products, ids 1 to :products.
--
-- The JSON equals the server's except for white space; the script checks that before it measures.

\set id random(1, :products)
select json_build_object(
    'product_id', :id::text,
    'results', coalesce(json_agg(json_build_object(
        'style_id', s.id,
        'name', s.name,
        'original_price', s.original_price::text,
        'sale_price', s.sale_price::text,
        'default?', s.default_style,
        'photos', (
            select coalesce(json_agg(json_build_object('thumbnail_url', p.thumbnail_url, 'url', p.url) order by p.id), '[]')
            from atelier.photos p where p.style_id = s.id),
        'skus', (
            select coalesce(json_object_agg(k.id, json_build_object('quantity', k.quantity, 'size', k.size) order by k.id), '{}')
            from atelier.skus k where k.style_id = s.id)
    ) order by s.id), '[]'))
from atelier.styles s where s.product_id = :id;
