//! A simulated Planhat workspace in which people work, and a book of what each record was called: what its copies have to say in the end.
//!
//! Each change gives a record a name that no record ever had. So an action that is missing, comes twice, or comes from a run that had lost
//! its lease shows in the names alone.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use fastrand::Rng;
use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::harness::written;

pub(crate) const OBJECTS: [&str; 2] = ["companies", "endusers"];
const RECORDS_AT_FIRST: usize = 6;

type RecordKey = (&'static str, String);

pub(crate) struct EditedTenant {
    pub(crate) simulator: Simulator,
    /// How many calls each copy may make in a minute, and so how many all of them may.
    pub(crate) quota: Option<usize>,
    /// Whether its copies compare every record with each sync, and so see at once what is deleted.
    pub(crate) is_compared: bool,
    /// The schemas that it is copied to.
    pub(crate) schemas: Vec<String>,
    /// All names that each record has had, the oldest first.
    names: BTreeMap<RecordKey, Vec<String>>,
    trash: Vec<(RecordKey, Value)>,
}

/// An action, as far as it says what a record is called and whether it is there.
#[derive(Debug, sqlx::FromRow)]
struct NameAction {
    object: String,
    record_id: String,
    kind: String,
    first_seen: bool,
    old: Option<String>,
    new: Option<String>,
}

/// What the actions so far say of a record.
#[derive(Debug)]
struct ToldRecord {
    /// None before an action has told it.
    name: Option<String>,
    /// Its place among the names that the record has had.
    place: usize,
    is_deleted: bool,
}

impl EditedTenant {
    /// Another tenant of a server, whose token says its number.
    pub(crate) fn of(server: &Simulator, number: usize) -> EditedTenant {
        let (mut workspace, mut names) = (Workspace::empty(), BTreeMap::new());
        for object in OBJECTS {
            let name = |record: usize| (format!("{number}-{record}"), format!("first {record}"));
            let named: Vec<(String, String)> = (0..RECORDS_AT_FIRST).map(name).collect();
            let record = |(id, name): &(String, String)| json!({"_id": id, "name": name, "updatedAt": written(Utc::now())});
            workspace = workspace.with(object, named.iter().map(record).collect());
            names.extend(named.into_iter().map(|(id, name)| ((object, id), vec![name])));
        }
        // So that a run takes a second or two, and faults fall into it.
        let latency = Duration::from_millis(50 + 50 * (number as u64 % 4));
        let options = Options { token: format!("token-{number}"), latency, ..Options::default() };
        let simulator = server.tenant(workspace, options);
        EditedTenant {
            simulator,
            quota: None,
            is_compared: number.is_multiple_of(2),
            schemas: Vec::new(),
            names,
            trash: Vec::new(),
        }
    }

    /// Somebody adds, changes, deletes or restores a record.
    pub(crate) fn edit(&mut self, rng: &mut Rng, number: usize) {
        let (object, now, name) = (OBJECTS[rng.usize(0..OBJECTS.len())], Utc::now(), format!("edit {number}"));
        let there = self.simulator.ids(object);
        match rng.u8(0..10) {
            0..2 => {
                let id = format!("{number}-new");
                self.simulator.add(object, json!({"_id": id, "name": name, "updatedAt": written(now)}));
                self.names.insert((object, id), vec![name]);
            }
            2 if self.is_compared && there.len() > 3 => {
                let id = there[rng.usize(0..there.len())].clone();
                self.simulator.edit_source(|source| self.trash.push(((object, id.clone()), source.delete(object, &id).unwrap())));
            }
            3 if !self.trash.is_empty() => {
                let ((object, _), record) = self.trash.swap_remove(rng.usize(0..self.trash.len()));
                self.simulator.add(object, record);
            }
            _ => {
                let id = there[rng.usize(0..there.len())].clone();
                let rename = |record: &mut serde_json::Map<String, Value>| _ = record.insert("name".into(), json!(name));
                assert!(self.simulator.edit(object, &id, now, rename));
                self.names.get_mut(&(object, id)).unwrap().push(name);
            }
        }
    }

    pub(crate) fn edited_records(&self) -> usize {
        self.names.len()
    }

    /// What is wrong with a copy: its rows have to be the records, and its actions have to tell how they came to be so.
    pub(crate) async fn faults_of_copy(&self, db: &mut PgConnection, schema: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut told = self.told(db, schema, &mut faults).await;
        for object in OBJECTS {
            let rows = format!("select planhat__id, planhat__name, _deleted_at is not null from {schema}.{object}");
            let rows: Vec<(String, String, bool)> = sqlx::query_as(AssertSqlSafe(rows)).fetch_all(&mut *db).await.unwrap();
            let text = |record: &Value, property: &str| record[property].as_str().unwrap().to_owned();
            let records = self.simulator.records(object);
            let expected: BTreeMap<String, String> =
                records.iter().map(|record| (text(record, "_id"), text(record, "name"))).collect();
            let stored = rows.iter().filter(|(.., is_deleted)| !is_deleted);
            let stored: BTreeMap<String, String> = stored.map(|(id, name, _)| (id.clone(), name.clone())).collect();
            if stored != expected {
                faults.push(format!("{schema}.{object} is not what the tenant has:\n{stored:?}\n{expected:?}"));
            }
            for (id, name, is_deleted) in rows {
                match told.remove(&(object, id.clone())) {
                    None => faults.push(format!("{schema}.{object}: no action tells of {id}")),
                    Some(told) if told.is_deleted != is_deleted || told.name.as_ref().is_some_and(|told| *told != name) => {
                        faults.push(format!("{schema}.{object}: {id} is {name}, deleted: {is_deleted}; actions say {told:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
        faults.extend(told.keys().map(|record| format!("{schema}: actions tell of {record:?}, which has no row")));
        faults
    }

    /// Replays the actions of a copy.
    async fn told(&self, db: &mut PgConnection, schema: &str, faults: &mut Vec<String>) -> BTreeMap<RecordKey, ToldRecord> {
        let actions = format!(
            "select object, record_id, kind, coalesce(first_seen, false) as first_seen, changes->'planhat__name'->>'old' as old,
                 changes->'planhat__name'->>'new' as new from {schema}.actions order by id"
        );
        let actions: Vec<NameAction> = sqlx::query_as(AssertSqlSafe(actions)).fetch_all(db).await.unwrap();
        let mut told = BTreeMap::<RecordKey, ToldRecord>::new();
        for action in actions {
            let object = OBJECTS.into_iter().find(|object| *object == action.object).unwrap();
            let key = (object, action.record_id.clone());
            let Some(names) = self.names.get(&key) else {
                faults.push(format!("{schema}: {action:?} is of no record that there ever was"));
                continue;
            };
            let Some(record) = told.get_mut(&key) else {
                if action.kind != "created" && !action.first_seen {
                    faults.push(format!("{schema}: {action:?} is the first one of its record"));
                }
                told.insert(key, ToldRecord { name: action.new, place: 0, is_deleted: false });
                continue;
            };
            if let Err(why) = record.follow(&action, names) {
                faults.push(format!("{schema}: {action:?} {why}; before: {record:?}"));
            }
        }
        told
    }
}

impl ToldRecord {
    /// What an action makes of the record, if it can follow those before it.
    fn follow(&mut self, action: &NameAction, names: &[String]) -> Result<(), &'static str> {
        let is_there_again = match (action.kind.as_str(), self.is_deleted) {
            ("deleted", false) => false,
            ("restored", true) | ("updated", false) => true,
            _ => return Err("cannot follow"),
        };
        self.is_deleted = !is_there_again;
        let (Some(old), Some(new)) = (&action.old, &action.new) else { return Ok(()) };
        if self.name.as_ref().is_some_and(|name| name != old) {
            return Err("begins with another name");
        }
        // Each name was given once, so each comes once, and in that order.
        let of = |name: &String| names.iter().position(|known| known == name).ok_or("has a name that nobody gave");
        let (from, to) = (of(old)?, of(new)?);
        if to <= from || from < self.place {
            return Err("goes back to an earlier name");
        }
        (self.name, self.place) = (Some(new.clone()), to);
        Ok(())
    }
}
