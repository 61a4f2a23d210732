//! Values by powers of two, and quantiles of them.
//!
//! Napkin: at most 64 powers for whole numbers; a quantile is off by less than a factor of two,
//! usually by a few percent, because it is interpolated on the scale of the powers.

use super::super::value::Value;

/// Values up to some power of two, ascending by it: the power and how many.
pub(super) type Powers = Vec<(f64, f64)>;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The power of two at or above a value; a duration's is in seconds. `None` for what is not counted:
/// less than two, and what is no number.
pub(super) fn power_of(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => whole(*value),
        Value::Duration(nanos) => whole(*nanos).map(|power| power / SECOND),
        Value::Float(value) if value.is_finite() && *value > 0.0 => {
            Some(value.log2().ceil().exp2())
        }
        _ => None,
    }
}

/// The power of two at or above a whole number.
pub(super) fn whole(value: i64) -> Option<f64> {
    let value = u64::try_from(value).ok().filter(|v| *v >= 2)?;
    // At most 2^63, which an f64 holds exactly.
    Some(value.next_power_of_two() as f64)
}

/// Counts a value.
pub(super) fn add(powers: &mut Powers, power: f64, count: f64) {
    let at = powers.partition_point(|(p, _)| *p < power);
    match powers.get_mut(at) {
        Some((p, known)) if *p == power => *known += count,
        _ => powers.insert(at, (power, count)),
    }
}

/// The quantile of counted values; 0 where there are none. Between powers it is interpolated
/// exponentially, by the rank among the values of the last power.
pub(super) fn quantile(quantile: f64, powers: &Powers) -> f64 {
    let total: f64 = powers.iter().map(|(_, count)| count).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let rank = (quantile * total).ceil().max(1.0);
    let mut below = 0.0;
    for (index, (power, count)) in powers.iter().enumerate() {
        if below + count < rank {
            below += count;
            continue;
        }
        if below + count == rank {
            return *power;
        }
        let high = power.log2();
        let low = match index.checked_sub(1).and_then(|i| powers.get(i)) {
            Some((before, _)) => before.log2(),
            None => high - 1.0,
        };
        return (low + (high - low) * ((rank - below) / count)).exp2();
    }
    powers.last().map_or(0.0, |(power, _)| *power)
}
