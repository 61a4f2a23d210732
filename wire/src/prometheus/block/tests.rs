//! Blocks made of our own bytes; `tests/` reads those of Prometheus itself.

use proptest::prelude::*;

use super::*;
use crate::protobuf::put;

fn checksum(out: &mut Vec<u8>, from: usize) {
    let sum = crc32c::crc32c(&out[from..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

/// An index with two series.
fn index() -> Vec<u8> {
    let mut out = INDEX_MAGIC.to_be_bytes().to_vec();
    out.push(2);
    let symbols_at = out.len();
    let symbols = ["", "__name__", "a", "b", "job"];
    let mut body = (symbols.len() as u32).to_be_bytes().to_vec();
    for text in symbols {
        put::varint(&mut body, text.len() as u64);
        body.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    let from = out.len();
    out.extend_from_slice(&body);
    checksum(&mut out, from);
    out.resize(out.len().next_multiple_of(16), 0);
    let series_at = out.len();
    for (labels, chunks) in [
        (
            &[(1u64, 2u64)][..],
            &[(-5i64, 10u64, 8u64), (7, 3, 1 << 32 | 9)][..],
        ),
        (&[(1, 3), (4, 2)], &[]),
    ] {
        let mut body = Vec::new();
        put::varint(&mut body, labels.len() as u64);
        for (name, value) in labels {
            put::varint(&mut body, *name);
            put::varint(&mut body, *value);
        }
        put::varint(&mut body, chunks.len() as u64);
        let mut before = (0, 0);
        for (at, (first, length, place)) in chunks.iter().enumerate() {
            if at == 0 {
                put::varint(&mut body, put::zigzag(*first));
                put::varint(&mut body, *length);
                put::varint(&mut body, *place);
            } else {
                put::varint(&mut body, (first - before.0) as u64);
                put::varint(&mut body, *length);
                put::varint(&mut body, put::zigzag((*place as i64) - before.1));
            }
            before = (first + *length as i64, *place as i64);
        }
        put::varint(&mut out, body.len() as u64);
        let from = out.len();
        out.extend_from_slice(&body);
        checksum(&mut out, from);
        out.resize(out.len().next_multiple_of(16), 0);
    }
    let end = out.len();
    let from = end;
    for offset in [symbols_at, series_at, end, end, end, end] {
        out.extend_from_slice(&(offset as u64).to_be_bytes());
    }
    checksum(&mut out, from);
    out
}

fn open(bytes: &[u8]) -> Result<Index, WireError> {
    let tail = &bytes[bytes.len().saturating_sub(CONTENTS_BYTES)..];
    let contents = Contents::decode(bytes, tail, bytes.len() as u64)?;
    let section = &bytes[contents.symbols as usize..];
    let length = symbols_bytes(section)?.min(section.len() as u64) as usize;
    Ok(Index::new(
        &contents,
        Symbols::decode(&section[..length], &contents)?,
    ))
}

/// All series, with no more bytes at a time than are asked for.
fn all(bytes: &[u8]) -> Result<Vec<Result<BlockSeries, WireError>>, WireError> {
    let mut index = open(bytes)?;
    let (mut found, mut shown) = (Vec::new(), 0);
    loop {
        let at = index.position() as usize;
        match index.next_series(&bytes[at..at + shown]) {
            Step::More(more) => {
                assert!(more > shown && at + more <= bytes.len(), "{shown} {more}");
                shown = more;
            }
            Step::Series(series) => {
                found.push(series);
                shown = 0;
            }
            Step::End => return Ok(found),
        }
    }
}

#[test]
fn series_and_chunks() {
    let bytes = index();
    let found: Result<Vec<BlockSeries>, _> = all(&bytes).unwrap().into_iter().collect();
    let found = found.unwrap();
    let labels: Vec<String> = found.iter().map(|s| s.labels.to_string()).collect();
    assert_eq!(labels, [r#"{__name__="a"}"#, r#"{__name__="b", job="a"}"#]);
    let place = |first, last, segment, offset| ChunkPlace {
        first,
        last,
        segment,
        offset,
    };
    assert_eq!(found[0].chunks, [place(-5, 5, 0, 8), place(7, 10, 1, 9)]);
    assert_eq!(found[1].reference, found[0].reference + 2);
}

#[test]
fn damage_costs_one_series() {
    let mut bytes = index();
    let first = 48;
    assert!(all(&bytes).unwrap()[0].is_ok());
    bytes[first + 3] ^= 1;
    let found = all(&bytes).unwrap();
    let error = found[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert!(found[1].is_ok());
    let check = |bytes: &[u8], expect: &str| {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let end = bytes.len();
    check(&bytes[1..], "the magic number");
    check(&bytes[..20], "a table of contents");
    bytes[end - 10] ^= 1;
    check(&bytes, "checksum");
}

#[test]
fn chunks_and_tombstones() {
    let mut bytes = vec![3, 1, 7, 8, 9];
    checksum(&mut bytes, 1);
    assert_eq!(chunk_bytes(&bytes[..3]).unwrap(), bytes.len());
    assert_eq!(chunk(&bytes).unwrap(), (Encoding::Xor, &[7, 8, 9][..]));
    bytes[3] ^= 1;
    assert!(chunk(&bytes).is_err());
    assert!(chunk_bytes(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    let mut tombstones = TOMBSTONES_MAGIC.to_be_bytes().to_vec();
    tombstones.push(1);
    put::varint(&mut tombstones, 9);
    put::varint(&mut tombstones, put::zigzag(-3));
    put::varint(&mut tombstones, put::zigzag(4));
    checksum(&mut tombstones, 5);
    let read = Tombstones::decode(&tombstones).unwrap();
    assert!(read.cover(9, -3) && read.cover(9, 4) && !read.cover(9, 5) && !read.cover(8, 0));
    tombstones[6] ^= 1;
    assert!(Tombstones::decode(&tombstones).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes(
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = index();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // With right checksums, so that what is behind them is reached.
        let end = bytes.len() - CONTENTS_BYTES;
        let sum = crc32c::crc32c(&bytes[end..end + CONTENTS_BYTES - 4]);
        bytes[end + CONTENTS_BYTES - 4..].copy_from_slice(&sum.to_be_bytes());
        for input in [&bytes, &noise] {
            if let Ok(found) = all(input) {
                prop_assert!(found.len() <= input.len());
            }
            drop(chunk(input));
            drop(chunk_bytes(input));
            drop(Tombstones::decode(input));
        }
    }
}
