//! Alerts as they are kept on disk, so that a restart loses none; specified in
//! `docs/formats/alert-state.md`.
//!
//! Invariant: decoding what was encoded gives the same alert, but for when it was sent, which is
//! not kept: after a restart those who notify are told again.

use obs_model::{Labels, Timestamp};

use super::alert::{Alert, AlertState};

/// The version of the encoding.
const VERSION: u8 = 1;
/// Version and state, five times, one value.
const HEAD_BYTES: usize = 2 + 8 * 5;
/// Stands for a time that is not there.
const NONE: i64 = i64::MIN;

/// An alert as bytes.
pub fn encode(alert: &Alert) -> Vec<u8> {
    let mut out = vec![VERSION, alert.state as u8];
    let time = |time: Option<Timestamp>| time.map_or(NONE, Timestamp::nanos).to_le_bytes();
    out.extend_from_slice(&time(Some(alert.active_at)));
    out.extend_from_slice(&time(alert.fired_at));
    out.extend_from_slice(&time(alert.resolved_at));
    out.extend_from_slice(&time(alert.keep_firing_since));
    out.extend_from_slice(&alert.value.to_bits().to_le_bytes());
    let labels = alert.labels.packed();
    // Labels are bounded far below that.
    let length = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(labels);
    out.extend_from_slice(alert.annotations.packed());
    out
}

/// The alert of such bytes; nothing where they are none.
pub fn decode(bytes: &[u8]) -> Option<Alert> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let state = match head {
        [VERSION, 0, ..] => AlertState::Inactive,
        [VERSION, 1, ..] => AlertState::Pending,
        [VERSION, 2, ..] => AlertState::Firing,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = head.get(2 + at * 8..10 + at * 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let time = |at: usize| {
        let nanos = word(at)? as i64;
        Some((nanos != NONE).then(|| Timestamp::from_nanos(nanos)))
    };
    let (length, rest) = rest.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let (labels, annotations) = rest.split_at_checked(length)?;
    Some(Alert {
        labels: Labels::from_packed(labels).ok()?,
        annotations: Labels::from_packed(annotations).ok()?,
        value: f64::from_bits(word(4)?),
        state,
        active_at: time(0)??,
        fired_at: time(1)?,
        resolved_at: time(2)?,
        keep_firing_since: time(3)?,
        sent_at: None,
    })
}

/// Whether an alert must be written again: where it is, or since when, has changed.
pub fn differs(kept: &Alert, now: &Alert) -> bool {
    let times = |alert: &Alert| {
        (
            alert.state,
            alert.active_at,
            alert.fired_at,
            alert.resolved_at,
            alert.keep_firing_since,
        )
    };
    times(kept) != times(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_kept_comes_back(
            state in 0usize..3,
            times in prop::array::uniform4(prop::option::of(-5i64..5)),
            value in any::<f64>(),
            name in "[a-z]{0,3}",
        ) {
            let time = |at: usize| times[at].map(Timestamp::from_nanos);
            let alert = Alert {
                labels: Labels::from_pairs([("alertname", "A"), ("x", &name)]),
                annotations: Labels::from_pairs([("summary", &name)]),
                value,
                state: [AlertState::Inactive, AlertState::Pending, AlertState::Firing][state],
                active_at: time(0).unwrap_or_default(),
                fired_at: time(1),
                resolved_at: time(2),
                keep_firing_since: time(3),
                sent_at: None,
            };
            let bytes = encode(&alert);
            let found = decode(&bytes).expect("it was encoded");
            prop_assert!(!differs(&found, &alert));
            prop_assert_eq!(found.value.to_bits(), value.to_bits());
            prop_assert_eq!((&found.labels, &found.annotations), (&alert.labels, &alert.annotations));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(alert) = decode(&bytes) {
                prop_assert_eq!(encode(&alert), bytes);
            }
        }
    }
}
