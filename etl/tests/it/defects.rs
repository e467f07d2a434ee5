//! `data/example` loaded and checked: its defects, compared with expectations written by hand.

use atelier_base::tables::TABLES;
use atelier_testing::Server;
use serde_json::json;

use crate::catalogue::{Done, check, example, files, load, written};
use crate::run::etl;

const ACCEPTING: [&str; 2] = ["--max-rejects", "50%"];

/// The reject files byte for byte but for the header, with their six columns.
fn expect_rejects(done: &Done) {
    let expected = [
        (
            "product",
            concat!(
                r#"19,1353,,field_count,5 fields where the header has 6,"15,""No Slogan"",""Rejected: a field is missing."",""Hats"",15""#,
                "\n",
                r#"20,1410,name,bad_quote,"a quote in the middle, or text after a closing one: ""Stray ""quote"" inside""","16,""Stray ""quote"" inside"",""Rejected"",""A quote in the middle of a field."",""Hats"",16""#,
                "\n",
                r#"21,1493,default_price,bad_price,not a price from 0 to 9999999999.99 with at most two decimals: free,"17,""Free"",""Rejected"",""Not a price."",""Hats"",free""#,
                "\n",
                r#"22,1541,id,duplicate_id,an earlier row has the id 1,"1,""Harbour Coat again"",""Rejected"",""The id 1 is taken."",""Jackets"",141""#,
                "\n",
            ),
        ),
        (
            "features",
            concat!(
                r#"9,209,product_id,orphan,"no row of product has the id 99, or it was rejected","8,99,""Orphan"",""Rejected: there is no product 99""""#,
                "\n",
                r#"10,259,product_id,orphan,"no row of product has the id 15, or it was rejected","9,15,""Orphan"",""Rejected: product 15 was rejected""""#,
                "\n",
                r#"11,310,feature,missing_value,"empty, but the column needs a value","10,6,"""",""Rejected: no name""""#,
                "\n",
            ),
        ),
        (
            "styles",
            concat!(
                r#"11,363,name,missing_value,"null, but the column needs a value","10,8,null,null,1,1""#,
                "\n",
                r#"12,382,default_style,bad_boolean,"not 0, 1, t, f, true or false: 2","11,8,""Neither 0 nor 1"",null,1,2""#,
                "\n",
                r#"13,414,product_id,orphan,"no row of product has the id 42, or it was rejected","12,42,""Orphan"",null,1,1""#,
                "\n",
            ),
        ),
        (
            "photos",
            concat!(
                r#"11,1051,url,missing_value,"null, but the column needs a value","10,4,null,""no url: rejected""""#,
                "\n",
                r#"13,1201,,field_count,3 fields where the header has 4,"12,8,""only one url: rejected""""#,
                "\n",
                r#"14,1231,style_id,orphan,"no row of styles has the id 10, or it was rejected","13,10,""https://images.example/photo-1510-orphan?fit=crop&w=668&q=80"",""https://images.example/photo-1510-orphan?fit=crop&w=300&q=80""""#,
                "\n",
            ),
        ),
        (
            "skus",
            concat!(
                r#"11,142,quantity,bad_integer,not an integer from -2147483648 to 2147483647: many,"10,8,""S"",many""#,
                "\n",
                r#"12,156,quantity,bad_integer,not an integer from -2147483648 to 2147483647: 2147483648,"11,8,""M"",2147483648""#,
                "\n",
                r#"15,203,size,missing_value,"empty, but the column needs a value","14,13,"""",1""#,
                "\n",
                r#"17,228,style_id,orphan,"no row of styles has the id 10, or it was rejected","15,10,""L"",3""#,
                "\n",
            ),
        ),
        (
            "related",
            concat!(
                r#"9,83,related_product_id,orphan,"no row of product has the id 0, or it was rejected","0,8,4""#,
                "\n",
                r#"11,98,related_product_id,orphan,"no row of product has the id 15, or it was rejected","15,10,5""#,
                "\n",
            ),
        ),
    ];
    for (table, rows) in expected {
        let wanted = format!("line,byte_offset,column,code,message,raw\n{rows}");
        assert_eq!(String::from_utf8(done.rejects(table).unwrap()).unwrap(), wanted, "{table}");
    }
}

/// The summary without what differs from run to run: seconds, rates, and where the reject files are.
fn stable_lines(summary: &str) -> Vec<String> {
    let lines = summary.lines().take_while(|line| !line.starts_with("load ")).map(|line| {
        match (line.split_once(" are in "), line.split_whitespace().collect::<Vec<_>>()) {
            (Some((what, _)), _) => what.to_owned(),
            (None, words) if words.len() == 7 && words[1].parse::<u64>().is_ok() => words[..5].join(" "),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

const SUMMARY: &str = "\
table       rows read      loaded    repaired    rejected  seconds     rows/s
product 19 15 4 4
features 12 9 1 3
styles 13 10 4 3
photos 15 12 4 3
skus 16 12 1 4
related 12 10 0 2
total 87 68 14 19
product: 3 repaired, price_format
  line 15: 11,\"Damaged Price\",\"Mended\",\"Written in …
  line 16: 12,\"Decimal Price\",\"Mended\",\"Not 58600.\"…
  line 18: 14,\"Half a Line\",\"Mended\",\"A piece of JS…
product: 1 repaired, spacing
  line 17: 13,\"Spaced Price\",\"Mended\",\"A space befo…
product: 1 rejected, bad_price
  line 21: default_price: not a price from 0 to 9999999999.99 with at most two decimals: free
product: 1 rejected, bad_quote
  line 20: name: a quote in the middle, or text after a closing one: \"Stray \"quote\" inside\"
product: 1 rejected, duplicate_id
  line 22: id: an earlier row has the id 1
product: 1 rejected, field_count
  line 19: 5 fields where the header has 6
  the rejected rows
features: 1 repaired, unterminated_quote
  line 12: 11,6,\"Length\",\"Unterminated
features: 1 rejected, missing_value
  line 11: feature: empty, but the column needs a value
features: 2 rejected, orphan
  line 9: product_id: no row of product has the id 99, or it was rejected
  the rejected rows
styles: 1 repaired, price_format
  line 10: 9,7,\"\u{1f9f5}\",null,\"$12\",0
styles: 4 repaired, spacing
  line 1: id, productId, name, sale_price, origina…
  line 2: 1, 1, \"Sea Green & Black\", null, 140, 1
  line 3: 2, 1, \"Sand\", 99.95, 140, 0
styles: 1 rejected, bad_boolean
  line 12: default_style: not 0, 1, t, f, true or false: 2
styles: 1 rejected, missing_value
  line 11: name: null, but the column needs a value
styles: 1 rejected, orphan
  line 13: product_id: no row of product has the id 42, or it was rejected
  the rejected rows
photos: 4 repaired, unterminated_quote
  line 4: …example/photo-1501-c?fit=crop&w=300&q=80
  line 6: …example/photo-1502-a?fit=crop&w=300&q=80
  line 7: …example/photo-1502-b?fit=crop&w=300&q=80
photos: 1 rejected, field_count
  line 13: 3 fields where the header has 4
photos: 1 rejected, missing_value
  line 11: url: null, but the column needs a value
photos: 1 rejected, orphan
  line 14: style_id: no row of styles has the id 10, or it was rejected
  the rejected rows
skus: 1 repaired, spacing
  line 16: 14,13,\"XL\", 6
skus: 2 rejected, bad_integer
  line 11: quantity: not an integer from -2147483648 to 2147483647: many
skus: 1 rejected, missing_value
  line 15: size: empty, but the column needs a value
skus: 1 rejected, orphan
  line 17: style_id: no row of styles has the id 10, or it was rejected
  the rejected rows
related: 2 rejected, orphan
  line 9: related_product_id: no row of product has the id 0, or it was rejected
  the rejected rows
";

#[test]
fn every_defect_is_repaired_or_in_a_reject_file() {
    let database = Server::shared().database();
    let loaded = load(&database, &example(), &ACCEPTING).succeeded();
    let checked = check(&example(), &ACCEPTING).succeeded();
    assert_eq!(stable_lines(&loaded.run.stdout), SUMMARY.lines().collect::<Vec<_>>());
    assert!(checked.run.stdout.contains("the files can be loaded"), "{}", checked.run.stdout);

    for done in [&loaded, &checked] {
        expect_rejects(done);
        assert_eq!(done.of_tables("read"), [19, 12, 13, 15, 16, 12]);
        assert_eq!(done.of_tables("loaded"), [15, 9, 10, 12, 12, 10]);
        assert_eq!(
            done.of_tables("repaired"),
            [
                json!({"price_format": 3, "spacing": 1}),
                json!({"unterminated_quote": 1}),
                // Three rows and the header.
                json!({"price_format": 1, "spacing": 4}),
                json!({"unterminated_quote": 4}),
                json!({"spacing": 1}),
                json!({}),
            ]
        );
        assert_eq!(
            done.of_tables("rejected"),
            [
                json!({"field_count": 1, "bad_quote": 1, "bad_price": 1, "duplicate_id": 1}),
                json!({"missing_value": 1, "orphan": 2}),
                json!({"missing_value": 1, "bad_boolean": 1, "orphan": 1}),
                json!({"missing_value": 1, "field_count": 1, "orphan": 1}),
                json!({"bad_integer": 2, "missing_value": 1, "orphan": 1}),
                json!({"orphan": 2}),
            ]
        );
    }
}

#[test]
fn too_many_rejects_publish_nothing_and_are_all_recorded() {
    let database = Server::shared().database();
    let refused = load(&database, &example(), &[]);
    assert_eq!(refused.run.code, 3, "{}", refused.run.stderr);
    let expected = "atelier-etl: product: 4 of 19 rows rejected, more than --max-rejects 1 % allows\n";
    assert!(refused.run.stderr.starts_with(expected), "{}", refused.run.stderr);
    assert!(refused.report["load_id"].is_null());
    expect_rejects(&refused);
    let ours = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'atelier%'";
    assert_eq!(database.query(ours), Vec::<Vec<_>>::new());
    let status = etl(["status", "--database-url", &database.url()]);
    assert_eq!(status.code, 0, "{}", status.stderr);
    assert!(status.stdout.starts_with("no load is published in "), "{}", status.stdout);

    let refused = check(&example(), &["--max-rejects", "3"]);
    assert_eq!(refused.run.code, 3);
    assert!(refused.run.stderr.contains("product: 4 of 19 rows"), "{}", refused.run.stderr);
    check(&example(), &["--max-rejects", "4"]).succeeded();
}

/// What a person would change in a rejected record: table, found text, correct text. Orphans of a product or
/// style that was itself rejected need nothing.
const REPAIRED: [(&str, &str, &str); 15] = [
    ("product", "15,\"No Slogan\",", "15,\"No Slogan\",\"\","),
    ("product", "\"Stray \"quote\" inside\"", "\"Stray \"\"quote\"\" inside\""),
    ("product", "free", "17"),
    ("product", "1,\"Harbour Coat again\"", "19,\"Harbour Coat again\""),
    ("features", "8,99,", "8,9,"),
    ("features", "10,6,\"\",", "10,6,\"Name\","),
    ("styles", "10,8,null,", "10,8,\"Named\","),
    ("styles", "null,1,2", "null,1,0"),
    ("styles", "12,42,", "12,8,"),
    ("photos", "10,4,null,", "10,4,\"url\","),
    ("photos", "12,8,", "12,8,\"url\","),
    ("skus", "many", "1"),
    ("skus", "2147483648", "2147483647"),
    ("skus", "14,13,\"\"", "16,13,\"S\""),
    ("related", "0,8,4", "1,8,4"),
];

#[test]
fn rejected_rows_are_all_loaded_once_they_are_repaired() {
    let refused = check(&example(), &[]);
    let catalogue = files(&example()).into_iter().map(|(table, mut bytes)| {
        let rejects = refused.rejects(table).unwrap();
        let mut reader = csv::Reader::from_reader(&rejects[..]);
        let rejects: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        // From the last one up, so that the offsets of the others do not change.
        for reject in rejects.iter().rev() {
            let (offset, raw): (usize, &str) = (reject[1].parse().unwrap(), &reject[5]);
            assert_eq!(&bytes[offset..offset + raw.len()], raw.as_bytes(), "{table}, line {}", &reject[0]);
            let line = bytes[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
            assert_eq!(line.to_string(), reject[0], "{table}, byte {offset}");
            let repaired = REPAIRED.iter().filter(|(of, wrong, _)| *of == table && raw.contains(wrong));
            let repaired =
                repaired.fold(raw.to_owned(), |raw, (_, wrong, right)| raw.replacen(wrong, right, 1));
            bytes.splice(offset..offset + raw.len(), repaired.into_bytes());
        }
        (format!("{table}.csv"), bytes)
    });
    let catalogue = written(catalogue);

    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &["--max-rejects", "0"]).succeeded();
    assert_eq!(loaded.of_tables("loaded"), [19, 12, 13, 15, 16, 12]);
    assert!(TABLES.iter().all(|table| loaded.rejects(table.name).is_none()));
    let stray = database.query("SELECT name, position FROM atelier.product WHERE id = 16");
    assert_eq!(stray, [[Some("Stray \"quote\" inside".to_owned()), Some("15".to_owned())]]);
}
