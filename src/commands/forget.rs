//! `forget`: erases records for good, so that no run stores them again; lists what is forgotten; undoes it.
//!
//! ```text
//! remember by hashes -> references in other records -> the records themselves, last: they tell for what to look elsewhere
//! ```
//!
//! A dry run counts what there is. With `--yes` it is a run of its own, so that no sync is at work meanwhile, and a load that
//! pauses for it reads what is forgotten again before it goes on. One that is killed has changed nothing by half: what it has
//! erased is erased, and it goes on when it is started again.

use std::process::ExitCode;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use planhat_model::catalog::{self, Object};
use planhat_model::error::exit_code as exit;
use planhat_model::flatten::{Columns, IgnoredFields};
use planhat_model::keyed_hash::HashKey;
use planhat_model::rules::ForgottenRecords;
use planhat_store::{self as store, ForgottenGroup, Masking, RunStatus, Store, Target, Terms, Traces};
use serde::Serialize;

use super::masked_tables::{Extent, MaskedObject, in_words, mask_object};
use super::{in_a_run_of_its_own, with_store, with_store_read_only};
use crate::cli::ForgetArgs;
use crate::command_error::CommandError;
use crate::config;
use crate::print;
use crate::workspace::Workspace;

/// What its runs are called.
const FORGET: &str = "forget";
const REMEMBER: &str = "forget --remember";
/// Ids of Planhat are so long.
const ID_DIGITS: usize = 24;

pub(super) async fn forget(workspace: &Workspace, args: &ForgetArgs) -> Result<ExitCode, CommandError> {
    let object = args.object.as_deref().map(|name| config::objects_named(&[name])).transpose()?;
    let object = object.and_then(|objects| objects.into_iter().next());
    if let Some(wrong) = args.ids.iter().find_map(|id| why_no_id(id)) {
        let hint =
            "ids are those of Planhat (planhat__id); `planhat-sync forget endusers --email ADDRESS` finds end users by address";
        return Err(CommandError::new(exit::CONFIGURATION, anyhow!(wrong), Some(hint)));
    }
    match object {
        _ if args.list => list(workspace, object, args).await,
        None => Err(nothing_named()),
        Some(_) if args.ids.is_empty() && args.emails.is_empty() => Err(nothing_named()),
        Some(object) if args.remember => remember(workspace, object, &args.ids).await,
        Some(object) => forget_records(workspace, object, args).await,
    }
}

fn why_no_id(id: &str) -> Option<String> {
    match id {
        _ if id.trim().is_empty() => Some("an id is empty".to_owned()),
        _ if id.contains('@') => Some(format!("{:?} is an address and no id", print::on_one_line(id))),
        _ => None,
    }
}

/// Where the row has no address, there is nothing to look for elsewhere.
const ADDRESSES_ARE_MASKED: &str = "a privacy rule masks addresses here, so other records can be searched for those alone that you \
                                    give: --email ADDRESS, once for each address";

fn nothing_named() -> CommandError {
    let missing = anyhow!("no record is named");
    CommandError::new(exit::CONFIGURATION, missing, Some("name an object and ids, or find records with --email ADDRESS"))
}

/// What is to be forgotten.
struct Order<'a> {
    workspace: &'a Workspace,
    object: &'static Object,
    ids: Vec<String>,
    /// Of the records and those that somebody has typed: for what to look in other records; none unless asked for.
    references: Option<Terms>,
    /// Other records of the object with one of the addresses.
    of_the_same_person: Vec<String>,
}

/// One record, and what there is of it or was.
struct Named {
    id: String,
    traces: Traces,
    forgotten_at: Option<DateTime<Utc>>,
}

/// What was found, or done.
#[derive(Default)]
struct Found {
    named: Vec<Named>,
    references: Vec<(&'static Object, MaskedObject)>,
    of_the_same_person: Vec<String>,
}

async fn forget_records(workspace: &Workspace, object: &'static Object, args: &ForgetArgs) -> Result<ExitCode, CommandError> {
    let found = if args.yes {
        with_store(workspace, async |store| {
            store.migrate().await?;
            in_a_run_of_its_own(store, FORGET, async |run_id| {
                let order = order(store, workspace, object, args).await?;
                Ok((carry_out(store, &order, run_id).await?, RunStatus::Succeeded))
            })
            .await
        })
        .await?
    } else {
        with_store_read_only(workspace, async |store| {
            if !store.is_set_up().await? {
                let nothing = |id: &String| Named { id: id.clone(), traces: Traces::default(), forgotten_at: None };
                return Ok(Found { named: args.ids.iter().map(nothing).collect(), ..Found::default() });
            }
            let order = order(store, workspace, object, args).await?;
            preview(store, &order).await
        })
        .await?
    };
    if found.named.is_empty() {
        print::to_stdout(&format!("no record of {} has this address, and nothing was changed", object.name));
        return Ok(ExitCode::SUCCESS);
    }
    print::to_stdout(&text_of(object, &found, args));
    let rules = workspace.settings.rules.get(object.name);
    if args.references && args.emails.is_empty() && rules.is_some_and(store::masks_addresses) {
        print::to_stdout(ADDRESSES_ARE_MASKED);
    }
    Ok(ExitCode::SUCCESS)
}

/// Which records are meant, and what they are found by elsewhere.
async fn order<'a>(
    store: &Store,
    workspace: &'a Workspace,
    object: &'static Object,
    args: &ForgetArgs,
) -> Result<Order<'a>, CommandError> {
    let schema = &store.schema;
    let typed = typed_addresses(workspace, object, &args.emails);
    let order = store.read_only(async |db| {
        let columns = store::load_columns(&mut *db, schema, object).await?;
        let mut ids = args.ids.clone();
        ids.extend(store::ids_by_address(&mut *db, schema, object, &columns, &typed).await?);
        ids.sort();
        ids.dedup();
        let mut terms = typed;
        for id in &ids {
            terms.extend(&store::terms_of(&mut *db, schema, object, &columns, id).await?);
        }
        let mut same = store::ids_by_address(db, schema, object, &columns, &terms).await?;
        same.retain(|id| !ids.contains(id));
        let references = args.references.then_some(terms);
        Ok(Order { workspace, object, ids, references, of_the_same_person: same })
    });
    Ok(order.await?)
}

/// As somebody has typed them, and as a rule has left them.
fn typed_addresses(workspace: &Workspace, object: &Object, addresses: &[String]) -> Terms {
    let rules = workspace.settings.rules.get(object.name);
    let hashed = addresses.iter().filter_map(|address| rules?.hash_of_text(address)).collect::<Vec<_>>();
    Terms::typed(addresses.iter().chain(&hashed).map(String::as_str))
}

/// Counts what there is, and changes nothing.
async fn preview(store: &Store, order: &Order<'_>) -> Result<Found, CommandError> {
    let Order { object, ids, references, of_the_same_person, .. } = order;
    let schema = &store.schema;
    let key = store.read_only(async |db| store::forget_key(db, schema).await).await?;
    let mut named = Vec::new();
    for id in ids {
        let traces = store.read_only(async |db| store::traces_of(db, schema, object, id).await).await?;
        named.push(Named { id: id.clone(), traces, forgotten_at: None });
    }
    if let Some(key) = &key {
        note_forgotten(store, object, key, &mut named).await?;
    }
    let references = match references {
        // Any key will do to count.
        Some(terms) => {
            let key = key.unwrap_or_else(|| HashKey::new(b""));
            let hashes = ids.iter().map(|id| ForgottenRecords::hash_of_id(&key, object.name, id));
            let forgotten = ForgottenRecords::new(&key, hashes, terms.hashes(&key));
            leave_out_references(store, order, (&forgotten, terms), Extent::Count).await?
        }
        None => Vec::new(),
    };
    Ok(Found { named, references, of_the_same_person: of_the_same_person.clone() })
}

/// Remembers, leaves references out of other records, and erases the records.
async fn carry_out(store: &Store, order: &Order<'_>, run_id: i64) -> Result<Found, CommandError> {
    let Order { workspace, object, ids, references, of_the_same_person } = order;
    let schema = &store.schema;
    let (columns, ignored) = (Columns::default(), IgnoredFields::default());
    let timeline = workspace.limits().timeline;
    if timeline.enabled {
        // As it is in this release, also where an earlier one has made it.
        store.transaction(async |db| store::create_actions_table(db, schema).await).await?;
    }
    let action_policy = timeline.action_policy(false);
    let target = Target {
        schema,
        object,
        columns: &columns,
        run_id,
        action_policy,
        created_since: None,
        rules: None,
        ignore_changes: &ignored,
        stored: None,
    };
    let remembered = store.transaction(async |db| {
        let key = store::ensure_forget_key(&mut *db, schema).await?;
        let reference_hashes = references.as_ref().map(|terms| terms.hashes(&key)).unwrap_or_default();
        for id in ids {
            let hash = ForgottenRecords::hash_of_id(&key, object.name, id);
            store::remember_as_forgotten(&mut *db, target, &hash, &reference_hashes).await?;
        }
        let forgotten = store::forgotten_records(&mut *db, schema, object).await?;
        store::fence(db, schema, run_id).await?;
        Ok(forgotten)
    });
    let forgotten = remembered.await?;
    let references = match references {
        Some(terms) => leave_out_references(store, order, (&forgotten, terms), Extent::Write { run_id }).await?,
        None => Vec::new(),
    };
    let mut named = Vec::new();
    for id in ids {
        let erased = store.transaction(async |db| {
            let traces = store::erase_record(&mut *db, target, id).await?;
            store::fence(db, schema, run_id).await?;
            Ok(traces)
        });
        named.push(Named { id: id.clone(), traces: erased.await?, forgotten_at: None });
    }
    Ok(Found { named, references, of_the_same_person: of_the_same_person.clone() })
}

/// Goes through all tables, actions and texts in quarantine for people who are forgotten.
async fn leave_out_references(
    store: &Store,
    order: &Order<'_>,
    (forgotten, terms): (&ForgottenRecords, &Terms),
    extent: Extent,
) -> Result<Vec<(&'static Object, MaskedObject)>, CommandError> {
    let mut all = Vec::new();
    for object in catalog::OBJECTS {
        let settings = &order.workspace.settings;
        let rules = settings.rules.get(object.name);
        let ignored = IgnoredFields::of(object, settings.ignore_changes.get(object.name), rules);
        let masking = Masking::Forgotten { forgotten, terms };
        let (masked, _) = mask_object(store, object, masking, &ignored, extent).await?;
        if masked.total() > 0 || masked.rows.refused > 0 {
            all.push((object, masked));
        }
    }
    Ok(all)
}

/// Notes which of these are forgotten already.
async fn note_forgotten(store: &Store, object: &Object, key: &HashKey, named: &mut [Named]) -> Result<(), CommandError> {
    let hash = |id: &str| ForgottenRecords::hash_of_id(key, object.name, id);
    let hashes: Vec<String> = named.iter().map(|named| hash(&named.id)).collect();
    let since = store.read_only(async |db| store::forgotten_at(db, &store.schema, object, &hashes).await).await?;
    for (named, own) in named.iter_mut().zip(hashes) {
        named.forgotten_at = since.iter().find(|(hash, _)| *hash == own).map(|(_, at)| *at);
    }
    Ok(())
}

fn text_of(object: &Object, found: &Found, args: &ForgetArgs) -> String {
    let mut lines: Vec<String> = found.named.iter().map(|named| line_of(object, named)).collect();
    for (object, masked) in &found.references {
        let MaskedObject { rows, actions, quarantined } = masked;
        let what = in_words(rows.masked, actions.masked, quarantined.masked);
        let left_out = if args.yes { "id and addresses left out of" } else { "an id or address is in" };
        lines.push(format!("{}: {left_out} {what}", object.name));
        if rows.refused > 0 {
            let refused = in_words(rows.refused, 0, 0);
            lines.push(format!("{}: PostgreSQL refused to change {refused} (a constraint or trigger of yours?)", object.name));
        }
    }
    if !found.of_the_same_person.is_empty() {
        let others: Vec<String> = found.of_the_same_person.iter().map(|id| print::on_one_line(id)).collect();
        lines.push(format!("records with one of their addresses that stay: {}", others.join(", ")));
    }
    if object.name == "companies" {
        lines.push("end users, tickets and everything else of the company stay; forget them too if they have to go".to_owned());
    }
    if !args.references {
        lines.push("records of other objects may still name them by id or address; --references leaves both out".to_owned());
    }
    lines.push(if args.yes {
        let name = object.name;
        format!(
            "forgotten: no run stores them again, until `planhat-sync forget {name} ID --remember`\n\
             old versions stay in the files of the database until `vacuum`, and in replicas, backups, exports and logs: see \
             docs/privacy.md"
        )
    } else {
        "nothing was changed; --yes erases it for good".to_owned()
    });
    lines.join("\n")
}

fn line_of(object: &Object, Named { id, traces, forgotten_at }: &Named) -> String {
    let Traces { rows, actions, quarantined } = *traces;
    let what = match forgotten_at {
        Some(at) if traces.is_none() => format!("forgotten since {}", print::instant(*at)),
        _ if traces.is_none() => {
            let odd = id.len() != ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let doubt = if odd { "; it does not look like an id of Planhat (24 hexadecimal digits)" } else { "" };
            format!("nothing is stored of it{doubt}")
        }
        _ => in_words(rows, actions, quarantined),
    };
    format!("{} {}: {what}", object.name, print::on_one_line(id))
}

/// Lets records be stored again.
async fn remember(workspace: &Workspace, object: &'static Object, ids: &[String]) -> Result<ExitCode, CommandError> {
    let unknown = with_store(workspace, async |store| {
        if matches!(store.is_set_up().await, Ok(false)) {
            return Ok(ids.to_vec());
        }
        store.migrate().await?;
        in_a_run_of_its_own(store, REMEMBER, async |run_id| {
            let known = store.transaction(async |db| {
                let Some(key) = store::forget_key(&mut *db, &store.schema).await? else { return Ok(Vec::new()) };
                let hashes: Vec<_> = ids.iter().map(|id| ForgottenRecords::hash_of_id(&key, object.name, id)).collect();
                let gone = store::stop_forgetting(&mut *db, &store.schema, object, &hashes).await?;
                store::fence(db, &store.schema, run_id).await?;
                Ok(ids.iter().zip(hashes).filter(|(_, hash)| gone.contains(hash)).map(|(id, _)| id.clone()).collect())
            });
            let known: Vec<String> = known.await?;
            let unknown: Vec<String> = ids.iter().filter(|id| !known.contains(id)).cloned().collect();
            Ok((unknown, RunStatus::Succeeded))
        })
        .await
    })
    .await?;
    let remembered = ids.len() - unknown.len();
    if remembered > 0 {
        let (name, records) = (object.name, if remembered == 1 { "record is" } else { "records are" });
        print::to_stdout(&format!(
            "{remembered} {records} no longer forgotten; `planhat-sync sync --full {name}` or `planhat-sync backfill {name} --all` \
             stores what Planhat has of them; references in other records come back when those are next compared (`sync --full`)"
        ));
    }
    if unknown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let unknown: Vec<String> = unknown.iter().map(|id| print::on_one_line(id)).collect();
    let error = anyhow!("not forgotten: {}", unknown.join(", "));
    Err(CommandError::new(
        exit::CONFIGURATION,
        error,
        Some("`planhat-sync forget --list OBJECT ID` says whether an id is forgotten"),
    ))
}

/// What is forgotten: how many records of each object, or whether these are.
#[derive(Debug, Default, Serialize)]
struct Listed {
    objects: Vec<ForgottenGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    records: Vec<ListedRecord>,
}

#[derive(Debug, Serialize)]
struct ListedRecord {
    id: String,
    forgotten_at: Option<DateTime<Utc>>,
    /// What is stored of it; nothing of one that is forgotten, unless that was interrupted.
    #[serde(flatten)]
    traces: Traces,
}

async fn list(workspace: &Workspace, object: Option<&'static Object>, args: &ForgetArgs) -> Result<ExitCode, CommandError> {
    let listed = with_store_read_only(workspace, async |store| {
        if !store.is_set_up().await? {
            return Ok(Listed::default());
        }
        let names: Vec<&str> = object.iter().map(|object| object.name).collect();
        let objects = store.read_only(async |db| store::forgotten_groups(db, &store.schema, &names).await).await?;
        let mut named = Vec::new();
        if let Some(object) = object {
            for id in &args.ids {
                let traces = store.read_only(async |db| store::traces_of(db, &store.schema, object, id).await).await?;
                named.push(Named { id: id.clone(), traces, forgotten_at: None });
            }
            if let Some(key) = store.read_only(async |db| store::forget_key(db, &store.schema).await).await? {
                note_forgotten(store, object, &key, &mut named).await?;
            }
        }
        let listed = |Named { id, traces, forgotten_at }| ListedRecord { id, forgotten_at, traces };
        Ok(Listed { objects, records: named.into_iter().map(listed).collect() })
    })
    .await?;
    if args.json {
        print::json(&listed)?;
    } else {
        print::to_stdout(&text_of_list(&listed));
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of_list(listed: &Listed) -> String {
    if !listed.records.is_empty() {
        let line = |ListedRecord { id, forgotten_at, traces }: &ListedRecord| {
            let id = print::on_one_line(id);
            match forgotten_at {
                None => format!("{id}: not forgotten"),
                Some(at) if traces.is_none() => format!("{id}: forgotten since {}", print::instant(*at)),
                Some(_) => format!("{id}: forgotten, but not all of it is erased: run `planhat-sync forget` for it again"),
            }
        };
        return listed.records.iter().map(line).collect::<Vec<_>>().join("\n");
    }
    if listed.objects.is_empty() {
        return "nothing is forgotten".to_owned();
    }
    let rows = listed.objects.iter().map(|of| {
        let times = [of.first, of.last].map(print::instant);
        [of.object.clone()].into_iter().chain(times).chain([of.records.to_string(), of.with_references.to_string()])
    });
    print::table(&["object", "first", "last", "records", "with references"], 3, rows)
}
