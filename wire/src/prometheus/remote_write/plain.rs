//! The series that nearly all requests are made of: labels, then float samples, and nothing else.
//!
//! Invariant: what is not exactly of that form is left to the full decoder, which tells its faults.

use obs_model::metrics::KnownSamples;

use crate::number;

/// Labels, as a field of a series.
const LABELS: u8 = 1 << 3 | 2;
/// A sample, as a field of a series.
const SAMPLE: u8 = 2 << 3 | 2;
/// The value of a sample: eight bytes.
const VALUE: u8 = 1 << 3 | 1;
/// The time of a sample: a varint.
const TIME: u8 = 2 << 3;

/// The bytes of the labels and those of the samples.
pub(super) fn split(series: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while series.get(at) == Some(&LABELS) {
        let length = *series.get(at + 1)?;
        // Labels of 128 bytes and more have a length of two bytes.
        let (length, head) = match series.get(at + 2) {
            Some(high) if length >= 0x80 && *high < 0x80 => {
                (usize::from(length & 0x7f) | usize::from(*high) << 7, 3)
            }
            _ if length < 0x80 => (usize::from(length), 2),
            _ => return None,
        };
        at += head + length;
    }
    let (labels, samples) = series.split_at_checked(at)?;
    (!labels.is_empty() && samples.first() == Some(&SAMPLE)).then_some((labels, samples))
}

/// Reads the samples of a known series. Where one of them is of another form, nothing is read.
pub(super) fn samples(mut samples: &[u8], series: u32, known: &mut KnownSamples) -> bool {
    let before = known.numbers.len();
    while !samples.is_empty() {
        let Some((time, value, rest)) = sample(samples) else {
            known.numbers.truncate(before);
            known.times.truncate(before);
            known.values.truncate(before);
            return false;
        };
        known.push(series, time, value);
        samples = rest;
    }
    true
}

/// The first sample and what follows it.
fn sample(bytes: &[u8]) -> Option<(i64, f64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(head[1]);
    if head[0] != SAMPLE || length >= 0x80 {
        return None;
    }
    let (mut body, rest) = rest.split_at_checked(length)?;
    // The value 0 is left out.
    let mut value = 0.0;
    if let Some((&VALUE, after)) = body.split_first() {
        let (bits, after) = after.split_first_chunk::<8>()?;
        value = f64::from_le_bytes(*bits);
        body = after;
    }
    let (TIME, mut varint) = body.split_first().map(|(tag, after)| (*tag, after))? else {
        return None;
    };
    let mut time = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, after) = varint.split_first()?;
        time |= u64::from(byte & 0x7f) << shift;
        varint = after;
        if *byte < 0x80 {
            let time = time as i64;
            // Times that cannot be said in nanoseconds are the full decoder's to refuse.
            number::time_from_millis(time)?;
            return varint.is_empty().then_some((time, value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[&str], tail: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for label in labels {
            out.push(LABELS);
            crate::protobuf::put::varint(&mut out, label.len() as u64);
            out.extend_from_slice(label.as_bytes());
        }
        out.extend_from_slice(tail);
        out
    }

    #[test]
    fn labels_and_samples_are_told_apart() {
        let sample = [SAMPLE, 11, VALUE, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, TIME, 5];
        let long = "x".repeat(300);
        for labels in [&["a"][..], &["a", &long, "b"]] {
            let body = series(labels, &sample);
            let (head, tail) = split(&body).unwrap();
            assert_eq!(head.len() + tail.len(), body.len());
            let mut known = KnownSamples::default();
            assert!(samples(tail, 7, &mut known));
            assert_eq!((known.times, known.values), (vec![5], vec![1.0]));
        }
        let check = |tail: &[u8]| {
            let body = series(&["a"], tail);
            let mut known = KnownSamples::default();
            known.push(1, 2, 3.0);
            let read = split(&body).is_some_and(|(_, tail)| samples(tail, 7, &mut known));
            (read, known.numbers.len())
        };
        assert_eq!(check(&[sample, sample].concat()), (true, 3));
        assert_eq!(check(&[SAMPLE, 2, TIME, 5]), (true, 2));
        assert_eq!(check(&[&sample[..], &[3 << 3 | 2, 0]].concat()), (false, 1));
        assert_eq!(check(&[SAMPLE, 0]), (false, 1));
        assert_eq!(check(&sample[..12]), (false, 1));
        assert_eq!(check(&[]), (false, 1));
        assert!(split(&sample).is_none());
        assert!(split(&[LABELS, 0xff, 0xff, 0xff]).is_none());
    }
}
