//! Rows in COPY's binary format: decoded by a decoder that is written after the manual, and by PostgreSQL.

use atelier_etl::rows::encode::{HEADER, TRAILER, row};
use atelier_etl::rows::value::Value;
use atelier_testing::Server;
use bytes::Bytes;
use futures_util::SinkExt as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio_postgres::NoTls;

const MAX_CENTS: u64 = 999_999_999_999;

/// A value that owns its text.
#[derive(Clone, Debug)]
enum Owned {
    Null,
    Integer(i32),
    Cents(u64),
    Boolean(bool),
    Text(Vec<u8>),
    /// Written with doubled quotes; here they are not doubled.
    Escaped(Vec<u8>),
}

fn cents() -> impl Strategy<Value = u64> {
    // Of every magnitude, as prices with few digits are encoded differently from those with many.
    prop_oneof![0..=MAX_CENTS, 0u64..100_000, (0u64..=99_999_999).prop_map(|hundreds| hundreds * 10_000)]
}

fn value() -> impl Strategy<Value = Owned> {
    let text = vec(prop_oneof![any::<u8>(), Just(b'"')], 0..40).boxed();
    prop_oneof![
        Just(Owned::Null),
        any::<i32>().prop_map(Owned::Integer),
        cents().prop_map(Owned::Cents),
        any::<bool>().prop_map(Owned::Boolean),
        text.clone().prop_map(Owned::Text),
        text.prop_map(Owned::Escaped),
    ]
}

/// A field's bytes, or `None` for null, one after the other.
fn decode(mut bytes: &[u8]) -> Vec<Option<&[u8]>> {
    let mut take = |count: usize| {
        let (now, later) = bytes.split_at(count);
        bytes = later;
        now
    };
    let columns = i16::from_be_bytes(take(2).try_into().unwrap());
    let mut fields = Vec::new();
    for _ in 0..columns {
        let length = i32::from_be_bytes(take(4).try_into().unwrap());
        fields.push(usize::try_from(length).ok().map(&mut take));
    }
    assert!(bytes.is_empty(), "{} bytes behind the row", bytes.len());
    fields
}

/// Digits to base 10,000; the value is the sum of digit × 10,000 to the power of (weight − index).
fn decode_cents(field: &[u8]) -> u64 {
    let words: Vec<i16> = field.chunks(2).map(|word| i16::from_be_bytes(word.try_into().unwrap())).collect();
    let [digits, weight, sign, scale] = words[..4] else { panic!("{field:?}") };
    assert_eq!((digits as usize, sign, scale), (words.len() - 4, 0, 2));
    let digits = &words[4..];
    assert!(digits.first() != Some(&0) && digits.last() != Some(&0), "not the shortest form: {words:?}");
    let cents = digits.iter().enumerate().map(|(index, &digit)| {
        let digit = u64::try_from(digit).unwrap();
        match weight - index as i16 {
            -1 => digit / 100,
            power => digit * 10_000u64.pow(power.try_into().unwrap()) * 100,
        }
    });
    cents.sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_decode_to_what_they_were(owned in vec(value(), 0..7), position in any::<Option<u32>>()) {
        let doubled: Vec<Vec<u8>> = owned
            .iter()
            .map(|value| match value {
                Owned::Escaped(text) => text.iter().flat_map(|&byte| vec![byte; 1 + usize::from(byte == b'"')]).collect(),
                _ => Vec::new(),
            })
            .collect();
        let values: Vec<Value<'_>> = owned
            .iter()
            .zip(&doubled)
            .map(|(value, doubled)| match value {
                Owned::Null => Value::Null,
                Owned::Integer(integer) => Value::Integer(*integer),
                Owned::Cents(cents) => Value::Cents(*cents),
                Owned::Boolean(boolean) => Value::Boolean(*boolean),
                Owned::Text(text) => Value::Text(text),
                Owned::Escaped(_) => Value::Escaped(doubled),
            })
            .collect();
        let mut encoded = b"before".to_vec();
        row(&values, position, &mut encoded);

        let fields = decode(encoded.strip_prefix(b"before").unwrap());
        prop_assert_eq!(fields.len(), owned.len() + usize::from(position.is_some()));
        for (value, field) in owned.iter().zip(&fields) {
            match (value, *field) {
                (Owned::Null, None) => {}
                (Owned::Integer(integer), Some(field)) => prop_assert_eq!(field, integer.to_be_bytes()),
                (Owned::Cents(cents), Some(field)) => prop_assert_eq!(decode_cents(field), *cents),
                (Owned::Boolean(boolean), Some(field)) => prop_assert_eq!(field, [u8::from(*boolean)]),
                (Owned::Text(text) | Owned::Escaped(text), Some(field)) => prop_assert_eq!(field, &text[..]),
                _ => prop_assert!(false, "{value:?} became {field:?}"),
            }
        }
        if let Some(position) = position {
            prop_assert_eq!(fields.last().unwrap().unwrap(), position.to_be_bytes());
        }
    }
}

/// PostgreSQL accepts the rows, reads the same prices, and sends the same bytes.
#[tokio::test]
async fn postgresql_reads_and_writes_the_same_prices() {
    let mut prices = vec(cents(), 1_000).new_tree(&mut TestRunner::deterministic()).unwrap().current();
    prices.extend([0, 1, 5, 99, 100, 999_999, 1_000_000, 50_000_000_000, MAX_CENTS - 1, MAX_CENTS]);
    let mut copy = HEADER.to_vec();
    let mut expected = Vec::new();
    for (line, &cents) in prices.iter().enumerate() {
        let start = copy.len();
        row(&[Value::Integer(line as i32), Value::Cents(cents)], None, &mut copy);
        let sent = decode(&copy[start..])[1].unwrap();
        let hex: String = sent.iter().map(|byte| format!("{byte:02x}")).collect();
        expected.push((format!("{}.{:02}", cents / 100, cents % 100), hex));
    }
    copy.extend_from_slice(TRAILER);

    let database = Server::shared().database();
    database.execute("CREATE TABLE prices (line int, price numeric(12,2))");
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let sink = client.copy_in("COPY prices FROM STDIN (FORMAT binary)").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from(copy)).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), prices.len() as u64);
    let query = "SELECT price::text, encode(numeric_send(price), 'hex') FROM prices ORDER BY line";
    let rows = client.query(query, &[]).await.unwrap();
    let found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, expected);
    drop(client);
    connection.await.unwrap().unwrap();
}
