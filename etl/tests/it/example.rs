//! `data/example` loaded: every row against expectations written by hand.

use atelier_testing::{Database, Server};

use crate::catalogue::{example, load};

/// The table's rows by id, a null as `∅`.
fn rows(database: &Database<'_>, table: &str) -> Vec<Vec<String>> {
    let rows = database.query(&format!("SELECT * FROM atelier.{table} ORDER BY id"));
    rows.into_iter().map(|row| row.into_iter().map(|value| value.unwrap_or("∅".into())).collect()).collect()
}

#[test]
fn every_row_is_loaded_as_it_is_written() {
    let database = Server::shared().database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();

    let products: &[[&str; 7]] = &[
        [
            "1",
            "1",
            "Harbour Coat",
            "Made for horizontal rain",
            "Waxed cotton, two pockets, and a hood that stays up.",
            "Jackets",
            "140.00",
        ],
        [
            "2",
            "2",
            "Night Reader Glasses",
            "",
            "Empty slogan: allowed, and kept as the empty text.",
            "Accessories",
            "69.50",
        ],
        [
            "4",
            "3",
            "Gap Jeans",
            "The id 3 is missing",
            "Ids have gaps. Positions have none.",
            "Pants",
            "40.00",
        ],
        [
            "5",
            "4",
            "Unsorted Shoes",
            "5 stands behind 6",
            "Line one,\nline two,\n\nand line four after an empty one: one record, valid.",
            "Kicks",
            "500000000.00",
        ],
        [
            "6",
            "5",
            "Six Inch Nails",
            "6\" nails, the \"good\" ones",
            "Doubled quotes stand for one: \"x\". A backslash \\ and a \\n are no escapes.",
            "Tools",
            "0.00",
        ],
        [
            "7",
            "6",
            "\u{c9}migr\u{e9} Caf\u{e9} Apron \u{1f9f5}",
            "\u{dc}n\u{ef}code, \u{2028} and \u{2029} too",
            "Tab\there, bell\u{7} there, right-to-left \u{5e9}\u{5dc}\u{5d5}\u{5dd}.",
            "Aprons",
            "9999999999.99",
        ],
        [
            "8",
            "7",
            "null",
            "The name is the word null, in quotes: text",
            "O'Brien's \u{201c}curly\u{201d} quotes; semicolons; 'single' ones",
            "Null & Void",
            "1.00",
        ],
        ["9", "8", "  Spaces inside quotes stay  ", "", "", "Socks", "0.05"],
        [
            "10",
            "9",
            "Bare Shoulders Top",
            "Unquoted text is valid too",
            "The slogan is bare.",
            "Tops",
            "12.34",
        ],
        ["11", "10", "Damaged Price", "Mended", "Written in quotes, with a currency sign.", "Hats", "818.00"],
        ["12", "11", "Decimal Price", "Mended", "Not 58600.", "Hats", "586.00"],
        ["13", "12", "Spaced Price", "Mended", "A space before the number.", "Hats", "140.00"],
        ["14", "13", "Half a Line", "Mended", "A piece of JSON.", "Hats", "49.00"],
        ["18", "14", "Last Line", "No line end behind it", "", "Hats", "18.00"],
        ["3007", "15", "Far Away Hat", "An id from far away", "", "", "25.00"],
    ];
    assert_eq!(rows(&database, "product"), products);

    let features: &[[&str; 4]] = &[
        ["1", "1", "Fabric", "Waxed cotton"],
        ["2", "1", "Hood", "∅"],
        ["3", "1", "Care", "null"],
        ["4", "2", "Lenses", "Ultra \"clear\""],
        ["5", "4", "Fabric", "99% cotton, 1% elastic"],
        ["6", "4", "Cut", "Loose"],
        ["7", "3007", "Brim", "Wide"],
        ["11", "6", "Length", "Unterminated"],
        ["12", "7", "Pattern", "Orn\u{e9}e"],
    ];
    assert_eq!(rows(&database, "features"), features);

    let styles: &[[&str; 6]] = &[
        ["1", "1", "Sea Green & Black", "∅", "140.00", "t"],
        ["2", "1", "Sand", "99.95", "140.00", "f"],
        ["3", "1", "Spaces around every field are mended", "∅", "140.00", "f"],
        ["4", "2", "Matte Black", "∅", "69.50", "f"],
        ["5", "4", "No photos, no skus", "35.00", "40.00", "t"],
        ["6", "6", "Free of charge", "0.00", "0.00", "t"],
        ["7", "6", "7 before 6", "∅", "0.00", "f"],
        ["8", "5", "Priceless", "∅", "500000000.00", "t"],
        ["9", "7", "\u{1f9f5}", "∅", "12.00", "f"],
        ["13", "8", "No default style here", "∅", "1.00", "f"],
    ];
    assert_eq!(rows(&database, "styles"), styles);

    let photo = |id: &str, style: &str, name: &str| {
        let url = |width| format!("https://images.example/photo-{name}?fit=crop&w={width}&q=80");
        vec![id.to_owned(), style.to_owned(), url(668), url(300)]
    };
    let mut without_thumbnail = photo("9", "4", "1504-a");
    without_thumbnail[3].clear();
    let photos = [
        photo("1", "1", "1501-a"),
        photo("2", "1", "1501-b"),
        photo("3", "1", "1501-c"),
        photo("4", "1", "1501-d"),
        photo("5", "2", "1502-a"),
        photo("6", "2", "1502-b"),
        photo("7", "2", "1502-c"),
        photo("8", "2", "1502-d"),
        without_thumbnail,
        photo("11", "8", "1508-a"),
        photo("14", "13", "1513-a"),
        photo("15", "13", "1513-b"),
    ];
    assert_eq!(rows(&database, "photos"), photos);

    let skus: &[[&str; 4]] = &[
        ["1", "1", "XS", "8"],
        ["2", "1", "S", "16"],
        ["3", "1", "M", "17"],
        ["4", "1", "XXL", "0"],
        ["5", "2", "One, size", "4"],
        ["6", "4", "7.5", "2147483647"],
        ["7", "4", "8", "-3"],
        ["8", "8", "XS", "8"],
        ["9", "8", "XS", "8"],
        ["12", "9", "7.5", "12"],
        ["13", "13", "L", "15"],
        ["14", "13", "XL", "6"],
    ];
    assert_eq!(rows(&database, "skus"), skus);

    let related: &[[&str; 3]] = &[
        ["1", "1", "2"],
        ["2", "1", "4"],
        ["3", "1", "6"],
        ["4", "1", "4"],
        ["5", "2", "2"],
        ["6", "4", "5"],
        ["7", "4", "1"],
        ["9", "5", "3007"],
        ["11", "3007", "1"],
        ["12", "18", "18"],
    ];
    assert_eq!(rows(&database, "related"), related);
}
