//! Tests of the codec of lines.

use obs_storage::codec::{Reader, bytes};
use proptest::prelude::*;

use obs_model::Pattern;

use crate::tokens::GroupTokens;

use super::search::{LineCondition, LineTest};
use super::{Encoder, Lines, Search};

fn encoded(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut ends = Vec::new();
    let mut all = Vec::new();
    for line in lines {
        all.extend_from_slice(line);
        ends.push(all.len());
    }
    let mut out = Vec::new();
    Encoder::new(bytes::LEVEL).encode(&all, &ends, &mut GroupTokens::default(), &mut out);
    out
}

fn decoded(bytes: &[u8], rows: usize) -> Result<Vec<Vec<u8>>, obs_storage::Corrupt> {
    let mut reader = Reader::new("lines", bytes);
    let lines = Lines::open(&mut reader, rows)?;
    reader.finish()?;
    (0..rows)
        .map(|row| {
            let mut line = Vec::new();
            lines.write(row, &mut line).map(|()| line)
        })
        .collect()
}

/// Lines such as services write, and others.
pub(crate) fn lines() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0u64..10, any::<u64>()];
    prop_oneof![
        (number.clone(), "[a-f0-9]{16}").prop_map(|(n, id)| format!("took {n} ms id={id}")),
        (0u32..9, any::<u32>()).prop_map(|(n, ip)| {
            format!("from {} port {n:03}", std::net::Ipv4Addr::from(ip))
        }),
        ("[a-z]{1,3}", number, "[a-z0-9 ]{0,9}").prop_map(|(k, n, m)| {
            format!(r#"{{"level":"{k}","n":{n},"uuid":"{:08x}-0000-4000-8000-00000000000{}","msg":"{m}"}}"#, n as u32, n % 10)
        }),
        Just(String::new()),
    ]
    .prop_map(String::into_bytes)
    .boxed()
    .prop_union(prop::collection::vec(any::<u8>(), 0..40).boxed())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn lines_come_back(lines in prop::collection::vec(lines(), 0..120), flip in any::<(usize, u8)>()) {
        let mut bytes = encoded(&lines);
        prop_assert_eq!(decoded(&bytes, lines.len()), Ok(lines.clone()));
        let at = flip.0 % bytes.len();
        bytes[at] ^= flip.1;
        // Damage is refused or gives other lines; it never panics.
        if let Ok(others) = decoded(&bytes, lines.len()) {
            prop_assert_eq!(others.len(), lines.len());
        }
        prop_assert!(decoded(&bytes[..at], lines.len()).is_err());
    }
}

fn conditions(lines: &[Vec<u8>]) -> impl Strategy<Value = Vec<LineCondition>> + use<> {
    let lines: Vec<Vec<u8>> = lines.iter().filter(|l| !l.is_empty()).cloned().collect();
    // Most texts are parts of lines, so that they are found.
    let part = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0usize..12,
    );
    let part = part.prop_map(move |(line, from, length)| {
        if lines.is_empty() {
            return Vec::new();
        }
        let line = &lines[line.index(lines.len())];
        let from = from.index(line.len());
        line[from..line.len().min(from + length)].to_vec()
    });
    let text = prop_oneof![4 => part, 1 => "[a-f0-9 =.]{0,3}".prop_map(String::into_bytes)];
    let regex = prop::sample::select(vec![
        "took [0-9]+",
        "(?i)LEVEL",
        "^from",
        "port 0..$",
        "[a-f]{3}",
        "id=.*a",
        "took [0-9]+ ms",
        "port 0[0-9]{2}$",
        "from 1?[0-9]\\.[0-9]+",
        "[0-9]{3}.*[0-9a-f]{4}-",
        "\"n\":[0-9]{2},",
        "",
        "[0-9]",
    ]);
    let test = prop_oneof![
        3 => text.prop_map(|text| LineTest::contains(&text)),
        1 => regex.prop_map(|r| LineTest::Matches(Pattern::search(r).unwrap())),
    ];
    let condition = (any::<bool>(), prop::collection::vec(test, 1..3));
    let condition = condition.prop_map(|(negative, tests)| LineCondition { negative, tests });
    prop::collection::vec(condition, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn finds_what_a_search_of_the_lines_finds(
        (lines, conditions) in prop::collection::vec(lines(), 1..60)
            .prop_flat_map(|lines| { let c = conditions(&lines); (Just(lines), c) }),
    ) {
        let bytes = encoded(&lines);
        let opened = Lines::open(&mut Reader::new("lines", &bytes), lines.len()).unwrap();
        let mut search = Search::new(&conditions);
        let wanted = search.rows(&opened).unwrap();
        for (row, line) in lines.iter().enumerate() {
            let expect = conditions.iter().all(|c| c.holds(line));
            let found = wanted[opened.template_of(row)].has(opened.rank(row));
            prop_assert_eq!(found, expect, "{}", String::from_utf8_lossy(line));
            prop_assert_eq!(search.wants(line), expect);
        }
    }
}
