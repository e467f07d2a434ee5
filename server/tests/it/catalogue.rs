//! Catalogues, loaded by the real loader.

use std::fs;
use std::path::{Path, PathBuf};

use atelier_etl::cli;
use atelier_etl::commands::rollback;
use atelier_etl::load::{self, LoadOutcome};
use atelier_etl::options;
use atelier_sample::{Defects, Options, generate};
use atelier_testing::Database;
use clap::Parser as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// `data/example`, made by hand: every awkward but valid case and a few defects.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/example")
}

/// A generated catalogue without defects.
pub(crate) fn generated(products: u32, seed: u64) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let options = Options { out: out.path().to_owned(), products, seed, defects: Defects::None, threads: 2 };
    generate(&options, &|| Ok(())).unwrap();
    out
}

/// Loads and publishes the files in `data`; returns the id of the load.
pub(crate) fn publish(database: &Database<'_>, data: &Path) -> String {
    publish_with(database, data, load::Options { keep_previous: false, force: true })
}

/// The same with `--keep-previous`.
pub(crate) fn publish_keeping(database: &Database<'_>, data: &Path) -> String {
    publish_with(database, data, load::Options { keep_previous: true, force: true })
}

/// Publishes the previous catalogue again.
pub(crate) fn roll_back(database: &Database<'_>) {
    let url = database.url();
    let cli = cli::Cli::parse_from(["atelier-etl", "rollback", "--database-url", &url]);
    let cli::Command::Rollback(args) = cli.command else { panic!("that is the command rollback") };
    let target = options::Database::resolve(&args.database).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(rollback::rollback(&target, &CancellationToken::new())).unwrap();
}

fn publish_with(database: &Database<'_>, data: &Path, how: load::Options) -> String {
    let rejects = tempfile::tempdir().unwrap();
    let url = database.url();
    let arguments =
        ["atelier-etl", "load", "--database-url", &url, "--max-rejects", "100%", "--progress", "none"];
    let paths = ["--data".as_ref(), data.as_os_str(), "--rejects".as_ref(), rejects.path().as_os_str()];
    let cli = cli::Cli::parse_from(arguments.iter().map(AsRef::as_ref).chain(paths));
    let cli::Command::Load(args) = cli.command else { panic!("that is the command load") };
    let input = options::Input::resolve(&args.input).unwrap();
    let target = options::Database::resolve(&args.database).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cancel = CancellationToken::new();
    match runtime.block_on(load::load(&input, &target, &how, &cancel)).unwrap() {
        LoadOutcome::Published { load_id, .. } => load_id.to_string(),
        LoadOutcome::Unchanged { .. } | LoadOutcome::Rejected { .. } => panic!("the load is not published"),
    }
}

/// A catalogue without defects in which everything is awkward that may be. Children are scrambled, ids have gaps up to
/// the last one there is, related products are in no order and stand twice.
pub(crate) fn awkward() -> TempDir {
    let every_control: String = (1_u8..0x20).map(char::from).chain(['\u{7f}', '\u{80}', '\u{9f}']).collect();
    let product = format!(
        r#"id,name,slogan,description,category,default_price
2147483647,"The last id there is","","","",500000000
8,"Quotes: "", """", 'single'","Backslashes: \ \\ \n \u0041 \""","Slashes: / // </script><script>alert(1)</script><!--","&amp; ${{x}} %s %00",0.00
1,"null","Line
ends
and	tabs","{every_control}","Ctrl",140
3,"🧥 👩‍👩‍👧‍👦 é e{} ﷽","U+2028: {} U+2029: {} U+FEFF: {} U+FFFF: {}","{}","שלום مرحبا",0.5
2,"Nothing else","hangs on it",", commas, ","  spaces  ",9999999999.99
77,"One style and nothing on it","","","",0
"#,
        '\u{301}',
        '\u{2028}',
        '\u{2029}',
        '\u{feff}',
        '\u{ffff}',
        "long ".repeat(2000),
    );
    let features = r#"id,product_id,feature,value
2147483647,2147483647,"Last","of all"
9,1,"Null",null
4,3,"Emoji 🧵","🪡"
2,1,"null","null"
30,1,"Quoted ""feature""","a ""value"" \"
7,8,"</script>","<!--"
1,8,"First by id","last in the file"
"#;
    let styles = r#"id,productId,name,sale_price,original_price,default_style
2147483647,2147483647,"Last style",null,0.00,1
50,1,"null",0.00,500000000.00,0
12,8,"Photos, no skus",35,40.5,1
5,1,"Both ""defaults""",99.95,140,1
100,77,"Bare",null,1,0
11,8,"Skus, no photos",500000000,9999999999.99,1
6,1,"Neither \",null,0,0
49,3,"🧵",12.3,45.67,0
"#;
    let photos = r#"id,styleId,url,thumbnail_url
2147483647,2147483647,"https://images.example/last",""
31,50,"https://images.example/c?a=1&b=""2""","https://images.example/t"
4,5,"https:\/\/images.example\b","data:,"
3,12,"u3","t3"
30,50,"same","same"
29,50,"same","same"
1,5,"https://images.example/🧥","t1"
5,49,"u5","t5"
"#;
    let skus = r#"id,styleId,size,quantity
2147483647,2147483647,"XXL",2147483647
10,5,"null",0
9,5,"7 1/2"" \",-2147483648
100,5,"XS",16
99,5,"XS",16
8,11,"S",8
7,11,"M",1
1,50,"🧦",3
2,49,"7.5",4
"#;
    let related = "id,current_product_id,related_product_id
2147483647,1,2147483647
5,1,8
4,1,2
6,1,8
1,1,1
3,2147483647,1
2,1,77
7,3,2
8,8,8
";
    let files = [
        ("product.csv", product.as_str()),
        ("features.csv", features),
        ("styles.csv", styles),
        ("photos.csv", photos),
        ("skus.csv", skus),
        ("related.csv", related),
    ];
    let data = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(data.path().join(name), text).unwrap();
    }
    data
}

/// A session that holds locks for a test.
pub(crate) struct Session {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Session {
    pub(crate) fn open(database: &Database<'_>) -> Session {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = database.url();
        let connect = tokio_postgres::connect(&url, tokio_postgres::NoTls);
        let (client, connection) = runtime.block_on(connect).unwrap();
        runtime.spawn(connection);
        Session { runtime, client }
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }
}
