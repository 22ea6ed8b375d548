//! Asks whether a schema is the workspace's whose token is set, before a run writes anything, and binds it.
//!
//! ```text
//! what is noted, some stored ids -> decide -> (has Planhat these?) -> decide -> the lease -> bind
//! ```
//!
//! What is decided stands in `identity`, which ids are asked for in `asking`; here is what is read, sent and written. It
//! is written under the lease alone, so that of two runs at the same moment one binds the schema and the other finds it
//! bound.

use std::sync::atomic::AtomicU64;

use futures_util::{StreamExt, stream};
use planhat_api::{self as api, Client};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_store::{self as store, Binding, PgConnection, Proof, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Error;
use super::asking::Asking;
use super::identity::{Asked, Compared, Decision, Identity, decide};

/// Ids that are drawn from one table, in case the others have none.
const OF_A_TABLE: i64 = 20;
/// Requests side by side.
const AT_ONCE: usize = 4;

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
        // Where our own tables are gone, those of a workspace may still be there.
        if store::is_set_up(&mut *db).await? {
            stored.binding = store::binding(&mut *db, schema).await?;
        }
        stored.ours = stored.binding.as_ref().map(|binding| ours(client, &binding.key));
        if stored.binding.as_ref().map(identity_of) == stored.ours && stored.ours.is_some() {
            return Ok(stored);
        }
        stored.has_rows = has_rows(&mut *db, schema).await?;
        for object in objects_with_tables(&mut *db, schema).await? {
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
            let (asked, error) = ask_for(client, ids).await.map_err(|source| Error::unproven(schema, Some(source)))?;
            failure = error;
            decision = decide(noted.as_ref(), &ours, has_rows, Some(asked));
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

async fn objects_with_tables(db: &mut PgConnection, schema: &str) -> Result<Vec<&'static Object>, store::Error> {
    let tables = store::tables(db, schema).await?;
    Ok(catalog::OBJECTS.iter().filter(|object| tables.iter().any(|table| table == object.name)).collect())
}

/// Whether anything is stored that could be another's.
async fn has_rows(db: &mut PgConnection, schema: &str) -> Result<bool, store::Error> {
    if store::has_actions(&mut *db, schema).await? {
        return Ok(true);
    }
    for object in objects_with_tables(&mut *db, schema).await? {
        if store::was_filled(&mut *db, schema, object).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn identity_of(binding: &Binding) -> Identity {
    Identity { fingerprint: binding.fingerprint.clone(), host: binding.host.clone() }
}

fn ours(client: &Client, key: &str) -> Identity {
    Identity { fingerprint: client.fingerprint(key), host: client.host() }
}

/// Asks for stored ids, several side by side. An error that all of them would meet ends it.
async fn ask_for(client: &Client, ids: Vec<(&'static str, Vec<String>)>) -> Result<(Asked, Option<api::Error>), api::Error> {
    let (mut asking, calls) = (Asking::of(ids), AtomicU64::new(0));
    loop {
        let turn = asking.next_turn();
        if turn.is_empty() {
            return Ok(asking.end());
        }
        let mut answers = stream::iter(turn)
            .map(async |question| {
                let answer = client.has(question.object, &question.id, &calls).await;
                (question, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((question, answer)) = answers.next().await {
            asking.hear(&question, answer)?;
            if asking.has_failed() {
                break;
            }
        }
    }
}

impl Recognized {
    /// Binds the schema under the lease of a run, unless it is bound already; fails if another workspace was faster.
    pub(super) async fn bind(self, client: &Client, store: &Store, run_id: i64) -> Result<Binding, store::Error> {
        let schema = &store.schema;
        match self {
            Recognized::Bound(binding) => Ok(binding),
            Recognized::New { known } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::FirstSync).await?;
                info!(run_id, "schema {schema} is bound to the workspace of this token on {}", bound.host);
                Ok(bound)
            }
            Recognized::Proven { known, compared } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::StoredRecords).await?;
                info!(run_id, "schema {schema} belongs to this workspace, which is noted: {compared}");
                Ok(bound)
            }
        }
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
/// proves that it is the same one. That nothing is stored may have been true before the lease alone: a load that has made way
/// for this run may have begun to fill the schema.
async fn bind(
    client: &Client,
    store: &Store,
    run_id: i64,
    known: Option<&Binding>,
    proof: Proof,
) -> Result<Binding, store::Error> {
    let workspace = &store.schema;
    let bound = store.transaction(async |db| {
        store::fence(&mut *db, workspace, run_id).await?;
        let is_ours = |binding: &Binding| identity_of(binding) == ours(client, &binding.key);
        let stands = store::binding(&mut *db, workspace).await?;
        if proof == Proof::FirstSync && !stands.as_ref().is_some_and(is_ours) && has_rows(&mut *db, workspace).await? {
            return Ok(None);
        }
        let key = match known {
            Some(known) => known.key.clone(),
            None => store::new_key(&mut *db).await?,
        };
        let Identity { fingerprint, host } = ours(client, &key);
        let is_new = store::bind(&mut *db, workspace, known, &key, &fingerprint, &host, proof).await?;
        if is_new && proof != Proof::StoredRecords {
            store::forget_workspace(&mut *db, workspace).await?;
        }
        Ok(store::binding(db, workspace).await?.filter(is_ours))
    });
    bound.await?.ok_or_else(|| store::Error::BoundElsewhere { schema: workspace.clone() })
}
