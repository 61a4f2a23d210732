//! A line as a template: text with places that are filled from a pod's memory and from seeded
//! numbers.
//!
//! In a template `<name>` or `<name:argument>` is a place; [`Place::of`] tells the names.

use std::fmt::Write;

use super::clock::{Clock, Notation};
use super::stack;
use crate::random::Random;

/// Values of a kind that an application has at hand at one time.
const RECENT_MAX: usize = 48;

/// A piece of a template.
#[derive(Clone, Debug)]
enum Place {
    Text(&'static str),
    Time(Notation),
    /// The pod's name.
    Pod,
    /// The name of the node it runs on.
    Node,
    /// The number of its process.
    Process,
    /// A number that counts up.
    Next,
    /// One of the ids that are in use now.
    Recent(Id),
    /// An address in the cluster, few of them often.
    Inside,
    /// An address outside, few of them often.
    Outside,
    /// Evenly below.
    Even(u64),
    /// Below, small ones more often, by Zipf's law.
    Popular(usize),
    /// A size or a time around a middle, with a long tail, and so many digits after the point.
    Skewed(f64, usize),
    /// Hexadecimal digits.
    Hex(usize),
    /// One of the texts, the first ones more often.
    One(Vec<&'static str>),
    /// An exception with its frames.
    Stack,
}

/// What an id is of. Its place in [`Memory::recent`] is its number.
#[derive(Clone, Copy, Debug)]
enum Id {
    Block,
    Request,
    Uuid,
    Session,
    Port,
    Order,
    Trace,
}

/// How often an id is new; else it is one of the recent ones.
const FRESH: [f64; 7] = [0.3, 0.9, 0.3, 0.25, 0.8, 0.4, 0.25];

impl Place {
    fn of(text: &'static str) -> Option<Self> {
        let (name, argument) = text.split_once(':').unwrap_or((text, ""));
        Some(match name {
            "iso" => Self::Time(Notation::Iso),
            "spaced" => Self::Time(Notation::Spaced),
            "access" => Self::Time(Notation::Access),
            "klog" => Self::Time(Notation::Klog),
            "syslog" => Self::Time(Notation::Syslog),
            "short" => Self::Time(Notation::Short),
            "slashed" => Self::Time(Notation::Slashed),
            "ms" => Self::Time(Notation::Millis),
            "us" => Self::Time(Notation::Micros),
            "epochms" => Self::Time(Notation::EpochMillis),
            "pod" => Self::Pod,
            "node" => Self::Node,
            "pid" => Self::Process,
            "next" => Self::Next,
            "trace" => Self::Recent(Id::Trace),
            "block" => Self::Recent(Id::Block),
            "request" => Self::Recent(Id::Request),
            "uuid" => Self::Recent(Id::Uuid),
            "session" => Self::Recent(Id::Session),
            "port" => Self::Recent(Id::Port),
            "order" => Self::Recent(Id::Order),
            "in" => Self::Inside,
            "out" => Self::Outside,
            "n" => Self::Even(argument.parse().ok()?),
            "z" => Self::Popular(argument.parse().ok()?),
            "s" => Self::Skewed(argument.parse().ok()?, 0),
            "d" => Self::Skewed(argument.parse().ok()?, 1),
            "f" => Self::Skewed(argument.parse().ok()?, 3),
            "e" => Self::Skewed(argument.parse().ok()?, 6),
            "x" => Self::Hex(argument.parse().ok()?),
            "one" => Self::One(argument.split('|').collect()),
            "stack" => Self::Stack,
            _ => return None,
        })
    }
}

/// A template in pieces.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Place>);

impl Template {
    /// Takes a template apart; none when a place has no meaning.
    pub(super) fn of(mut text: &'static str) -> Option<Self> {
        let mut places = Vec::new();
        while let Some((before, rest)) = text.split_once('<') {
            let (name, after) = rest.split_once('>')?;
            places.push(Place::Text(before));
            places.push(Place::of(name)?);
            text = after;
        }
        places.push(Place::Text(text));
        Some(Self(places))
    }

    /// Writes a line.
    pub(super) fn write(
        &self,
        clock: &Clock,
        memory: &mut Memory,
        random: &mut Random,
        out: &mut String,
    ) {
        for place in &self.0 {
            memory
                .fill(place, clock, random, out)
                .expect("a string takes all");
        }
    }
}

/// What a pod knows between its lines.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) pod: String,
    node: String,
    process: u64,
    next: u64,
    trace: (u64, u64),
    traces: Vec<u64>,
    recent: [Vec<u64>; 7],
}

impl Memory {
    /// The memory of a pod on a node.
    pub(super) fn new(pod: String, node: usize, random: &mut Random) -> Self {
        Self {
            pod,
            node: format!("node-{node:02}"),
            process: 1 + random.below(4_000),
            next: random.below(1_000_000),
            trace: (0, 0),
            traces: Vec::new(),
            recent: Default::default(),
        }
    }

    /// Chooses the trace that the next line belongs to.
    pub(super) fn choose_trace(&mut self, random: &mut Random) {
        let low = recent(&mut self.traces, 0.2, random);
        self.trace = (Random::new(low).next(), low);
    }

    /// Writes the trace of the line.
    pub(super) fn write_trace(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "{:016x}{:016x}", self.trace.0, self.trace.1)
    }

    fn fill(
        &mut self,
        place: &Place,
        clock: &Clock,
        random: &mut Random,
        out: &mut String,
    ) -> std::fmt::Result {
        match place {
            Place::Text(text) => out.push_str(text),
            Place::Time(notation) => clock.write(*notation, out)?,
            Place::Pod => out.push_str(&self.pod),
            Place::Node => out.push_str(&self.node),
            Place::Process => write!(out, "{}", self.process)?,
            Place::Next => {
                self.next += 1 + random.below(3);
                write!(out, "{}", self.next)?;
            }
            Place::Recent(id) => self.id(*id, random, out)?,
            Place::Inside => {
                let n = random.popular(2000);
                write!(out, "10.42.{}.{}", n % 8, 2 + n / 8)?;
            }
            Place::Outside => {
                let [a, b, c, d, ..] = Random::of(77, random.popular(6000) as u64)
                    .next()
                    .to_be_bytes();
                write!(out, "{}.{b}.{c}.{d}", 11 + a % 200)?;
            }
            Place::Even(n) => write!(out, "{}", random.below(*n))?,
            Place::Popular(n) => write!(out, "{}", random.zipf(*n))?,
            Place::Skewed(middle, digits) => write!(out, "{:.digits$}", random.skewed(*middle))?,
            Place::Hex(digits) => {
                let bits = 4 * (*digits).min(16) as u32;
                write!(out, "{:0digits$x}", random.next() >> (64 - bits))?;
            }
            Place::One(texts) => out.push_str(random.pick(texts)),
            Place::Stack => stack::write(random, out)?,
        }
        Ok(())
    }

    fn id(&mut self, id: Id, random: &mut Random, out: &mut String) -> std::fmt::Result {
        let at = id as usize;
        let value = recent(&mut self.recent[at], FRESH[at], random);
        match id {
            Id::Block => write!(out, "blk_{}", value.cast_signed()),
            Id::Trace => write!(out, "{:016x}{value:016x}", Random::new(value).next()),
            Id::Request => write!(out, "{value:016x}"),
            Id::Uuid => {
                let low = Random::new(value).next();
                let (a, b, c) = (value >> 32, (value >> 16) & 0xffff, value & 0xfff);
                let (d, e) = (0x8000 | ((low >> 48) & 0x3fff), low & 0xffff_ffff_ffff);
                write!(out, "{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
            }
            Id::Session => write!(out, "{}", 1000 + value % 31_000),
            Id::Port => write!(out, "{}", 32_768 + value % 28_232),
            Id::Order => write!(out, "{}", 40_000_000 + value % 10_000_000),
        }
    }
}

/// A new value that is kept, or one that was kept before.
fn recent(kept: &mut Vec<u64>, fresh: f64, random: &mut Random) -> u64 {
    if kept.is_empty() || random.chance(fresh) {
        let value = random.next();
        if kept.len() < RECENT_MAX {
            kept.push(value);
        } else {
            kept[random.below(RECENT_MAX as u64) as usize] = value;
        }
        return value;
    }
    kept[random.below(kept.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_unknown_ones_are_refused() {
        let mut random = Random::new(1);
        let mut memory = Memory::new("cart-0".to_owned(), 3, &mut random);
        let mut clock = Clock::default();
        clock.set(1_700_000_000_000_000_000);
        let mut check = |text: &'static str, expect: Option<&str>| {
            let filled = Template::of(text).map(|template| {
                let mut out = String::new();
                template.write(&clock, &mut memory, &mut random, &mut out);
                out
            });
            assert_eq!(filled.as_deref(), expect, "{text}");
        };
        check("plain", Some("plain"));
        check("<pod> on <node>", Some("cart-0 on node-03"));
        check("<iso>.<ms>Z", Some("2023-11-14T22:13:20.000Z"));
        check("<one:a>=<n:1>", Some("a=0"));
        check("<nothing>", None);
        check("<n:x>", None);
        check("<n:1", None);
    }

    #[test]
    fn ids_come_back() {
        let mut random = Random::new(1);
        let mut memory = Memory::new("p".to_owned(), 0, &mut random);
        let template = Template::of("<block>").expect("a template");
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..2000 {
            let mut out = String::new();
            template.write(&Clock::default(), &mut memory, &mut random, &mut out);
            *seen.entry(out).or_insert(0) += 1;
        }
        assert!((500..700).contains(&seen.len()), "{} ids", seen.len());
    }
}
