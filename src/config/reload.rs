//! What a reload (SIGHUP) applies.
//!
//! Every setting applies from the next run on, except the database, the log and the listening address: these are in use as long as
//! the process lives, so it keeps the old ones and reports that. Old and new settings are compared key by key. The structs are
//! destructured without `..`, so that a new setting that is missing here does not compile. Where there are several workspaces, the
//! settings of each are compared by themselves.

use std::collections::BTreeMap;

use planhat_model::catalog::Object;
use secrecy::{ExposeSecret, SecretString};

use super::{
    ActionsSettings, DaemonSettings, DatabaseSettings, DeletionsSettings, LogSettings, NotifySettings, PagesSettings,
    PlanhatSettings, PrivacySettings, Settings, SyncSettings,
};

/// The result of a reload: the settings in effect, and which keys changed.
#[derive(Debug)]
pub struct Reload {
    /// The settings in effect from now on.
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
                    Some(AfterRestart) => needs_restart.push(key.clone()),
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
        f.write_str("settings reloaded")?;
        if self.applied.is_empty() && self.needs_restart.is_empty() {
            return f.write_str("; nothing has changed");
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

use Applies::{AfterRestart, WithTheNextRun};

/// By key; a value as a text that is not shown, since it may be a secret.
type Keys = BTreeMap<String, (Applies, SecretString)>;

/// The keys of one section, without its name.
type Section = Vec<(&'static str, Applies, SecretString)>;

fn value_of<'a>(keys: &'a Keys, key: &str) -> Option<&'a str> {
    keys.get(key).map(|(_, value)| value.expose_secret())
}

fn keys_of(settings: &Settings) -> Keys {
    // Privacy rules, ignored properties and histories are derived from other settings; where secrets were found is not a setting.
    let Settings {
        workspaces_dir,
        planhat,
        pages: PagesSettings { overlap },
        sync,
        deletions: DeletionsSettings { max_percent, max_rows },
        actions: ActionsSettings { enabled, initial, keep },
        privacy: PrivacySettings { hash_key, hash_key_file },
        objects,
        daemon,
        notify,
        database,
        log: LogSettings { level, format },
        workspace_name: _,
        rules: _,
        ignore_changes: _,
        histories: _,
        secret_files: _,
    } = settings;
    let mut keys = Keys::new();
    keys.insert("workspaces_dir".to_owned(), (WithTheNextRun, shown(workspaces_dir)));
    let mut section = |name: &str, of_section: Section| {
        keys.extend(of_section.into_iter().map(|(key, applies, value)| (format!("{name}.{key}"), (applies, value))));
    };
    section("planhat", planhat_keys(planhat));
    section("pages", vec![("overlap", WithTheNextRun, shown(overlap))]);
    section("sync", sync_keys(sync));
    section(
        "deletions",
        vec![("max_percent", WithTheNextRun, shown(max_percent)), ("max_rows", WithTheNextRun, shown(max_rows))],
    );
    section(
        "actions",
        vec![
            ("enabled", WithTheNextRun, shown(enabled)),
            ("initial", WithTheNextRun, shown(initial)),
            ("keep", WithTheNextRun, shown(keep)),
        ],
    );
    section(
        "privacy",
        vec![("hash_key", WithTheNextRun, secret(hash_key)), ("hash_key_file", WithTheNextRun, shown(hash_key_file))],
    );
    for (object, of) in objects {
        let lists = of.lists().into_iter().filter(|(_, names)| !names.is_empty());
        let lists = lists.map(|(list, names)| (list, WithTheNextRun, shown(&names)));
        let history = of.history.map(|history| ("history", WithTheNextRun, shown(&history)));
        section(&format!("objects.{object}"), lists.chain(history).collect());
    }
    section("daemon", daemon_keys(daemon));
    section("notify", notify_keys(notify));
    section("database", database_keys(database));
    section("log", vec![("level", AfterRestart, shown(level)), ("format", AfterRestart, shown(format))]);
    keys
}

fn planhat_keys(planhat: &PlanhatSettings) -> Section {
    let PlanhatSettings {
        base_url,
        token,
        token_file,
        page_size,
        calls_per_minute,
        objects,
        connect_timeout,
        request_timeout,
        retries,
        retry_delay,
        max_page_bytes,
    } = planhat;
    vec![
        ("base_url", WithTheNextRun, shown(base_url)),
        ("token", WithTheNextRun, secret(token)),
        ("token_file", WithTheNextRun, shown(token_file)),
        ("page_size", WithTheNextRun, shown(page_size)),
        ("calls_per_minute", WithTheNextRun, shown(calls_per_minute)),
        ("objects", WithTheNextRun, names(objects)),
        ("connect_timeout", WithTheNextRun, shown(connect_timeout)),
        ("request_timeout", WithTheNextRun, shown(request_timeout)),
        ("retries", WithTheNextRun, shown(retries)),
        ("retry_delay", WithTheNextRun, shown(retry_delay)),
        ("max_page_bytes", WithTheNextRun, shown(max_page_bytes)),
    ]
}

fn sync_keys(sync: &SyncSettings) -> Section {
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
    vec![
        ("concurrency", WithTheNextRun, shown(concurrency)),
        ("lookback", WithTheNextRun, shown(lookback)),
        ("history", WithTheNextRun, shown(history)),
        ("sorted", WithTheNextRun, shown(sorted)),
        ("reconcile_every", WithTheNextRun, shown(reconcile_every)),
        ("reject_percent", WithTheNextRun, shown(reject_percent)),
        ("reject_rows", WithTheNextRun, shown(reject_rows)),
        ("quarantine_rows", WithTheNextRun, shown(quarantine_rows)),
        ("keep_runs", WithTheNextRun, shown(keep_runs)),
    ]
}

fn daemon_keys(daemon: &DaemonSettings) -> Section {
    let DaemonSettings { schedule, time_zone, jitter, retry_after, slots, poll_every, listen, stuck_after } = daemon;
    vec![
        ("schedule", WithTheNextRun, shown(schedule)),
        ("time_zone", WithTheNextRun, shown(time_zone)),
        ("jitter", WithTheNextRun, shown(jitter)),
        ("retry_after", WithTheNextRun, shown(retry_after)),
        ("slots", WithTheNextRun, shown(slots)),
        ("poll_every", WithTheNextRun, shown(poll_every)),
        ("listen", AfterRestart, shown(listen)),
        ("stuck_after", WithTheNextRun, shown(stuck_after)),
    ]
}

fn notify_keys(notify: &NotifySettings) -> Section {
    let NotifySettings {
        webhook_url,
        webhook_url_file,
        format,
        webhook_secret,
        webhook_secret_file,
        ping_url,
        ping_url_file,
        stale_after,
    } = notify;
    vec![
        ("webhook_url", WithTheNextRun, secret(webhook_url)),
        ("webhook_url_file", WithTheNextRun, shown(webhook_url_file)),
        ("format", WithTheNextRun, shown(format)),
        ("webhook_secret", WithTheNextRun, secret(webhook_secret)),
        ("webhook_secret_file", WithTheNextRun, shown(webhook_secret_file)),
        ("ping_url", WithTheNextRun, secret(ping_url)),
        ("ping_url_file", WithTheNextRun, shown(ping_url_file)),
        ("stale_after", WithTheNextRun, shown(stale_after)),
    ]
}

fn database_keys(database: &DatabaseSettings) -> Section {
    // The variables of the process stay as they are.
    let DatabaseSettings {
        url,
        url_file,
        password_file,
        variables: _,
        schema,
        max_connections,
        reconnect_timeout,
        statement_timeout,
        data_dir,
        grant_select_to,
    } = database;
    vec![
        ("url", AfterRestart, secret(url)),
        ("url_file", AfterRestart, shown(url_file)),
        ("password_file", AfterRestart, shown(password_file)),
        ("schema", AfterRestart, shown(schema)),
        ("max_connections", AfterRestart, shown(max_connections)),
        ("reconnect_timeout", AfterRestart, shown(reconnect_timeout)),
        ("statement_timeout", AfterRestart, shown(statement_timeout)),
        ("data_dir", AfterRestart, shown(data_dir)),
        ("grant_select_to", AfterRestart, shown(grant_select_to)),
    ]
}

fn names(objects: &[&'static Object]) -> SecretString {
    objects.iter().map(|object| object.name).collect::<Vec<_>>().join(" ").into()
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
    fn a_reload_reports_the_keys_that_apply_and_the_keys_that_need_a_restart_without_their_values() {
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
            ("PLANHAT_SYNC__OBJECTS__TASKS__HISTORY", "all"),
        ];
        insta::assert_snapshot!([said(&before, &before), said(&before, &after), said(&after, &before)].join("\n"), @"
        settings reloaded; nothing has changed
        settings reloaded; applied: daemon.jitter, objects.tasks.history, objects.users.exclude, planhat.objects, planhat.token, sync.lookback; needs a restart: daemon.listen, database.url, log.level
        settings reloaded; applied: daemon.jitter, objects.tasks.history, objects.users.exclude, planhat.objects, planhat.token, sync.lookback; needs a restart: daemon.listen, database.url, log.level
        ");
    }

    #[test]
    fn a_reload_keeps_the_settings_that_need_a_restart() {
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
    fn a_reload_knows_every_documented_setting() {
        let documented: toml::Table = toml::from_str(include_str!("../../config/default.toml")).unwrap();
        let documented = documented.iter().flat_map(|(name, value)| match value.as_table() {
            Some(keys) => keys.keys().map(|key| format!("{name}.{key}")).collect::<Vec<_>>(),
            None => vec![name.clone()],
        });
        let mut documented: Vec<String> = documented.collect();
        documented.sort();
        assert_eq!(keys_of(&with(&[])).into_keys().collect::<Vec<_>>(), documented);
    }
}
