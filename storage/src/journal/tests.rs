//! Damage of every kind, and what the reader makes of it.

use super::*;
use crate::sim::SimDisk;
use proptest::prelude::*;

const FOLDER: &str = "toy/journal";

fn journal(disk: &SimDisk, segment_bytes: u64) -> Journal {
    let disk = Arc::new(disk.clone());
    Journal::new(disk, FOLDER.to_owned(), segment_bytes, 7, (1, 1))
}

fn append(journal: &mut Journal, texts: &[&str]) -> Result<u64, DiskError> {
    let tenant = Tenant::anonymous();
    let records: Vec<_> = texts
        .iter()
        .map(|text| Record {
            tenant: &tenant,
            payload: text.as_bytes(),
        })
        .collect();
    journal.append(&records)
}

/// Texts of the good records, and what was found.
fn texts(bytes: &[u8], last: bool) -> (Vec<String>, Reading) {
    let reading = read("segment", bytes, last, None);
    let mut found = Vec::new();
    for frame in reading.frames.clone() {
        let mut each = |_: &Tenant, text: &[u8]| found.push(String::from_utf8_lossy(text).into());
        records("segment", bytes, frame, &mut each).unwrap();
    }
    (found, reading)
}

fn three_frames() -> Vec<u8> {
    let disk = SimDisk::new(1);
    let mut journal = journal(&disk, 1 << 20);
    append(&mut journal, &["one", "two"]).unwrap();
    append(&mut journal, &["three"]).unwrap();
    append(&mut journal, &["four"]).unwrap();
    disk.blob(&segment_path(FOLDER, 1)).unwrap().to_vec()
}

#[test]
fn what_was_appended_is_read() {
    let bytes = three_frames();
    let (found, reading) = texts(&bytes, true);
    assert_eq!(found, ["one", "two", "three", "four"]);
    assert_eq!((reading.damage.len(), reading.cut), (0, None));
    assert_eq!(reading.next_sequence, Some(4));
}

#[test]
fn a_frame_that_was_cut_off_is_synced_away_before_the_next_segment() {
    let disk = SimDisk::new(1);
    let mut journal = journal(&disk, 1 << 20);
    append(&mut journal, &["one"]).unwrap();
    let full = || disk.set_capacity(Some(disk.used() + 10));
    full();
    assert!(append(&mut journal, &["two"]).is_err());
    disk.set_capacity(None);
    disk.fail_syncs(1);
    assert!(matches!(journal.seal(), Err(DiskError::Sync { .. })));
    assert_eq!(journal.seal(), Ok(2));
    // The next frame settles it too, and without a cut there is nothing to sync.
    append(&mut journal, &["three"]).unwrap();
    full();
    assert!(append(&mut journal, &["four"]).is_err());
    disk.set_capacity(None);
    append(&mut journal, &["five"]).unwrap();
    disk.fail_syncs(1);
    assert_eq!(journal.seal(), Ok(3));
}

#[test]
fn every_cut_of_the_last_segment_is_a_torn_tail() {
    let bytes = three_frames();
    let ends: Vec<usize> = texts(&bytes, true).1.frames.iter().map(|f| f.end).collect();
    for end in 0..bytes.len() {
        let (_, reading) = texts(&bytes[..end], true);
        let whole = ends.iter().filter(|e| **e <= end).count();
        assert_eq!(
            (reading.frames.len(), reading.damage.len()),
            (whole, 0),
            "cut at {end}"
        );
        let clean = end == HEADS_BYTES || ends.contains(&end);
        assert_eq!(reading.cut.is_none(), clean, "cut at {end}");
        let (_, reading) = texts(&bytes[..end], false);
        let clean = clean || end < HEADS_BYTES;
        assert_eq!(reading.damage.is_empty(), clean, "not last, cut at {end}");
    }
}

#[test]
fn a_flipped_bit_costs_one_frame_and_is_named() {
    let bytes = three_frames();
    let frames = texts(&bytes, true).1.frames;
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let (found, reading) = texts(&broken, true);
        let (lost, damage, cut) = match bit / 8 {
            at if at < HEADS_BYTES => (None, 1, false),
            at if at < frames[0].end => (Some(0), 1, false),
            at if at < frames[1].end => (Some(1), 1, false),
            _ => (Some(2), 0, true),
        };
        let groups = [vec!["one", "two"], vec!["three"], vec!["four"]];
        let kept = (0..3).filter(|g| Some(*g) != lost);
        let expect: Vec<_> = kept.flat_map(|g| groups[g].clone()).collect();
        assert_eq!(found, expect, "bit {bit}");
        assert_eq!(
            (reading.damage.len(), reading.cut.is_some()),
            (damage, cut),
            "bit {bit}"
        );
    }
}

#[test]
fn a_missing_segment_shows_in_the_sequence() {
    let bytes = three_frames();
    let reading = read("segment", &bytes, true, Some(0));
    let found: Vec<_> = reading.damage.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["segment is corrupt at byte 16: expected first frame 0, found 1: frames are missing"]
    );
    assert_eq!(reading.frames.len(), 3);
}

#[test]
fn a_record_cannot_pass_for_a_frame() {
    let disk = SimDisk::new(1);
    let forged = three_frames()[HEADS_BYTES..].to_vec();
    let tenant = Tenant::anonymous();
    let mut journal = Journal::new(
        Arc::new(disk.clone()),
        FOLDER.to_owned(),
        1 << 20,
        8,
        (1, 1),
    );
    let record = Record {
        tenant: &tenant,
        payload: &forged,
    };
    journal.append(&[record]).unwrap();
    append(&mut journal, &["good"]).unwrap();
    let mut bytes = disk.blob(&segment_path(FOLDER, 1)).unwrap().to_vec();
    bytes[HEADS_BYTES] ^= 1;
    assert_eq!(texts(&bytes, true).0, ["good"]);
}

#[test]
fn segments_end_at_their_size_and_when_sealed() {
    let disk = SimDisk::new(1);
    let mut journal = journal(&disk, 1);
    append(&mut journal, &["a"]).unwrap();
    append(&mut journal, &["b"]).unwrap();
    assert_eq!(journal.seal(), Ok(3));
    assert_eq!(journal.seal(), Ok(3));
    let numbers: Vec<_> = segments(&disk, FOLDER)
        .unwrap()
        .iter()
        .map(|s| s.0)
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_full_disk_leaves_the_journal_as_it_was() {
    let disk = SimDisk::new(1);
    let mut journal = journal(&disk, 1 << 20);
    append(&mut journal, &["one"]).unwrap();
    let before = disk.blob(&segment_path(FOLDER, 1)).unwrap();
    disk.set_capacity(Some(before.len() as u64 + 10));
    assert!(matches!(
        append(&mut journal, &["two"]),
        Err(DiskError::Full { .. })
    ));
    assert_eq!(&*disk.blob(&segment_path(FOLDER, 1)).unwrap(), &*before);
    disk.set_capacity(None);
    append(&mut journal, &["three"]).unwrap();
    let bytes = disk.blob(&segment_path(FOLDER, 1)).unwrap();
    assert_eq!(texts(&bytes, true).0, ["one", "three"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_do_not_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        keep in 0usize..200,
        last in any::<bool>(),
    ) {
        let mut bytes = three_frames();
        bytes.truncate(keep);
        bytes.extend_from_slice(&tail);
        let (found, _) = texts(&bytes, last);
        prop_assert!(found.len() <= 4);
    }
}
