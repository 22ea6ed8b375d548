//! `privacy apply`: masks what was stored before a rule, where it is: rows, deleted ones too, the values inside actions, and
//! texts in quarantine. Nothing else is touched, and the next sync finds nothing to change.
//!
//! A dry run counts. With `--yes` it is a run of its own, so that no sync stores anything meanwhile. One that is killed has
//! masked what it has masked, and goes on when it is started again.

use std::process::ExitCode;

use anyhow::anyhow;
use planhat_model::catalog::Object;
use planhat_model::error::exit_code as exit;
use planhat_model::flatten::IgnoredFields;
use planhat_model::rules::Rules;
use planhat_store::{self as store, Masking, RunStatus, Store};

use super::masked_tables::{Extent, MaskedObject, in_words, mask_object, with_rules};
use super::{in_a_run_of_its_own, with_store_read_only};
use crate::cli::PrivacyApplyArgs;
use crate::command_error::CommandError;
use crate::config;
use crate::print;
use crate::workspace::Workspace;

/// What its run is called.
const APPLY: &str = "privacy apply";

/// An object and what was masked of it.
type Applied = (&'static Object, MaskedObject);

pub(super) async fn apply(workspace: &Workspace, args: &PrivacyApplyArgs) -> Result<ExitCode, CommandError> {
    let objects = objects_to_mask(workspace, &args.objects.objects)?;
    if objects.is_empty() {
        print::to_stdout("the settings have no privacy rules: there is nothing to apply");
        return Ok(ExitCode::SUCCESS);
    }
    let applied = with_store_read_only(workspace, async |store| {
        if !args.yes {
            return if store.is_set_up().await? {
                apply_to_each(store, workspace, &objects, Extent::Count).await
            } else {
                Ok(Vec::new())
            };
        }
        if matches!(store.is_set_up().await, Ok(false)) {
            return Ok(Vec::new());
        }
        store.migrate().await?;
        let work = async |run_id| {
            let applied = apply_to_each(store, workspace, &objects, Extent::Write { run_id }).await?;
            let status = if refused(&applied) == 0 { RunStatus::Succeeded } else { RunStatus::Partial };
            Ok((applied, status))
        };
        in_a_run_of_its_own(store, APPLY, work).await
    })
    .await?;
    print::to_stdout(&text_of(&applied, args.yes));
    Ok(if refused(&applied) == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::PARTIAL) })
}

/// The objects that are named, or all, with their rules.
fn objects_to_mask<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<(&'static Object, &'a Rules)>, CommandError> {
    let ruled: Vec<_> = with_rules(&workspace.settings).collect();
    if names.is_empty() {
        return Ok(ruled);
    }
    let named = config::objects_named(names)?;
    if let Some(other) = named.iter().find(|named| ruled.iter().all(|(object, _)| object.name != named.name)) {
        let missing = anyhow!("{} has no privacy rules", other.name);
        let hint = "set include, exclude, hash or redact in [objects.NAME]; after a rule was removed, `planhat-sync sync --full` brings the values back";
        return Err(CommandError::new(exit::CONFIGURATION, missing, Some(hint)));
    }
    Ok(ruled.into_iter().filter(|(object, _)| named.iter().any(|named| named.name == object.name)).collect())
}

async fn apply_to_each(
    store: &Store,
    workspace: &Workspace,
    objects: &[(&'static Object, &Rules)],
    extent: Extent,
) -> Result<Vec<Applied>, CommandError> {
    let mut applied = Vec::new();
    for (object, rules) in objects.iter().copied() {
        let ignore_changes = workspace.settings.ignore_changes.get(object.name);
        let ignored = IgnoredFields::of(object, ignore_changes, Some(rules));
        let (masked, _) = mask_object(store, object, Masking::Rules(rules), &ignored, extent).await?;
        if let Extent::Write { run_id } = extent
            && masked.rows.refused == 0
        {
            let fingerprint = rules.fingerprint();
            let noted = store.transaction(async |db| {
                store::note_rules_applied(&mut *db, &store.schema, object, fingerprint).await?;
                store::fence(db, &store.schema, run_id).await
            });
            noted.await?;
        }
        applied.push((object, masked));
    }
    Ok(applied)
}

fn refused(applied: &[Applied]) -> u64 {
    applied.iter().map(|(_, masked)| masked.rows.refused).sum()
}

fn text_of(applied: &[Applied], is_done: bool) -> String {
    let mut lines = Vec::new();
    for (object, MaskedObject { rows, actions, quarantined }) in applied {
        let what = in_words(rows.masked, actions.masked, quarantined.masked);
        lines.push(format!("{}: {what} {}", object.name, if is_done { "masked" } else { "to mask" }));
        if rows.refused > 0 {
            lines.push(format!(
                "{}: PostgreSQL refused to mask {} (a constraint or trigger of yours?); they are as they were",
                object.name,
                in_words(rows.refused, 0, 0)
            ));
        }
    }
    let left: u64 = applied.iter().map(|(_, masked)| masked.total()).sum();
    lines.push(match (is_done, left) {
        (_, 0) => "everything that is stored is under the privacy rules".to_owned(),
        (false, _) => "nothing was changed; `planhat-sync privacy apply --yes` masks these values for good".to_owned(),
        (true, _) => "old versions stay in the files of the database until `vacuum`, and in replicas, backups and exports: \
             see docs/privacy.md"
            .to_owned(),
    });
    lines.join("\n")
}
