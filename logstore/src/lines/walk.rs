//! Leads a regular expression through the lines of a template, all at once and piece by piece.
//!
//! What the template says moves all rows that are at one place to one place, so it is read once for
//! each place and not for each row. A column whose values cannot move any place is not read at all:
//! most identifiers and numbers before and behind what is looked for are such. Invariant: a row is
//! found exactly when the expression matches its line.

use obs_model::machine::{Machine, Place};
use obs_storage::Corrupt;

use super::column::Lines;
use super::search::Wanted;
use super::split::is_marker;
use super::variable::{Form, Variables};

/// Most distinct values of a column whose moves are remembered for each place.
const DISTINCT_MAX: usize = 4096;

/// Where the rows of a template are.
enum Rows {
    /// All at one place.
    At(Place),
    Each(Vec<Place>),
}

/// Why there is no answer.
pub(super) enum Stopped {
    /// The expression has too many places.
    Places,
    Corrupt(Corrupt),
}

impl From<Corrupt> for Stopped {
    fn from(error: Corrupt) -> Self {
        Self::Corrupt(error)
    }
}

/// The rows of a template that an expression finds. Those that are not in `among` are not found.
pub(super) fn matching(
    lines: &Lines<'_>,
    template: usize,
    machine: &mut Machine,
    among: &Wanted,
) -> Result<Wanted, Stopped> {
    let kind = &lines.templates[template];
    let start = machine.start();
    let mut rows = match among {
        Wanted::None => return Ok(Wanted::None),
        Wanted::All => Rows::At(start),
        Wanted::Some(among) => {
            let place = |wanted: &bool| if *wanted { start } else { Place::DEAD };
            Rows::Each(among.iter().map(place).collect())
        }
    };
    let mut text = &kind.bytes[..];
    let mut columns = 0..kind.columns.len();
    loop {
        let marker = text.iter().position(|b| is_marker(*b));
        let shared = &text[..marker.unwrap_or(text.len())];
        rows.move_all(&mut |place| machine.run(place, shared).ok_or(Stopped::Places))?;
        if rows.is_settled() {
            break;
        }
        let (Some(marker), Some(column)) = (marker, columns.next()) else {
            break;
        };
        text = &text[marker + 1..];
        let mut resting = Resting::of(&kind.columns[column].form);
        if !rows.stay(&mut resting, machine)? {
            let values = lines.values(template, column)?;
            rows = rows.through(values, kind.rows, &mut resting, machine)?;
        }
    }
    rows.move_all(&mut |place| match machine.ends(place) {
        Some(true) => Ok(Place::FOUND),
        Some(false) => Ok(Place::DEAD),
        None => Err(Stopped::Places),
    })?;
    Ok(match rows {
        Rows::At(Place::FOUND) => Wanted::All,
        Rows::At(_) => Wanted::None,
        Rows::Each(places) => Wanted::Some(places.into_iter().map(|p| p == Place::FOUND).collect()),
    })
}

impl Rows {
    /// Moves each place once, and all rows that are there.
    fn move_all(
        &mut self,
        to: &mut dyn FnMut(Place) -> Result<Place, Stopped>,
    ) -> Result<(), Stopped> {
        match self {
            Self::At(place) => *place = to(*place)?,
            Self::Each(places) => {
                let mut known = Known::default();
                for place in places {
                    *place = known.get_or(*place, to)?;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing that comes moves any row.
    fn is_settled(&self) -> bool {
        match self {
            Self::At(place) => place.is_settled(),
            Self::Each(places) => places.iter().all(|place| place.is_settled()),
        }
    }

    /// Whether no value of a column moves any row.
    fn stay(&self, resting: &mut Resting, machine: &mut Machine) -> Result<bool, Stopped> {
        match self {
            Self::At(place) => resting.rests(*place, machine),
            Self::Each(places) => {
                for place in places {
                    if !resting.rests(*place, machine)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Behind the values of a column.
    fn through(
        mut self,
        values: &Variables,
        rows: usize,
        resting: &mut Resting,
        machine: &mut Machine,
    ) -> Result<Self, Stopped> {
        if let Variables::Constant(value) = values {
            self.move_all(&mut |place| machine.run(place, value).ok_or(Stopped::Places))?;
            return Ok(self);
        }
        let mut places = match self {
            Self::At(place) => vec![place; rows],
            Self::Each(places) => places,
        };
        match values {
            Variables::Dictionary(distinct, indexes) if distinct.len() <= DISTINCT_MAX => {
                let mut moves: Vec<Known> = Vec::new();
                for (place, index) in places.iter_mut().zip(indexes) {
                    let (from, index) = (*place, usize::from(*index));
                    if from.is_settled() {
                        continue;
                    }
                    if moves.len() <= from.number() {
                        moves.resize_with(from.number() + 1, Known::default);
                    }
                    *place = moves[from.number()].number_or(index, &mut || {
                        let to = machine.run(from, distinct.get(index));
                        to.ok_or(Stopped::Places)
                    })?;
                }
            }
            _ => {
                let mut value = Vec::new();
                for (row, place) in places.iter_mut().enumerate() {
                    if resting.rests(*place, machine)? {
                        continue;
                    }
                    value.clear();
                    values.write(row, &mut value);
                    *place = machine.run(*place, &value).ok_or(Stopped::Places)?;
                }
            }
        }
        Ok(Self::Each(places))
    }
}

/// Places that the bytes of a column do not lead away from.
struct Resting {
    /// `None` where the values have any bytes.
    alphabet: Option<&'static [u8]>,
    known: Vec<Option<bool>>,
}

impl Resting {
    fn of(form: &Form) -> Self {
        Self {
            alphabet: match form {
                Form::Numbers { .. } | Form::Padded { .. } => Some(b"0123456789"),
                Form::Hex { .. } => Some(b"0123456789abcdef"),
                Form::Uuids => Some(b"0123456789abcdef-"),
                Form::Addresses => Some(b"0123456789."),
                Form::Constant(_) | Form::Dictionary { .. } | Form::Plain { .. } => None,
            },
            known: Vec::new(),
        }
    }

    fn rests(&mut self, place: Place, machine: &mut Machine) -> Result<bool, Stopped> {
        let Some(alphabet) = self.alphabet.filter(|_| !place.is_settled()) else {
            return Ok(place.is_settled());
        };
        if let Some(Some(known)) = self.known.get(place.number()) {
            return Ok(*known);
        }
        let mut rests = true;
        for byte in alphabet {
            rests &= machine.step(place, *byte).ok_or(Stopped::Places)? == place;
        }
        if self.known.len() <= place.number() {
            self.known.resize(place.number() + 1, None);
        }
        self.known[place.number()] = Some(rests);
        Ok(rests)
    }
}

/// Places by small numbers, each looked up once.
#[derive(Default)]
struct Known(Vec<Option<Place>>);

impl Known {
    fn get_or(
        &mut self,
        from: Place,
        to: &mut dyn FnMut(Place) -> Result<Place, Stopped>,
    ) -> Result<Place, Stopped> {
        self.number_or(from.number(), &mut || to(from))
    }

    fn number_or(
        &mut self,
        number: usize,
        to: &mut dyn FnMut() -> Result<Place, Stopped>,
    ) -> Result<Place, Stopped> {
        if let Some(Some(known)) = self.0.get(number) {
            return Ok(*known);
        }
        if self.0.len() <= number {
            self.0.resize(number + 1, None);
        }
        let place = to()?;
        self.0[number] = Some(place);
        Ok(place)
    }
}
