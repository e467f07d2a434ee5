//! One unterminated quote costs one line, wherever it is: the real program on files that it reads in several chunks. The
//! other lines are checked by the content digest, which is that of a file without the bad line, or with the line repaired.

use std::fmt::Write as _;

use atelier_etl::csv::chunk::CHUNK_BYTES;
use atelier_etl::csv::record::MAX_RECORD_BYTES;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::catalogue::{Done, check, written};

/// All ids have as many digits, so that a line has the same length wherever it is.
const FIRST_ID: usize = 1_000_000;

const HEADER: &str = "id,product_id,feature,value\n";

/// What is expected for a damaged line.
#[derive(Clone, Copy)]
enum Fate<'a> {
    /// Loaded as this line.
    Repaired(&'a str),
    /// Rejected with this column and code.
    Rejected(&'static str, &'static str),
}
use Fate::{Rejected, Repaired};

/// Lines without their ids. Each has too many or too few quotes, except the first, which ends in a doubled quote.
const DAMAGES: [(&str, Fate<'_>); 12] = [
    (r#","Cut","6"" wide, 9""""#, Repaired(r#","Cut","6"" wide, 9""""#)),
    // Never closed: at the line's end, after a doubled quote, in an empty field.
    (r#","Cut","Loose"#, Repaired(r#","Cut","Loose""#)),
    (r#","Cut","6"" wide, 9"""#, Repaired(r#","Cut","6"" wide, 9""""#)),
    (r#","Cut",""#, Rejected("value", "missing_value")),
    // The same where no other field has quotes.
    (r#",Cut,"Loose"#, Repaired(r#",Cut,"Loose""#)),
    CLOSES,
    (r#","Cut,"Loose""#, Rejected("feature", "bad_quote")),
    (r#","Cut,Loose"#, Rejected("", "field_count")),
    // Odd quotes inside text, in quotes and bare.
    (r#","Cut "n" run","Loose""#, Rejected("feature", "bad_quote")),
    (r#","Cut","9" wide""#, Rejected("value", "bad_quote")),
    CLOSES_TOO,
    // Opened in the middle of a field.
    (r#","Cut",Loo"se"#, Rejected("value", "bad_quote")),
];

/// In these a quote that was open before may be closed: then the lines together are valid.
const CLOSES: (&str, Fate<'_>) = (r#",Cut,""#, Rejected("value", "missing_value"));
const CLOSES_TOO: (&str, Fate<'_>) = (r#",Cut",Loose"#, Rejected("feature", "bad_quote"));

/// Whether the lines are one record of two lines.
fn are_one(first: &str, second: &str) -> bool {
    let opens = [
        r#","Cut","Loose"#,
        r#","Cut","6"" wide, 9"""#,
        r#","Cut",""#,
        r#",Cut,"Loose"#,
        CLOSES.0,
        r#","Cut,Loose"#,
    ];
    // Closed right after a delimiter, so that the number of fields has to decide.
    let has_all_fields = first != r#","Cut,Loose"#;
    opens.contains(&first) && (second == CLOSES_TOO.0 || second == CLOSES.0 && has_all_fields)
}

/// The line of the feature `id`. Of product 1, as all are.
fn line(id: usize, rest: &str) -> String {
    format!("{id},1{rest}")
}

fn sound(id: usize) -> String {
    line(id, &format!(",\"Feature {id}\",\"said \"\"{}\"\", of {id}\"", "so much ".repeat(id % 5)))
}

/// A catalogue of one product with this file of features.
fn catalogue(features: &str) -> TempDir {
    let header = |table: &str| match table {
        "product" => {
            "id,name,slogan,description,category,default_price\n1,\"a\",\"b\",\"c\",\"d\",5\n".to_owned()
        }
        "features" => features.to_owned(),
        "styles" => "id,productId,name,sale_price,original_price,default_style".to_owned(),
        "photos" => "id,styleId,url,thumbnail_url".to_owned(),
        "skus" => "id,styleId,size,quantity".to_owned(),
        _ => "id,current_product_id,related_product_id".to_owned(),
    };
    let tables = ["product", "features", "styles", "photos", "skus", "related"];
    written(tables.map(|table| (format!("{table}.csv"), header(table))))
}

fn checked(features: &str, jobs: &str) -> Done {
    check(catalogue(features).path(), &["--max-rejects", "100%", "--jobs", jobs]).succeeded()
}

/// Line, column and code of the rejects, and the rows as they are in the file.
fn rejects(done: &Done) -> Vec<(usize, String, String, String)> {
    let file = done.rejects("features").unwrap_or_default();
    let records = csv::Reader::from_reader(&file[..]).into_records().map(Result::unwrap);
    let reject = |row: csv::StringRecord| {
        (row[0].parse().unwrap(), row[2].to_owned(), row[3].to_owned(), row[5].to_owned())
    };
    records.map(reject).collect()
}

/// A file of features, and what is expected of it.
#[derive(Default)]
struct Case {
    text: String,
    /// The file after repairs, without the rejects.
    meant: String,
    lines: usize,
    rows: usize,
    rejected: Vec<(usize, String, String, String)>,
    repaired: Vec<usize>,
}

impl Case {
    fn new() -> Case {
        Case { text: HEADER.to_owned(), meant: HEADER.to_owned(), lines: 1, ..Case::default() }
    }

    fn next_id(&self) -> usize {
        FIRST_ID + self.rows
    }

    fn sound(&mut self) {
        self.push_sound(&sound(self.next_id()));
    }

    fn push_sound(&mut self, row: &str) {
        self.push(row);
        let _ = writeln!(self.meant, "{row}");
    }

    fn push(&mut self, row: &str) {
        let _ = writeln!(self.text, "{row}");
        self.rows += 1;
        self.lines += 1 + row.matches('\n').count();
    }

    /// Valid lines, so that the next one begins exactly at this byte.
    fn sound_up_to(&mut self, bytes: usize) {
        while self.text.len() + 200 < bytes {
            self.sound();
        }
        let shortest = line(FIRST_ID, ",\"Padding\",\"\"\n").len();
        let padding = "x".repeat(bytes - self.text.len() - shortest);
        self.push_sound(&line(self.next_id(), &format!(",\"Padding\",\"{padding}\"")));
        assert_eq!(self.text.len(), bytes);
    }

    fn damaged(&mut self, (damage, fate): (&str, Fate<'_>)) {
        let (id, number) = (self.next_id(), self.lines + 1);
        let row = line(id, damage);
        match fate {
            Repaired(meant) => {
                self.repaired.extend((damage.matches('"').count() % 2 == 1).then_some(number));
                let _ = writeln!(self.meant, "{}", line(id, meant));
            }
            Rejected(column, code) => {
                let raw = row[..row.len().min(MAX_RECORD_BYTES)].to_owned();
                self.rejected.push((number, column.to_owned(), code.to_owned(), raw));
            }
        }
        self.push(&row);
    }

    /// Lines of which two may be one record: a row of two lines if it has the right number of fields.
    fn damaged_in_a_row(&mut self, damages: &[(&str, Fate<'_>)]) {
        match damages {
            [(first, _), (second, _), rest @ ..] if are_one(first, second) => {
                let together = format!("{}\n{}", line(self.next_id(), first), line(7, second));
                let mut reader =
                    csv::ReaderBuilder::new().has_headers(false).from_reader(together.as_bytes());
                if reader.byte_records().next().unwrap().unwrap().len() == 4 {
                    self.push_sound(&together);
                } else {
                    self.rejected.push((
                        self.lines + 1,
                        String::new(),
                        "field_count".into(),
                        together.clone(),
                    ));
                    self.push(&together);
                }
                self.damaged_in_a_row(rest);
            }
            [first, rest @ ..] => {
                self.damaged(*first);
                self.damaged_in_a_row(rest);
            }
            [] => {}
        }
    }

    fn without_last_line_end(mut self) -> Case {
        self.text.pop();
        self
    }

    fn expect(&self, what: &str) {
        let meant = checked(&self.meant, "1");
        for jobs in ["1", "8"] {
            let found = checked(&self.text, jobs);
            let what = format!("{what}, {jobs} jobs");
            assert_eq!(rejects(&found), self.rejected, "{what}");
            let (report, meant) = (&found.report["tables"]["features"], &meant.report["tables"]["features"]);
            assert_eq!(report["read"], self.rows, "{what}");
            assert_eq!(report["loaded"], meant["loaded"], "{what}");
            assert_eq!(report["content_digest"], meant["content_digest"], "{what}");
            let repaired = report["repaired"]["unterminated_quote"].as_u64().unwrap_or_default();
            assert_eq!(repaired, self.repaired.len() as u64, "{what}");
            let examples = report["examples"].as_array().unwrap().iter();
            let first = examples.filter(|example| example["outcome"] == "repaired");
            let first: Vec<&Value> = first.map(|example| &example["line"]).collect();
            assert_eq!(first, self.repaired.iter().take(3).collect::<Vec<_>>(), "{what}");
            assert_eq!((&meant["repaired"], &meant["rejected"]), (&json!({}), &json!({})), "{what}");
        }
    }
}

#[test]
fn on_the_first_line_and_on_the_last() {
    for damage in DAMAGES {
        let mut both = Case::new();
        both.damaged(damage);
        (0..20).for_each(|_| both.sound());
        both.damaged(damage);
        both.expect(&format!("first and last, {}", damage.0));
        both.without_last_line_end().expect(&format!("without a last line end, {}", damage.0));
        let mut alone = Case::new();
        alone.damaged(damage);
        alone.without_last_line_end().expect(&format!("alone, {}", damage.0));
    }
}

#[test]
fn two_and_three_in_a_row() {
    let mut case = Case::new();
    for (first, second) in DAMAGES.iter().flat_map(|first| DAMAGES.iter().map(move |second| (first, second)))
    {
        case.sound();
        case.damaged_in_a_row(&[*first, *second]);
    }
    for damage in DAMAGES {
        case.sound();
        case.damaged_in_a_row(&[damage; 3]);
    }
    case.sound();
    case.expect("in a row");
}

/// At each multiple of [`CHUNK_BYTES`] a damaged line: what was read so far ends at its beginning, around its last quote,
/// around its end, and in the line after it.
#[test]
fn at_the_edge_of_a_chunk() {
    type Place = fn(row: &str) -> usize;
    let places: [Place; 8] = [
        |_| 0,
        |row| row.rfind('"').unwrap() - 1,
        |row| row.rfind('"').unwrap(),
        |row| row.rfind('"').unwrap() + 1,
        |row| row.len() - 1,
        str::len,
        |row| row.len() + 1,
        |row| row.len() + 7,
    ];
    for (number, place) in places.iter().enumerate() {
        for in_a_row in [1, 2] {
            let mut case = Case::new();
            for (damage, chunk) in DAMAGES.iter().zip(1..) {
                case.sound_up_to(chunk * CHUNK_BYTES - place(&line(FIRST_ID, damage.0)));
                case.damaged_in_a_row(&vec![*damage; in_a_row]);
                case.sound();
            }
            case.expect(&format!("place {number}, {in_a_row} in a row"));
        }
    }
}

/// The rest of a line of so many bytes after its id: a field that its last quote closes or not.
fn long(bytes: usize, quote: &str) -> String {
    let around = line(FIRST_ID, ",\"Long\",\"").len() + quote.len();
    format!(",\"Long\",\"{}{quote}", "x".repeat(bytes - around))
}

#[test]
fn in_a_field_of_1_mib_and_of_10() {
    let too_long = Rejected("", "record_too_long");
    let mut case = Case::new();
    // In a row, so that none has a valid neighbour.
    for in_a_row in [1, 2] {
        for (bytes, loaded) in [
            (MAX_RECORD_BYTES - 1, true),
            (MAX_RECORD_BYTES, true),
            (MAX_RECORD_BYTES + 1, false),
            // The field alone is 1 MiB, and 10.
            (MAX_RECORD_BYTES + 25, false),
            (10 * MAX_RECORD_BYTES + 25, false),
        ] {
            let (closed, open, odd) = (long(bytes, "\""), long(bytes, ""), long(bytes, "\"x\""));
            // Without quotes, since another one might make it too long.
            let meant = open.replacen("\"x", "x", 1);
            for (row, fate) in [
                (&closed, Repaired(&closed)),
                (&open, Repaired(&meant)),
                (&odd, Rejected("value", "bad_quote")),
            ] {
                (0..in_a_row).for_each(|_| case.damaged((row, if loaded { fate } else { too_long })));
                case.sound();
            }
        }
    }
    case.expect("long");
}

/// Up to 1 MiB it is a field with line ends; a longer one is one reject, and none of its lines is a row.
#[test]
fn in_a_field_of_many_lines() {
    let lines = |bytes: usize| "7,1,so,much\n".repeat(bytes / 12 + 1)[..bytes].to_owned();
    let around = line(FIRST_ID, ",\"Long\",\"\"").len();
    let mut case = Case::new();
    for content in [MAX_RECORD_BYTES - around - 1, MAX_RECORD_BYTES - around] {
        case.sound();
        let row = line(case.next_id(), &format!(",\"Long\",\"{}\"", lines(content)));
        case.push_sound(&row);
    }
    case.sound();
    for content in [MAX_RECORD_BYTES - around + 1, 10 * MAX_RECORD_BYTES, 20 * MAX_RECORD_BYTES] {
        let row = format!(",\"Long\",\"{}\"", lines(content));
        case.damaged((&row, Rejected("", "record_too_long")));
        case.sound();
    }
    case.expect("many lines");
}

/// Where a line of a value is a record by itself, a warning names the first such value, and changes nothing.
#[test]
fn lines_that_look_like_records_are_warned_about() {
    let mut case = Case::new();
    case.sound();
    for text in ["a\n7,1,b,c\nd", "a\n7,1,b\n", "7,1,b,\"\"c\n7,1,b,\"\"c", "\r\n7,1,b,\r\n"] {
        let row = line(case.next_id(), &format!(",\"Long\",\"{text}\""));
        case.push_sound(&row);
    }
    let warnings = checked(&case.text, "1").report["warnings"].clone();
    let warnings = warnings.as_array().unwrap().iter().map(|warning| warning.as_str().unwrap());
    let found: Vec<&str> = warnings.filter(|warning| warning.contains("lines_like_records")).collect();
    assert!(
        matches!(found[..], [warning] if warning.starts_with("features, line 3: ") && warning.contains("(1 more")),
        "{found:?}"
    );
    case.expect("lines like records");
}

/// A value that begins with a line end, after a line without its last quote: the quote that opens the value closes nothing.
#[test]
fn a_value_that_begins_with_a_line_end_is_not_cut() {
    let mut case = Case::new();
    case.sound();
    case.damaged((r#","Cut,Loose"#, Rejected("", "field_count")));
    let row = line(case.next_id(), ",\"\n7,1,x,y\n\",Cut");
    case.push_sound(&row);
    case.sound();
    case.expect("begins with a line end");
}

/// Without a header no line can be read.
#[test]
fn in_the_header_it_ends_the_load() {
    let features = format!("\"id,product_id,feature,value\n{}\n", sound(1));
    let refused = check(catalogue(&features).path(), &["--max-rejects", "100%"]);
    assert_eq!(refused.run.code, 3);
    assert!(
        refused.run.stderr.contains("features.csv, line 1: this is not a header"),
        "{}",
        refused.run.stderr
    );
}
