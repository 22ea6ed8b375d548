//! Asks whether a schema is the workspace's whose token is set, before a run writes anything, and binds it.
//!
//! ```text
//! what is noted, some stored ids -> decide -> (has Planhat these?) -> decide -> the lease -> bind
//! ```
//!
//! What is decided stands in `identity`, which ids are asked for in `asking`; here is what is read, sent and written. It
//! is written under the lease alone, so that of two runs at the same moment one binds the schema and the other finds it
//! bound.

use futures_util::{StreamExt, stream};
use planhat_api::{self as api, Client};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_store::{self as store, Binding, NewBinding, PgConnection, Proof, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::RunError;
use super::id_probe::IdProbe;
use super::identity::{Decision, Evidence, Identity, ProbeResult, decide};

/// Ids that are drawn from one table, in case the others have none.
const OF_A_TABLE: i64 = 20;
/// Requests side by side.
const CONCURRENT_REQUESTS: usize = 4;

/// A workspace that may fill its schema, and what was noted of the schema until then.
#[derive(Debug)]
pub enum Recognized {
    /// Token and host are those that are noted.
    Bound(Binding),
    /// Nothing is stored that could be another's.
    New { known: Option<Binding> },
    /// By stored records that were found.
    Proven { known: Option<Binding>, evidence: Evidence },
}

/// Asks once, and writes nothing.
pub async fn recognize(client: &Client, store: &Store) -> Result<Recognized, RunError> {
    let stored = store.read_only(async |db| SchemaContents::read(db, &store.schema, client).await).await?;
    stored.ask(client, &store.schema).await
}

/// The same for a run, which waits for a database that is away. A cancelled `stop` ends the asking.
pub(super) async fn recognize_for_a_run(
    client: &Client,
    store: &Store,
    stop: &CancellationToken,
) -> Result<Recognized, RunError> {
    let stored = store.transaction(async |db| SchemaContents::read(db, &store.schema, client).await).await?;
    tokio::select! {
        biased;
        recognized = stored.ask(client, &store.schema) => recognized,
        () = stop.cancelled() => Err(RunError::Stopped),
    }
}

/// What the database knows of the workspace that fills a schema.
struct SchemaContents {
    binding: Option<Binding>,
    current: Option<Identity>,
    schema_has_data: bool,
    /// Ids of rows by object, to be asked for where token or host are other ones.
    ids: Vec<(&'static Object, Vec<String>)>,
}

impl SchemaContents {
    async fn read(db: &mut PgConnection, schema: &str, client: &Client) -> Result<SchemaContents, store::StoreError> {
        let mut stored = SchemaContents { binding: None, current: None, schema_has_data: false, ids: Vec::new() };
        // Where our own tables are gone, those of a workspace may still be there.
        if store::is_set_up(&mut *db).await? {
            stored.binding = store::binding(&mut *db, schema).await?;
        }
        stored.current = stored.binding.as_ref().map(|binding| identity_now(client, &binding.key));
        if stored.binding.as_ref().map(identity_of) == stored.current && stored.current.is_some() {
            return Ok(stored);
        }
        stored.schema_has_data = schema_has_data(&mut *db, schema).await?;
        for object in objects_with_tables(&mut *db, schema).await? {
            stored.ids.push((object, store::ids_at_both_ends(&mut *db, schema, object, OF_A_TABLE).await?));
        }
        Ok(stored)
    }

    /// Asks Planhat where what is noted does not settle it.
    async fn ask(self, client: &Client, schema: &str) -> Result<Recognized, RunError> {
        let SchemaContents { binding: known, current, schema_has_data, ids } = self;
        let noted = known.as_ref().map(identity_of);
        // Without a key there is nothing to compare the token with.
        let current = current.unwrap_or_else(|| Identity { fingerprint: String::new(), host: client.host() });
        let mut decision = decide(noted.as_ref(), &current, schema_has_data, None);
        let mut failure = None;
        if decision == Decision::ProbeStoredIds {
            let (asked, error) =
                probe_stored_ids(client, ids).await.map_err(|source| RunError::unproven(schema, Some(source)))?;
            failure = error;
            decision = decide(noted.as_ref(), &current, schema_has_data, Some(asked));
        }
        match (decision, known) {
            (Decision::Same, Some(binding)) => Ok(Recognized::Bound(binding)),
            (Decision::Bind | Decision::Same, known) => Ok(Recognized::New { known }),
            (Decision::Proven(evidence), known) => Ok(Recognized::Proven { known, evidence }),
            (Decision::Refused(evidence), _) => Err(RunError::OtherWorkspace { schema: schema.to_owned(), evidence }),
            (Decision::Unproven | Decision::ProbeStoredIds, _) => Err(RunError::unproven(schema, failure)),
        }
    }
}

async fn objects_with_tables(db: &mut PgConnection, schema: &str) -> Result<Vec<&'static Object>, store::StoreError> {
    let tables = store::tables(db, schema).await?;
    Ok(catalog::OBJECTS.iter().filter(|object| tables.iter().any(|table| table == object.name)).collect())
}

/// Whether anything is stored that could be another's.
async fn schema_has_data(db: &mut PgConnection, schema: &str) -> Result<bool, store::StoreError> {
    if store::has_actions(&mut *db, schema).await? {
        return Ok(true);
    }
    for object in objects_with_tables(&mut *db, schema).await? {
        if store::has_ever_had_rows(&mut *db, schema, object).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn identity_of(binding: &Binding) -> Identity {
    Identity { fingerprint: binding.fingerprint.clone(), host: binding.host.clone() }
}

fn identity_now(client: &Client, key: &str) -> Identity {
    Identity { fingerprint: client.fingerprint(key), host: client.host() }
}

/// Asks for stored ids, several side by side. An error that all of them would meet ends it.
async fn probe_stored_ids(
    client: &Client,
    ids: Vec<(&'static Object, Vec<String>)>,
) -> Result<(ProbeResult, Option<api::ApiError>), api::ApiError> {
    let mut probe = IdProbe::of(ids);
    loop {
        let batch = probe.next_batch();
        if batch.is_empty() {
            return Ok(probe.end());
        }
        let mut answers = stream::iter(batch)
            .map(async |request| {
                let answer = client.for_object(request.object).record_exists(&request.id).await;
                (request, answer)
            })
            .buffer_unordered(CONCURRENT_REQUESTS);
        while let Some((request, answer)) = answers.next().await {
            probe.record_answer(&request, answer)?;
            if probe.has_failed() {
                break;
            }
        }
    }
}

impl Recognized {
    /// Binds the schema under the lease of a run, unless it is bound already; fails if another workspace was faster.
    pub(super) async fn bind(self, client: &Client, store: &Store, run_id: i64) -> Result<Binding, store::StoreError> {
        let schema = &store.schema;
        match self {
            Recognized::Bound(binding) => Ok(binding),
            Recognized::New { known } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::FirstSync).await?;
                info!("schema {schema} is bound to the workspace of this token on {}", bound.host);
                Ok(bound)
            }
            Recognized::Proven { known, evidence } => {
                let bound = bind(client, store, run_id, known.as_ref(), Proof::StoredRecords).await?;
                info!("schema {schema} belongs to this workspace, which is noted: {evidence}");
                Ok(bound)
            }
        }
    }
}

/// Binds a schema on the user's word, under the lease of a run. Returns what it was bound to before, and what it is bound to.
pub async fn adopt(client: &Client, store: &Store, run_id: i64) -> Result<(Option<Binding>, Binding), store::StoreError> {
    let before = store.transaction(async |db| store::binding(db, &store.schema).await).await?;
    match &before {
        Some(binding) if identity_of(binding) == identity_now(client, &binding.key) => Ok((before.clone(), binding.clone())),
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
) -> Result<Binding, store::StoreError> {
    let workspace = &store.schema;
    let bound = store.transaction(async |db| {
        store::fence(&mut *db, workspace, run_id).await?;
        let is_ours = |binding: &Binding| identity_of(binding) == identity_now(client, &binding.key);
        let current = store::binding(&mut *db, workspace).await?;
        if proof == Proof::FirstSync && !current.as_ref().is_some_and(is_ours) && schema_has_data(&mut *db, workspace).await? {
            return Ok(None);
        }
        let key = match known {
            Some(known) => known.key.clone(),
            None => store::new_key(&mut *db).await?,
        };
        let Identity { fingerprint, host } = identity_now(client, &key);
        let new = NewBinding { key: &key, fingerprint: &fingerprint, host: &host, proof };
        let is_new = store::bind(&mut *db, workspace, known, new).await?;
        if is_new && proof != Proof::StoredRecords {
            store::reset_workspace(&mut *db, workspace).await?;
        }
        Ok(store::binding(db, workspace).await?.filter(is_ours))
    });
    bound.await?.ok_or_else(|| store::StoreError::BoundElsewhere { schema: workspace.clone() })
}
