//! What an object is: a kind of thing that Planhat lists and that has one table.
//!
//! An object is data, not code: the catalogue has one of these per endpoint, and all other code (pager, window, flatten,
//! store) reads it. The facts and who says so are in docs/planhat-api.md.

use std::borrow::Cow;
use std::collections::HashMap;

use super::reference::{Reference, Role};

/// A value per object, by the object's name.
pub type ByObject<T> = HashMap<&'static str, T>;

/// One kind of thing in a Planhat workspace, e.g. companies: a row of the catalogue, all that is known of it.
#[derive(Debug)]
pub struct Object {
    /// Name of the endpoint (`/companies`) and of the table.
    pub name: &'static str,
    /// What people call one of its records. The names of its actions begin with it (Ticket Created, Ticket Updated …).
    pub action_noun: &'static str,
    /// The answer that its records wait for, if they do: the action that brings it has a name of its own.
    pub answer: Option<Answer>,
    /// Planhat's name for one record of this object, as in the `parent` of a custom field.
    pub model: &'static str,
    /// The largest `limit` that the endpoint is documented to take.
    pub max_limit: u32,
    /// Synced when the user does not name objects.
    pub by_default: bool,
    /// Times that an edit moves, in order of preference. Only a record that has one of them can be
    /// told unchanged without comparing it.
    pub modified: &'static [&'static str],
    /// Other times in a record's life (contact, activity, creation). They widen the window, but their silence proves nothing;
    /// see [`Object::ageing_times`].
    pub dated: &'static [&'static str],
    /// A record stands for something that happened once (an answer, a conversation, hours worked), so that its creation says
    /// how old it is. Any other record may be alive however long ago it was created.
    pub is_event: bool,
    /// How far back its records are loaded where no setting says so for this object.
    pub history: DefaultHistory,
    /// Times of the event that a record stands for, if it stands for one: its actions happened then.
    pub occurred: &'static [&'static str],
    /// Times of its creation, in order of preference.
    pub created: &'static [&'static str],
    /// Properties that name records of other objects. Of several with one role, the first that has a value counts.
    pub references: &'static [Reference],
    /// Properties to walk the listing by, newest first, so that a daily run can stop early; see
    /// [`Object::sweeps`].
    pub sweeps: &'static [&'static str],
    /// The query parameter without which some records (archived ones) are not listed.
    pub hidden: Option<&'static str>,
    /// Properties that change with the calendar alone (days until, days since, counts within N days). They are ignored
    /// when comparing: a change of one of them alone does not update the row.
    pub ignore_changes: &'static [&'static str],
    pub properties: Properties,
}

/// What a record is sent out for, as an NPS survey is. It has been given when the record has one of the times at which the event
/// happened ([`Object::occurred`]), or a score other than 0: a survey that nobody has answered may have the score 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The name of the action that brings it.
    pub action: &'static str,
    pub scores: &'static [&'static str],
}

impl Answer {
    /// Whether a record has it, by the JSON texts of its properties.
    pub fn is_given<'a>(self, times: &[&str], value_of: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        let value_of = |name: &&str| value_of(name).filter(|value| !matches!(&**value, "null" | "\"\"" | "\"undefined\""));
        let is_score = |name: &&str| value_of(name).is_some_and(|score| !matches!(score.trim_matches('"'), "0" | "0.0"));
        times.iter().any(|time| value_of(time).is_some()) || self.scores.iter().any(is_score)
    }
}

/// How far back the records of an object are loaded, unless a setting names the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultHistory {
    /// As far as sync.history says.
    AsConfigured,
    /// All of them: others refer to them however old they are, and there are few.
    All,
}

/// The documented properties of an object by the type of their column. What is not listed gets its
/// type from the values seen.
#[derive(Debug, Clone, Copy)]
pub struct Properties {
    pub text: &'static [&'static str],
    pub number: &'static [&'static str],
    pub boolean: &'static [&'static str],
    pub time: &'static [&'static str],
    /// Objects, arrays, and properties documented with more than one shape.
    pub json: &'static [&'static str],
}

impl Object {
    /// The documented type of a property.
    pub fn kind_of(&self, property: &str) -> Option<ColumnType> {
        self.kinds().into_iter().find(|(names, _)| names.contains(&property)).map(|(_, kind)| kind)
    }

    /// All documented properties with their types.
    pub fn documented(&self) -> impl Iterator<Item = (&'static str, ColumnType)> {
        self.kinds().into_iter().flat_map(|(names, kind)| names.iter().map(move |name| (*name, kind)))
    }

    fn kinds(&self) -> [(&'static [&'static str], ColumnType); 5] {
        let Properties { text, number, boolean, time, json } = self.properties;
        [
            (text, ColumnType::Text),
            (number, ColumnType::Number),
            (boolean, ColumnType::Boolean),
            (time, ColumnType::Time),
            (json, ColumnType::Json),
        ]
    }

    /// The properties that name the record's company, its owner or its end users, in order of preference. A company is its own
    /// company, and an end user its own end user.
    pub fn properties_naming(&self, role: Role) -> impl Iterator<Item = &'static str> {
        let own = (role.object() == self.name && role != Role::Owner).then_some("_id");
        let named = self.references.iter().filter(move |reference| own.is_none() && reference.role == Some(role));
        own.into_iter().chain(named.map(|reference| reference.property))
    }

    /// All times in the life of a record.
    pub fn times(&self) -> impl Iterator<Item = &'static &'static str> {
        self.modified.iter().chain(self.dated)
    }

    /// The times by which a record is old: those that an edit or a contact moves, and all times of an event. A record that has
    /// none of them may be in use, whatever the time of its creation.
    pub fn ageing_times(&self) -> impl Iterator<Item = &'static &'static str> {
        let (is_event, created) = (self.is_event, self.created);
        self.times().filter(move |time| is_event || !created.contains(time))
    }

    /// What to walk the listing by where the user wants it sorted: by the time of an edit where nothing
    /// better is known. Empty if there is no such time.
    pub fn sweeps(&self) -> &'static [&'static str] {
        if self.sweeps.is_empty() { self.modified.get(..1).unwrap_or_default() } else { self.sweeps }
    }
}

/// The five types of column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// Exact: the digits of the JSON text, never through a float.
    Number,
    Boolean,
    Time,
    /// Objects and arrays, and anything whose shape varies.
    Json,
}

impl ColumnType {
    pub const ALL: [ColumnType; 5] =
        [ColumnType::Text, ColumnType::Number, ColumnType::Boolean, ColumnType::Time, ColumnType::Json];

    /// The PostgreSQL type, also its name in the column map.
    pub fn sql(self) -> &'static str {
        match self {
            ColumnType::Text => "text",
            ColumnType::Number => "numeric",
            ColumnType::Boolean => "boolean",
            ColumnType::Time => "timestamptz",
            ColumnType::Json => "jsonb",
        }
    }

    pub fn from_sql(name: &str) -> Option<ColumnType> {
        ColumnType::ALL.into_iter().find(|kind| kind.sql() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn an_answer_is_given_with_its_time_or_with_a_score_that_is_not_0() {
        let nps = catalog::object("nps").unwrap();
        for (record, is_given) in [
            (vec![("dateSent", "\"2026-01-01\"")], false),
            (vec![("dateSent", "\"2026-01-01\""), ("score", "0"), ("comment", "\"\"")], false),
            (vec![("dateSent", "\"2026-01-01\""), ("score", "null"), ("dateAnswered", "\"\"")], false),
            (vec![("score", "0"), ("dateAnswered", "\"2026-01-02\"")], true),
            (vec![("npsDate", "\"2026-01-02\"")], true),
            (vec![("score", "9")], true),
            (vec![("nps", "\"8.5\"")], true),
        ] {
            let value_of = |name: &str| record.iter().find(|(field, _)| *field == name).map(|(_, value)| Cow::Borrowed(*value));
            assert_eq!(nps.answer.unwrap().is_given(nps.occurred, value_of), is_given, "{record:?}");
        }
    }
}
