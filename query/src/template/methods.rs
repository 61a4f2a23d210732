//! Methods of values: those of Go's `time.Time`.

use super::builtins::Arguments;
use super::time::Moment;
use super::value::Value;
use super::{CallError, Functions};

/// Calls a method; nothing where the value has none of that name.
pub(super) fn call(
    functions: &dyn Functions,
    receiver: &Value,
    name: &str,
    arguments: &Arguments,
) -> Option<Result<Value, CallError>> {
    if let Some(outcome) = functions.method(receiver, name, arguments) {
        return Some(outcome);
    }
    match receiver {
        Value::Time(time) => of_time(time, name, arguments),
        _ => None,
    }
}

fn of_time(time: &Moment, name: &str, arguments: &Arguments) -> Option<Result<Value, CallError>> {
    let number = |layout: &str| Value::Int(time.format(layout).trim().parse().unwrap_or(0));
    let nanos = time.nanos().unwrap_or_default();
    let value = match name {
        "Format" => {
            let layout = arguments
                .expect(name, 1)
                .and_then(|()| arguments.text(0).map(str::to_owned));
            return Some(layout.map(|layout| time.format(&layout).into()));
        }
        "Before" | "After" | "Equal" => {
            let other = arguments.expect(name, 1).and_then(|()| arguments.time(0));
            return Some(other.map(|other| {
                let order = time.nanos().cmp(&other.nanos());
                Value::Bool(match name {
                    "Before" => order.is_lt(),
                    "After" => order.is_gt(),
                    _ => order.is_eq(),
                })
            }));
        }
        "UTC" => time.within("UTC").map_or(Value::Nil, Value::Time),
        "Local" => Value::Time(time.clone()),
        "String" => Value::Time(time.clone()).printed().into(),
        "Unix" => Value::Int(nanos.div_euclid(1_000_000_000)),
        "UnixMilli" => Value::Int(nanos.div_euclid(1_000_000)),
        "UnixMicro" => Value::Int(nanos.div_euclid(1000)),
        "UnixNano" => Value::Int(nanos),
        "Nanosecond" => Value::Int(nanos.rem_euclid(1_000_000_000)),
        "Year" => number("2006"),
        "Month" => time.format("January").into(),
        "Weekday" => time.format("Monday").into(),
        "Day" => number("2"),
        "YearDay" => number("002"),
        "Hour" => number("15"),
        "Minute" => number("4"),
        "Second" => number("5"),
        // Go's zero time is in the year 1.
        "IsZero" => Value::Bool(time.format("2006-01-02") == "0001-01-01"),
        _ => return None,
    };
    Some(arguments.expect(name, 0).map(|()| value))
}
