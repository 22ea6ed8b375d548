//! What a reload takes over.
//!
//! Everything but the database, the log and the address that is listened on applies from the next run on; these three
//! are in use for as long as the process lives, so it goes on with the ones that it has, and says so. Both sides are
//! compared key by key. The structs are taken apart without `..`, so that a new setting that has no place here does not
//! compile.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{
    ActionsSettings, DaemonSettings, DatabaseSettings, DeletionsSettings, LogSettings, NotifySettings, PagesSettings,
    PlanhatSettings, PrivacySettings, Settings, SyncSettings,
};

/// Settings that were read again, and what became of those that differ.
#[derive(Debug)]
pub struct Reload {
    /// What the process goes on with.
    pub settings: Settings,
    /// Keys with a new value, from the next run on.
    pub applied: Vec<String>,
    /// Keys with a new value that only another process will have.
    pub needs_restart: Vec<String>,
}

impl Reload {
    /// What of `read` a process that has the settings `running` takes over.
    pub fn of(running: &Settings, read: Settings) -> Reload {
        let (before, after) = (keys_of(running), keys_of(&read));
        let (mut applied, mut needs_restart) = (Vec::new(), Vec::new());
        let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if value_of(&before, key) != value_of(&after, key) {
                let takes_part = [&before, &after].iter().find_map(|keys| keys.get(key)).map(|(applies, _)| *applies);
                match takes_part {
                    Some(Applies::AfterRestart) => needs_restart.push(key.clone()),
                    _ => applied.push(key.clone()),
                }
            }
        }
        let daemon = DaemonSettings { listen: running.daemon.listen, ..read.daemon };
        let settings = Settings { database: running.database.clone(), log: running.log.clone(), daemon, ..read };
        Reload { settings, applied, needs_restart }
    }
}

/// For the log, and for systemd: keys, never values.
impl std::fmt::Display for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the settings have been read again")?;
        if self.applied.is_empty() && self.needs_restart.is_empty() {
            return f.write_str("; none has changed");
        }
        for (what, keys) in [("applied", &self.applied), ("needs a restart", &self.needs_restart)] {
            if !keys.is_empty() {
                write!(f, "; {what}: {}", keys.join(", "))?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applies {
    WithTheNextRun,
    AfterRestart,
}

/// By key; a value as a text that is not shown, since it may be a secret.
type Keys = BTreeMap<String, (Applies, SecretString)>;

fn value_of<'a>(keys: &'a Keys, key: &str) -> Option<&'a str> {
    keys.get(key).map(|(_, value)| value.expose_secret())
}

fn keys_of(settings: &Settings) -> Keys {
    use Applies::{AfterRestart, WithTheNextRun};
    // Rules, and what is volatile, follow from the other settings; where secrets were found is no setting.
    let Settings {
        planhat,
        pages,
        sync,
        deletions,
        actions,
        privacy,
        objects,
        daemon,
        notify,
        database,
        log,
        rules: _,
        ignore_changes: _,
        secret_files: _,
    } = settings;
    let PlanhatSettings {
        base_url,
        token,
        token_file,
        page_size,
        calls_per_minute,
        objects: synced,
        connect_timeout,
        request_timeout,
        retries,
        retry_delay,
        max_page_bytes,
    } = planhat;
    let PagesSettings { overlap } = pages;
    let SyncSettings {
        concurrency,
        lookback,
        history,
        sorted,
        reconcile_every,
        reject_percent,
        reject_rows,
        quarantine_rows,
        keep_runs,
    } = sync;
    let DeletionsSettings { max_percent, max_rows } = deletions;
    let ActionsSettings { enabled, initial, keep } = actions;
    let PrivacySettings { hash_key, hash_key_file } = privacy;
    let DaemonSettings { schedule, time_zone, jitter, retry_after, listen, stuck_after } = daemon;
    let NotifySettings { webhook_url, format: of_messages, webhook_secret, ping_url, stale_after } = notify;
    let DatabaseSettings { url, password_file, schema, max_connections, reconnect_timeout, statement_timeout, data_dir } =
        database;
    let LogSettings { level, format } = log;

    let names = |objects: &[&'static planhat_model::catalog::Object]| {
        objects.iter().map(|object| object.name).collect::<Vec<_>>().join(" ")
    };
    let mut keys = Keys::new();
    let mut key = |applies, name: &str, value: SecretString| drop(keys.insert(name.to_owned(), (applies, value)));
    key(WithTheNextRun, "planhat.base_url", shown(base_url));
    key(WithTheNextRun, "planhat.token", secret(token));
    key(WithTheNextRun, "planhat.token_file", shown(token_file));
    key(WithTheNextRun, "planhat.page_size", shown(page_size));
    key(WithTheNextRun, "planhat.calls_per_minute", shown(calls_per_minute));
    key(WithTheNextRun, "planhat.objects", names(synced).into());
    key(WithTheNextRun, "planhat.connect_timeout", shown(connect_timeout));
    key(WithTheNextRun, "planhat.request_timeout", shown(request_timeout));
    key(WithTheNextRun, "planhat.retries", shown(retries));
    key(WithTheNextRun, "planhat.retry_delay", shown(retry_delay));
    key(WithTheNextRun, "planhat.max_page_bytes", shown(max_page_bytes));
    key(WithTheNextRun, "pages.overlap", shown(overlap));
    key(WithTheNextRun, "sync.concurrency", shown(concurrency));
    key(WithTheNextRun, "sync.lookback", shown(lookback));
    key(WithTheNextRun, "sync.history", shown(history));
    key(WithTheNextRun, "sync.sorted", names(sorted).into());
    key(WithTheNextRun, "sync.reconcile_every", shown(reconcile_every));
    key(WithTheNextRun, "deletions.max_percent", shown(max_percent));
    key(WithTheNextRun, "deletions.max_rows", shown(max_rows));
    key(WithTheNextRun, "sync.keep_runs", shown(keep_runs));
    key(WithTheNextRun, "sync.reject_percent", shown(reject_percent));
    key(WithTheNextRun, "sync.reject_rows", shown(reject_rows));
    key(WithTheNextRun, "sync.quarantine_rows", shown(quarantine_rows));
    key(WithTheNextRun, "actions.enabled", shown(enabled));
    key(WithTheNextRun, "actions.initial", shown(initial));
    key(WithTheNextRun, "actions.keep", shown(keep));
    key(WithTheNextRun, "privacy.hash_key", secret(hash_key));
    key(WithTheNextRun, "privacy.hash_key_file", shown(hash_key_file));
    for (object, of) in objects {
        for (list, names) in of.lists().into_iter().filter(|(_, names)| !names.is_empty()) {
            key(WithTheNextRun, &format!("objects.{object}.{list}"), shown(&names));
        }
    }
    key(WithTheNextRun, "daemon.schedule", shown(schedule));
    key(WithTheNextRun, "daemon.time_zone", shown(time_zone));
    key(WithTheNextRun, "daemon.jitter", shown(jitter));
    key(WithTheNextRun, "daemon.retry_after", shown(retry_after));
    key(AfterRestart, "daemon.listen", shown(listen));
    key(WithTheNextRun, "daemon.stuck_after", shown(stuck_after));
    key(WithTheNextRun, "notify.webhook_url", secret(webhook_url));
    key(WithTheNextRun, "notify.format", shown(of_messages));
    key(WithTheNextRun, "notify.webhook_secret", secret(webhook_secret));
    key(WithTheNextRun, "notify.ping_url", secret(ping_url));
    key(WithTheNextRun, "notify.stale_after", shown(stale_after));
    key(AfterRestart, "database.url", secret(url));
    key(AfterRestart, "database.password_file", shown(password_file));
    key(AfterRestart, "database.schema", shown(schema));
    key(AfterRestart, "database.max_connections", shown(max_connections));
    key(AfterRestart, "database.reconnect_timeout", shown(reconnect_timeout));
    key(AfterRestart, "database.statement_timeout", shown(statement_timeout));
    key(AfterRestart, "database.data_dir", shown(data_dir));
    key(AfterRestart, "log.level", shown(level));
    key(AfterRestart, "log.format", shown(format));
    keys
}

fn shown(value: &impl std::fmt::Debug) -> SecretString {
    format!("{value:?}").into()
}

fn secret(value: &Option<SecretString>) -> SecretString {
    value.clone().unwrap_or_else(|| String::new().into())
}

#[cfg(test)]
mod tests {
    use super::super::load_without_file;
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Settings {
        load_without_file(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
    }

    fn said(before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        Reload::of(&with(before), with(after)).to_string()
    }

    #[test]
    fn what_applies_and_what_needs_a_restart_is_named_by_its_key_and_without_its_value() {
        let before = [("PLANHAT_API_TOKEN", "old-token"), ("DATABASE_URL", "postgres://u:old@h/d")];
        let after = [
            ("PLANHAT_API_TOKEN", "new-token"),
            ("DATABASE_URL", "postgres://u:new@h/d"),
            ("PLANHAT_SYNC__SYNC__LOOKBACK", "96h"),
            ("PLANHAT_SYNC__PLANHAT__OBJECTS", "users"),
            ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:1"),
            ("PLANHAT_SYNC__DAEMON__JITTER", "1min"),
            ("PLANHAT_SYNC__LOG__LEVEL", "debug"),
            ("PLANHAT_SYNC__OBJECTS__USERS__EXCLUDE", "email"),
        ];
        insta::assert_snapshot!([said(&before, &before), said(&before, &after), said(&after, &before)].join("\n"), @"
        the settings have been read again; none has changed
        the settings have been read again; applied: daemon.jitter, objects.users.exclude, planhat.objects, planhat.token, sync.lookback; needs a restart: daemon.listen, database.url, log.level
        the settings have been read again; applied: daemon.jitter, objects.users.exclude, planhat.objects, planhat.token, sync.lookback; needs a restart: daemon.listen, database.url, log.level
        ");
    }

    #[test]
    fn a_process_goes_on_with_what_only_a_restart_changes() {
        let running = with(&[("DATABASE_URL", "postgres://u@h/old"), ("PLANHAT_SYNC__LOG__LEVEL", "warn")]);
        let read = with(&[
            ("DATABASE_URL", "postgres://u@h/new"),
            ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:1"),
            ("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "1s"),
        ]);
        let Reload { settings, .. } = Reload::of(&running, read);
        assert_eq!(settings.database.url.unwrap().expose_secret(), "postgres://u@h/old");
        assert_eq!((settings.log.level.as_str(), settings.daemon.listen), ("warn", running.daemon.listen));
        assert_eq!(settings.daemon.retry_after.as_secs(), 1);
    }

    #[test]
    fn every_documented_setting_has_its_place() {
        let documented: toml::Table = toml::from_str(include_str!("../../config/default.toml")).unwrap();
        let documented = documented.iter().flat_map(|(section, keys)| {
            keys.as_table().unwrap().keys().map(move |key| format!("{section}.{key}")).collect::<Vec<_>>()
        });
        let mut documented: Vec<String> = documented.collect();
        documented.sort();
        assert_eq!(keys_of(&with(&[])).into_keys().collect::<Vec<_>>(), documented);
    }
}
