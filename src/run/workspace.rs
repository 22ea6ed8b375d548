//! Asks whether a schema is the workspace's whose token is set, before a run writes anything, and binds it.
//!
//! ```text
//! what is noted, some stored ids -> decide -> (has Planhat these?) -> decide -> the lease -> bind
//! ```
//!
//! What is decided stands in `identity`; here is what is read, asked and written. It is written under the lease alone,
//! so that of two runs at the same moment one binds the schema and the other finds it bound.

use std::sync::atomic::AtomicU64;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Error;
use super::identity::{Answers, Asked, Compared, Decision, Identity, decide};
use crate::catalog;
use crate::error::Chain;
use crate::planhat::{self, Client};
use crate::store::{self, Binding, PgConnection, Proof, Store};

/// Answers that are wanted, and ids that are drawn from one table in case the others have none.
const ENOUGH: usize = 20;
const OF_A_TABLE: i64 = 20;
/// Requests side by side.
const AT_ONCE: usize = 4;
/// After so many that failed, with all their retries, the server is not able to answer.
const MOST_FAILED: usize = 3;

/// A workspace that may fill its schema, and what was noted of the schema until then.
#[derive(Debug)]
pub enum Recognized {
    /// Token and host are those that are noted.
    Bound(Binding),
    /// Nothing is stored that could be another's.
    New { known: Option<Binding> },
    /// By stored records that were found.
    Proven { known: Option<Binding>, compared: Compared },
}

/// Asks once, and writes nothing.
pub async fn recognize(client: &Client, store: &Store) -> Result<Recognized, Error> {
    let stored = store.look(async |db| Stored::read(db, &store.schema, client).await).await?;
    stored.ask(client, &store.schema).await
}

/// The same for a run, which waits for a database that is away. A cancelled `stop` ends the asking.
pub(super) async fn recognize_for_a_run(client: &Client, store: &Store, stop: &CancellationToken) -> Result<Recognized, Error> {
    let stored = store.transaction(async |db| Stored::read(db, &store.schema, client).await).await?;
    tokio::select! {
        biased;
        recognized = stored.ask(client, &store.schema) => recognized,
        () = stop.cancelled() => Err(Error::Stopped),
    }
}

/// What the database knows of the workspace that fills a schema.
struct Stored {
    binding: Option<Binding>,
    ours: Option<Identity>,
    has_rows: bool,
    /// Ids of rows by object, to be asked for where token or host are other ones.
    ids: Vec<(&'static str, Vec<String>)>,
}

impl Stored {
    async fn read(db: &mut PgConnection, schema: &str, client: &Client) -> Result<Stored, store::Error> {
        let mut stored = Stored { binding: None, ours: None, has_rows: false, ids: Vec::new() };
        if !store::is_set_up(&mut *db).await? {
            return Ok(stored);
        }
        stored.binding = store::binding(&mut *db, schema).await?;
        stored.ours = stored.binding.as_ref().map(|binding| ours(client, &binding.key));
        if stored.binding.as_ref().map(identity_of) == stored.ours && stored.ours.is_some() {
            return Ok(stored);
        }
        let tables = store::tables(&mut *db, schema).await?;
        stored.has_rows = store::has_actions(&mut *db, schema).await?;
        for object in catalog::OBJECTS.iter().filter(|object| tables.iter().any(|table| table == object.name)) {
            stored.has_rows |= store::was_filled(&mut *db, schema, object).await?;
            stored.ids.push((object.name, store::ids_at_both_ends(&mut *db, schema, object, OF_A_TABLE).await?));
        }
        Ok(stored)
    }

    /// Asks Planhat where what is noted does not settle it.
    async fn ask(self, client: &Client, schema: &str) -> Result<Recognized, Error> {
        let Stored { binding: known, ours, has_rows, ids } = self;
        let noted = known.as_ref().map(identity_of);
        // Without a key there is nothing to compare the token with.
        let ours = ours.unwrap_or_else(|| Identity { fingerprint: String::new(), host: client.host() });
        let mut decision = decide(noted.as_ref(), &ours, has_rows, None);
        let mut failure = None;
        if decision == Decision::Ask {
            let asked = ask_for(client, ids).await.map_err(|source| Error::unproven(schema, Some(source)))?;
            failure = asked.failure;
            decision = decide(noted.as_ref(), &ours, has_rows, Some(asked.answers));
        }
        match (decision, known) {
            (Decision::Same, Some(binding)) => Ok(Recognized::Bound(binding)),
            (Decision::Bind | Decision::Same, known) => Ok(Recognized::New { known }),
            (Decision::Proven(compared), known) => Ok(Recognized::Proven { known, compared }),
            (Decision::Refused(compared), _) => Err(Error::OtherWorkspace { schema: schema.to_owned(), compared }),
            (Decision::Unproven | Decision::Ask, _) => Err(Error::unproven(schema, failure)),
        }
    }
}

fn identity_of(binding: &Binding) -> Identity {
    Identity { fingerprint: binding.fingerprint.clone(), host: binding.host.clone() }
}

fn ours(client: &Client, key: &str) -> Identity {
    Identity { fingerprint: client.fingerprint(key), host: client.host() }
}

/// What came of asking for stored ids.
struct Heard {
    answers: Asked,
    /// The last error, where an id was not answered with yes or no.
    failure: Option<planhat::Error>,
}

/// One table's ids that are still to be asked for, and what was said of the others.
struct Table {
    ids: std::vec::IntoIter<String>,
    answers: Answers,
}

/// Asks for ids, one of each table in turn, until there are enough answers. An error that all the others would meet too ends
/// it.
async fn ask_for(client: &Client, ids: Vec<(&'static str, Vec<String>)>) -> Result<Heard, planhat::Error> {
    let table =
        |(object, ids): (_, Vec<String>)| Table { ids: ids.into_iter(), answers: Answers { object, found: 0, missing: 0 } };
    let mut tables: Vec<Table> = ids.into_iter().map(table).collect();
    let (calls, mut failure, mut failed) = (AtomicU64::new(0), None, 0);
    let (mut asked, mut answered) = (0, 0);
    while answered < ENOUGH && failed < MOST_FAILED {
        let next =
            tables.iter_mut().enumerate().filter_map(|(index, table)| Some((index, table.answers.object, table.ids.next()?)));
        let turn: Vec<_> = next.take(ENOUGH - answered).collect();
        if turn.is_empty() {
            break;
        }
        asked += turn.len();
        let mut answers = stream::iter(turn)
            .map(async |(index, object, id)| (index, client.has(object, &id, &calls).await))
            .buffer_unordered(AT_ONCE);
        while let Some((index, answer)) = answers.next().await {
            let table = &mut tables[index];
            match answer {
                Ok(true) => (table.answers.found, answered) = (table.answers.found + 1, answered + 1),
                Ok(false) => (table.answers.missing, answered) = (table.answers.missing + 1, answered + 1),
                Err(error @ (planhat::Error::Unauthorized { .. } | planhat::Error::Unreachable { .. })) => return Err(error),
                Err(error) => {
                    warn!(error = %Chain(&error), "a stored record could not be asked for by its id");
                    match error {
                        // This id says nothing of the next one.
                        planhat::Error::NoPath { .. } => {}
                        planhat::Error::Forbidden { .. } => table.ids = Vec::new().into_iter(),
                        _ => (table.ids, failed) = (Vec::new().into_iter(), failed + 1),
                    }
                    failure = Some(error);
                    if failed >= MOST_FAILED {
                        break;
                    }
                }
            }
        }
    }
    let answers = tables.into_iter().map(|table| table.answers).filter(|of| of.found + of.missing > 0).collect();
    Ok(Heard { answers: Asked { ids: asked, answers }, failure })
}

impl Recognized {
    /// Binds the schema under the lease of a run, unless it is bound already. Returns the fingerprint that stands there; fails if
    /// another workspace was faster.
    pub(super) async fn bind(self, client: &Client, store: &Store, run_id: i64) -> Result<String, store::Error> {
        let schema = &store.schema;
        let bound = match self {
            Recognized::Bound(binding) => binding,
            Recognized::New { known } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::FirstSync).await?;
                info!(run_id, "schema {schema} is bound to the workspace of this token on {}", bound.host);
                bound
            }
            Recognized::Proven { known, compared } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::StoredRecords).await?;
                info!(run_id, "schema {schema} belongs to this workspace, which is noted: {compared}");
                bound
            }
        };
        Ok(bound.fingerprint)
    }
}

/// Binds a schema on the user's word, under the lease of a run. Returns what it was bound to before, and what it is bound to.
pub async fn adopt(client: &Client, store: &Store, run_id: i64) -> Result<(Option<Binding>, Binding), store::Error> {
    let before = store.transaction(async |db| store::binding(db, &store.schema).await).await?;
    match &before {
        Some(binding) if identity_of(binding) == ours(client, &binding.key) => Ok((before.clone(), binding.clone())),
        _ => {
            let now = bind(client, store, run_id, before.as_ref(), Proof::Adopt).await?;
            Ok((before, now))
        }
    }
}

/// Binds a schema to the token and host of a client. What was read of another workspace before is forgotten where no record
/// proves that it is the same one.
async fn bind(
    client: &Client,
    store: &Store,
    run_id: i64,
    known: Option<&Binding>,
    proof: Proof,
) -> Result<Binding, store::Error> {
    let workspace = &store.schema;
    let bound = store.transaction(async |db| {
        store::keep_lease(&mut *db, workspace, run_id).await?;
        let key = match known {
            Some(known) => known.key.clone(),
            None => store::new_key(&mut *db).await?,
        };
        let Identity { fingerprint, host } = ours(client, &key);
        let is_new = store::bind(&mut *db, workspace, known, &key, &fingerprint, &host, proof).await?;
        if is_new && proof != Proof::StoredRecords {
            store::forget_workspace(&mut *db, workspace).await?;
        }
        let stands = store::binding(db, workspace).await?;
        Ok(stands.filter(|binding| identity_of(binding) == ours(client, &binding.key)))
    });
    bound.await?.ok_or_else(|| store::Error::BoundElsewhere { schema: workspace.clone() })
}
