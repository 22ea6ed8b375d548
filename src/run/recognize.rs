//! Verifies, before a run writes anything, that a schema belongs to the workspace of the configured token, and binds it.
//!
//! ```text
//! the recorded binding, some stored ids -> decide -> (does Planhat have these ids?) -> decide -> the lease -> bind
//! ```
//!
//! `identity` decides, `id_probe` chooses the ids; this module reads, sends requests and writes. It writes only under the lease, so
//! that of two simultaneous runs one binds the schema and the other finds it bound.

use std::time::Duration;

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

/// A workspace that may use its schema, and what the schema was bound to before.
#[derive(Debug)]
pub enum Recognized {
    /// The schema is bound to this token and host.
    Bound(Binding),
    /// The schema has no data.
    New { known: Option<Binding> },
    /// Stored records were found at Planhat.
    Proven { known: Option<Binding>, evidence: Evidence },
}

/// Verifies the workspace once, and writes nothing.
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
    /// How much longer Planhat wants no calls.
    pause_left: Option<Duration>,
    /// Ids of rows by object, to be requested if token or host differ.
    ids: Vec<(&'static Object, Vec<String>)>,
}

impl SchemaContents {
    async fn read(db: &mut PgConnection, schema: &str, client: &Client) -> Result<SchemaContents, store::StoreError> {
        // Rows that are not seen would be taken for rows that are not there.
        store::refuse_hidden_rows(&mut *db, schema).await?;
        let mut stored =
            SchemaContents { binding: None, current: None, schema_has_data: false, pause_left: None, ids: Vec::new() };
        // If the tables of planhat_sync were dropped, data tables may still exist.
        if store::is_set_up(&mut *db).await? {
            stored.binding = store::binding(&mut *db, schema).await?;
            stored.pause_left = store::throttled_for(&mut *db, schema).await?;
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

    /// Requests stored ids if the binding does not decide it.
    async fn ask(self, client: &Client, schema: &str) -> Result<Recognized, RunError> {
        let SchemaContents { binding: known, current, schema_has_data, pause_left, ids } = self;
        client.continue_after_another_process(pause_left);
        let noted = known.as_ref().map(identity_of);
        // Without a key there is no fingerprint to compare with.
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

/// Whether the schema has any data, which could belong to another workspace.
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
                info!("schema {schema} belongs to this workspace, as recorded now: {evidence}");
                Ok(bound)
            }
        }
    }
}

/// Binds a schema because a person ran `adopt`, under the lease of a run. Returns the old and the new binding.
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

/// Binds a schema to the token and host of a client. Cursors of another workspace are deleted unless stored records prove that it
/// is the same workspace. The schema is checked again under the lease: a load that was preempted by this run may have begun
/// to fill it.
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
