//! `adopt`: binds a schema to the configured token and host when a person says so.
//!
//! After a restore at Planhat all records may have new ids, so that no stored id can prove that it is the same workspace. Only a
//! person knows.

use std::process::ExitCode;

use planhat_api::{self as api, Client};
use planhat_model::catalog;
use planhat_store::{Binding, RunStatus, Store};

use super::{in_a_run_of_its_own, with_store};
use crate::command_error::CommandError;
use crate::print;
use crate::run;
use crate::workspace::Workspace;

/// What its run is called.
const ADOPT: &str = "adopt";

pub(super) async fn adopt(workspace: &Workspace) -> Result<ExitCode, CommandError> {
    let client = workspace.client()?;
    let text = with_store(workspace, async |store| {
        if matches!(store.is_set_up().await, Ok(false)) {
            return Ok(format!("nothing to adopt: schema {} has no tables yet; `planhat-sync sync` creates them", store.schema));
        }
        store.migrate().await?;
        expect_accepted(&client, workspace).await?;
        // As a run of its own, so that none is at work while the schema changes hands.
        in_a_run_of_its_own(store, ADOPT, async |run_id| Ok((take_over(&client, store, run_id).await?, RunStatus::Succeeded)))
            .await
    })
    .await?;
    print::to_stdout(&text);
    Ok(ExitCode::SUCCESS)
}

/// One call, which Planhat answers for whoever has a valid token: with 403 at worst.
async fn expect_accepted(client: &Client, workspace: &Workspace) -> Result<(), CommandError> {
    let object = workspace.settings.planhat.objects.first().copied().unwrap_or(&catalog::OBJECTS[0]);
    match client.for_object(object).list(&[("limit", "1".to_owned())]).await {
        Ok(_) | Err(api::ApiError::AccessDenied { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Binds the schema, and says to what it was bound before and is now.
async fn take_over(client: &Client, store: &Store, run_id: i64) -> Result<String, CommandError> {
    let schema = &store.schema;
    let (before, now) = run::adopt(client, store, run_id).await?;
    let before = match before {
        Some(before) if before == now => {
            return Ok(format!(
                "schema {schema} is already bound to this token's workspace on {}, {}; nothing to do",
                now.host,
                since(&now)
            ));
        }
        Some(before) => {
            format!("schema {schema} was bound to the workspace of another token on {}, {}", before.host, since(&before))
        }
        None => format!("no workspace was recorded for schema {schema} before"),
    };
    Ok(format!(
        "{before}\nit is now bound to the workspace of this token on {}\n\
         the next sync reads the workspace from the beginning; rows that the workspace does not have are kept: if they are many, the \
         deletion guard holds them back until `planhat-sync sync --full --allow-deletes` marks them as deleted",
        now.host
    ))
}

fn since(binding: &Binding) -> String {
    let Binding { bound_at, proven_by, .. } = binding;
    format!("since {} ({proven_by})", bound_at.format("%Y-%m-%d %H:%M:%S UTC"))
}
