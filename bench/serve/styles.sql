-- The usual way to answer /products/:id/styles, which scripts/bench serve measures the server against: one prepared
-- statement that makes the JSON in the database. pgbench runs it for random products, ids 1 to :products.
--
-- The JSON is the server's, but for white space: the script compares the answers of both before it measures.

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
