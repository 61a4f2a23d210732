//! Families written by hand and what comes out of them.

use obs_model::histogram::BucketSpan;
use proptest::prelude::*;

use super::*;
use crate::protobuf::put;

fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    put::varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    put::message(out, 1, |out| {
        put::bytes(out, 1, name.as_bytes());
        put::bytes(out, 2, value.as_bytes());
    });
}

fn family(name: &str, kind: u64, metric: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = Vec::new();
    put::bytes(&mut message, 1, name.as_bytes());
    put::bytes(&mut message, 2, b"help");
    put::uint(&mut message, 3, kind);
    put::message(&mut message, 4, metric);
    let mut out = Vec::new();
    put::varint(&mut out, message.len() as u64);
    out.append(&mut message);
    out
}

const BOTH: Histograms = Histograms {
    native: true,
    classic: true,
};

fn read(bytes: &[u8], histograms: Histograms) -> Exposition {
    decode(bytes, &Limits::default(), histograms).expect("well-formed")
}

fn lines(exposition: &Exposition) -> Vec<String> {
    let line = |s: &ScrapedSample| {
        let exemplar = if s.exemplar.is_some() { " #" } else { "" };
        let start = s.start.map(|t| format!(" from {}", t.millis()));
        format!(
            "{} {}{exemplar}{}",
            s.labels,
            s.value,
            start.unwrap_or_default()
        )
    };
    exposition.samples.iter().map(line).collect()
}

fn start(out: &mut Vec<u8>, number: u32) {
    put::message(out, number, |out| {
        put::uint(out, 1, 5);
        put::uint(out, 2, 500_000_000);
    });
}

fn exemplar(out: &mut Vec<u8>) {
    label(out, "trace_id", "x");
    double(out, 2, 0.5);
    start(out, 3);
}

#[test]
fn single_values() {
    let mut bytes = family("c_total", 0, |out| {
        label(out, "a", "b");
        label(out, "none", "");
        put::message(out, 3, |out| {
            double(out, 1, 7.0);
            put::message(out, 2, exemplar);
            start(out, 3);
        });
    });
    bytes.extend(family("g", 1, |out| {
        put::message(out, 2, |out| double(out, 1, 1.5));
        put::uint(out, 6, 1000);
    }));
    bytes.extend(family("u", 3, |out| put::message(out, 5, |_| {})));
    let read = read(&bytes, Histograms::default());
    assert_eq!(
        lines(&read),
        [
            r#"{__name__="c_total", a="b"} 7 # from 5500"#,
            r#"{__name__="g"} 1.5"#,
            r#"{__name__="u"} 0"#,
        ]
    );
    assert_eq!(read.samples[0].unset, ["none"]);
    assert_eq!(read.samples[1].time, Some(Timestamp::from_millis(1000)));
    assert_eq!(read.metadata[0].kind, MetricKind::Counter);
    assert_eq!(read.metadata[2].help, "help");
}

#[test]
fn summaries() {
    let bytes = family("s", 2, |out| {
        put::message(out, 4, |out| {
            put::uint(out, 1, 3);
            double(out, 2, 6.0);
            for at in [0.5, 1.0] {
                put::message(out, 3, |out| {
                    double(out, 1, at);
                    double(out, 2, 2.0);
                });
            }
        });
    });
    assert_eq!(
        lines(&read(&bytes, BOTH)),
        [
            r#"{__name__="s_count"} 3"#,
            r#"{__name__="s_sum"} 6"#,
            r#"{__name__="s", quantile="0.5"} 2"#,
            r#"{__name__="s", quantile="1.0"} 2"#,
        ]
    );
}

/// One bucket of a classic histogram, and native ones.
fn histogram() -> Vec<u8> {
    family("h", 4, |out| {
        put::message(out, 7, |out| {
            put::uint(out, 1, 6);
            double(out, 2, 9.0);
            put::message(out, 3, |out| {
                put::uint(out, 1, 2);
                double(out, 2, 1.0);
                put::message(out, 3, exemplar);
            });
            put::uint(out, 5, put::zigzag(3));
            double(out, 6, 0.001);
            put::uint(out, 7, 1);
            put::message(out, 12, |out| {
                put::sint(out, 1, -2);
                put::uint(out, 2, 2);
            });
            for delta in [2, 1] {
                put::sint(out, 13, delta);
            }
        });
    })
}

#[test]
fn native_histograms() {
    let only = read(
        &histogram(),
        Histograms {
            native: true,
            classic: false,
        },
    );
    assert!(only.samples.is_empty());
    let found = &only.histograms[0];
    assert_eq!(found.labels.to_string(), r#"{__name__="h"}"#);
    assert_eq!((found.value.count, found.value.sum), (6.0, 9.0));
    assert_eq!((found.value.schema, found.value.zero_count), (3, 1.0));
    assert_eq!(found.value.positive, [2.0, 3.0]);
    let span = BucketSpan {
        offset: -2,
        length: 2,
    };
    assert_eq!(found.value.positive_spans, [span]);
    assert!(found.value.integer && found.exemplars.len() == 1);
    let both = read(&histogram(), BOTH);
    assert_eq!((both.samples.len(), both.histograms.len()), (4, 1));
}

#[test]
fn classic_histograms() {
    let classic = read(&histogram(), Histograms::default());
    assert!(classic.histograms.is_empty());
    assert_eq!(
        lines(&classic),
        [
            r#"{__name__="h_count"} 6"#,
            r#"{__name__="h_sum"} 9"#,
            r#"{__name__="h_bucket", le="1.0"} 2 #"#,
            r#"{__name__="h_bucket", le="+Inf"} 6"#,
        ]
    );
}

#[test]
fn faults() {
    let check = |bytes: &[u8], limits: &Limits, expect: &str| {
        let fault = decode(bytes, limits, BOTH).unwrap_err().to_string();
        assert!(fault.contains(expect), "{fault}");
    };
    let limits = Limits::default();
    check(&[200, 1, 1], &limits, "a length of at most what follows it");
    check(&[2, 0x18, 1], &limits, "a family with a name");
    check(&family("a", 1, |_| {}), &limits, "the value of a gauge");
    let twice = family("a", 1, |out| {
        label(out, "b", "1");
        label(out, "b", "2");
        put::message(out, 2, |out| double(out, 1, 1.0));
    });
    check(&twice, &limits, "b");
    // Buckets that repeat long labels take no more than a body may have.
    let long = family("a", 4, |out| {
        label(out, "long", &"x".repeat(1000));
        put::message(out, 7, |out| {
            for _ in 0..500 {
                put::message(out, 3, |_| {});
            }
        });
    });
    let small = Limits {
        decompressed_bytes_max: 10_000,
        ..Limits::default()
    };
    check(&long, &small, "decompressed_bytes_max");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(read) = decode(&bytes, &Limits::default(), BOTH) {
            prop_assert!(read.metadata.len() <= bytes.len());
        }
    }

    #[test]
    fn damaged_bytes(at in 0usize..90, byte in any::<u8>()) {
        let mut bytes = histogram();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = decode(&bytes, &Limits::default(), BOTH) {
            prop_assert!(read.histograms.len() <= 1);
        }
    }
}
