# Sourced by tests/page/run: products that the page must get right, behind the generated ones.
# shellcheck shell=bash

# add_products DIRECTORY: adds rows to the CSV files in it: the product 8900, and from 9001 on.
add_products() {
    local dir=$1 photo=https://images.unsplash.com/photo word
    word=$(printf 'W%.0s' {1..200})
    # shellcheck disable=SC1003 # the backslash is sed's
    sed -i -e '$a\' "$dir"/*.csv # the last line of a generated file has no end
    # 8900 has words that break nowhere, and prices that are no sale.
    printf '8900,"%s","%s","%s","%s",50\n' "$word" "$word" "$word" "$word" >>"$dir/product.csv"
    printf '89000,8900,"%s","%s"\n' "$word" "$word" >>"$dir/features.csv"
    printf '%d,8900,"%s",%s,50,0\n' 89001 "$word" 50 89002 "At its price" 50.00 89003 "Above its price" 60 >>"$dir/styles.csv"
    printf '89000,89001,"%s","%s"\n' "$word" "$word" >>"$dir/photos.csv"
    printf '%d,89001,"%s",%d\n' 89001 "$word" 3 89002 S 5 >>"$dir/skus.csv"
    # 9001 has everything; 9002 is made of markup; 9003 has nothing but a name; 9004 is sold out.
    cat >>"$dir/product.csv" <<'CSV'
9001,"Harbour Parka","For the walk back, too","A shell that keeps the sea out and a lining that keeps you in. Cut long, so that it covers what you sit on, and with a hood that turns when you do.

Made to be mended: every seam can be opened and closed again.","Jackets",240
9002,"<img src=x onerror=alert(1)>","<script>alert(2)</script>","&lt;b&gt; <b>bold</b> ""quoted""","<i>Markup</i>",1234567.5
9003,"Bare Hook","","","",0
9004,"Gone Gloves","Everybody has a pair by now","","Accessories",35
CSV
    cat >>"$dir/features.csv" <<'CSV'
90001,9001,"Shell","Waxed cotton"
90002,9001,"Lining","Recycled wool"
90003,9001,"Pockets","Four, one of them inside"
90004,9001,"Taped seams",null
90005,9002,"<u>feature</u>","<u>value</u>"
CSV
    cat >>"$dir/styles.csv" <<'CSV'
90001,9001,"Slate",null,240,0
90002,9001,"Rust",179.99,240,1
90003,9001,"Moss",null,255,0
90004,9001,"Chalk",null,240,0
90005,9002,"<b>Style</b>",null,1234567.5,1
90006,9004,"Black",null,35,1
90007,9004,"White",null,35,0
CSV
    {
        local id=90000 style name number
        while read -r style name number; do
            for ((; number > 0; number--)); do
                id=$((id + 1))
                printf '%d,%d,"%s-%s-%d?w=668","%s-%s-%d?w=300"\n' \
                    "$id" "$style" "$photo" "$name" "$number" "$photo" "$name" "$number"
            done
        done <<<$'90001 slate 6\n90002 rust 4\n90003 moss 1\n90006 black 2'
        printf '%d,90005,"javascript:alert(3)","%s"\n' $((id + 1)) '""><img src=x onerror=alert(4)>'
    } >>"$dir/photos.csv"
    cat >>"$dir/skus.csv" <<'CSV'
90001,90001,"XS",0
90002,90001,"S",3
90003,90001,"M",40
90004,90001,"L",16
90005,90001,"XL",0
90006,90002,"S",8
90007,90002,"M",1
90008,90002,"L",0
90009,90003,"M",7
90010,90005,"<b>S</b>",2
90011,90006,"S",0
90012,90006,"M",-4
CSV
    cat >>"$dir/related.csv" <<'CSV'
90001,9001,3
90002,9001,1
90003,9001,9001
90004,9001,3
90005,9001,9004
90006,9001,8
90007,9002,9002
CSV
}
