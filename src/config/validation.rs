//! What a setting may be, beyond its type: one check per section, then what several of them come to together.
//!
//! A mistake ends the process before it starts, with the key and a value that works. What works and is probably not
//! meant is a warning.

use std::time::Duration;

use chrono::{DateTime, Utc};
use humantime::format_duration;
use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::scan::{History, ReconcileEvery, SortedObjects};
use planhat_store as store;
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::{
    DaemonSettings, DatabaseSettings, LogSettings, NotifySettings, PlanhatSettings, Settings, SettingsError, SyncSettings,
};
use crate::events::{Format, PingUrl, Secret};

/// Longer ago there is no instant that can be subtracted from.
const LONGEST_HISTORY: Duration = Duration::from_secs(200 * 366 * 86_400);
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Settings {
    /// These settings with what follows from them, or what is wrong with them.
    pub(super) fn checked(self) -> Result<Settings, SettingsError> {
        let checked = self.checked_but_schedule()?;
        checked.schedule("")?.checked()?;
        Ok(checked)
    }

    /// What several workspaces share. Each of them may have a hash key of its own, so that there need not be one here.
    pub(super) fn checked_as_shared(mut self) -> Result<Settings, SettingsError> {
        self.property_rules(true)?;
        self.histories()?;
        let objects = std::mem::take(&mut self.objects);
        let checked = self.checked()?;
        Ok(Settings { objects, ..checked })
    }

    /// The same without the schedule, which takes a while to be checked: for one that was checked before.
    pub(super) fn checked_but_schedule(mut self) -> Result<Settings, SettingsError> {
        (self.rules, self.ignore_changes) = self.property_rules(self.privacy.hash_key.is_some())?;
        self.histories = self.histories()?;
        self.planhat.check()?;
        if self.pages.overlap > 1 {
            return bad("pages.overlap", "must be 1 or 0");
        }
        self.check_durations()?;
        self.sync.check()?;
        if self.deletions.max_percent > 100 {
            return bad("deletions.max_percent", "is more than 100");
        }
        self.daemon.check()?;
        self.notify.check()?;
        self.database.check()?;
        self.log.check()?;
        Ok(self)
    }

    fn check_durations(&self) -> Result<(), SettingsError> {
        let Settings { planhat, sync, actions, daemon, notify, database, .. } = self;
        // A duration of zero turns something off only where its comment says so; elsewhere it would come at once, every time.
        for (key, duration, outcome, usual) in [
            ("planhat.connect_timeout", planhat.connect_timeout, "no connection would be made in time", "10s"),
            ("planhat.request_timeout", planhat.request_timeout, "no answer would come in time", "3min"),
            ("sync.lookback", sync.lookback, "a change that a listing shows with a delay would be missed", "72h"),
            ("sync.keep_runs", sync.keep_runs, "each run would be deleted from the history at once", "180days"),
            ("daemon.stuck_after", daemon.stuck_after, "each run would count as stuck from its start", "30min"),
            ("notify.stale_after", notify.stale_after, "the data would be stale as soon as it is stored", "26h"),
        ] {
            if duration.is_zero() {
                return bad(key, format!("is \"0s\": {outcome}; the default is {usual:?}"));
            }
        }
        check_history("sync.history", sync.history)?;
        let reconcile_every = match sync.reconcile_every {
            ReconcileEvery::Fixed(every) => every,
            ReconcileEvery::AsTheQuotaAllows => Duration::ZERO,
        };
        for (key, duration, instead) in [
            ("sync.lookback", sync.lookback, "; `backfill --all` reads everything"),
            ("sync.reconcile_every", reconcile_every, "; \"0s\" turns it off"),
            ("sync.keep_runs", sync.keep_runs, ""),
            ("actions.keep", actions.keep, "; \"0s\" is for ever"),
            ("daemon.jitter", daemon.jitter, ""),
            ("daemon.retry_after", daemon.retry_after, ""),
            ("daemon.stuck_after", daemon.stuck_after, ""),
            ("notify.stale_after", notify.stale_after, ""),
            ("database.reconnect_timeout", database.reconnect_timeout, ""),
            ("database.statement_timeout", database.statement_timeout, ""),
        ] {
            if duration > LONGEST_HISTORY {
                return bad(key, format!("is longer than 200 years{instead}"));
            }
        }
        if daemon.stuck_after < planhat.request_timeout {
            let [stuck, request] = [daemon.stuck_after, planhat.request_timeout].map(format_duration);
            let works = format_duration(planhat.request_timeout * 10);
            let problem = format!(
                "is \"{stuck}\", shorter than the \"{request}\" that a single answer may take (planhat.request_timeout), so that a run would count as stuck while it waits for an answer; \"{works}\" works"
            );
            return bad("daemon.stuck_after", problem);
        }
        Ok(())
    }

    /// What works and is probably not meant: for the log of the daemon, and for `check`. Each with the name of its setting.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let DaemonSettings { schedule: cron, jitter, .. } = &self.daemon;
        let Ok(schedule) = self.schedule("") else { return Vec::new() };
        let (longest, stale_after) = (schedule.longest_interval(now), self.notify.stale_after);
        if stale_after >= longest + *jitter {
            return Vec::new();
        }
        // Room for the run itself.
        let works = format_duration(longest + *jitter + longest / 24);
        let [stale, longest, jitter] = [stale_after, longest, *jitter].map(format_duration);
        vec![(
            "notify.stale_after",
            format!(
                "is \"{stale}\", shorter than the time between two runs of the daemon ({longest} by daemon.schedule {cron:?}, and {jitter} of daemon.jitter), so that good data counts as stale before the next run; \"{works}\" works"
            ),
        )]
    }
}

/// Whether records are to be loaded at all, and from an instant that there is.
pub(super) fn check_history(key: &str, history: History) -> Result<(), SettingsError> {
    let History::Within(duration) = history else { return Ok(()) };
    if duration.is_zero() {
        let outcome = "a first load would leave out every record that has a time";
        return bad(key, format!("is \"0s\": {outcome}; \"all\" loads all records, the default is \"4years\""));
    }
    if duration > LONGEST_HISTORY {
        return bad(key, "is longer than 200 years; \"all\" loads all records");
    }
    Ok(())
}

/// More runs at a time than this need more connections than a server has.
const MOST_SLOTS: usize = 64;
/// The calendar costs the database a few statements each time.
const SHORTEST_POLL: Duration = Duration::from_secs(1);

impl DaemonSettings {
    fn check(&self) -> Result<(), SettingsError> {
        if !(1..=MOST_SLOTS).contains(&self.slots) {
            return bad("daemon.slots", format!("is {}: it must be from 1 to {MOST_SLOTS}; the default is 4", self.slots));
        }
        if self.poll_every.is_some_and(|every| every < SHORTEST_POLL || every > LONGEST_HISTORY) {
            return bad("daemon.poll_every", "must be \"auto\", or a duration of at least \"1s\"");
        }
        Ok(())
    }
}

impl PlanhatSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let url = &self.base_url;
        let is_this_machine = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_this_machine => {}
            _ => {
                return bad(
                    "planhat.base_url",
                    "must begin with https://, so that nobody on the network path can read the token",
                );
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("planhat.base_url", "contains a user or password; the token belongs in planhat.token");
        }
        if self.page_size == RowsPerPage::Fixed(0) {
            return bad("planhat.page_size", "must be at least 1");
        }
        if self.max_page_bytes == 0 {
            return bad("planhat.max_page_bytes", "is 0, so that no answer fits; the default is 67108864 (64 MB)");
        }
        Ok(())
    }
}

impl SyncSettings {
    fn check(&self) -> Result<(), SettingsError> {
        if self.concurrency == 0 {
            return bad("sync.concurrency", "must be at least 1");
        }
        if let SortedObjects::Named(names) = &self.sorted
            && let Some(name) = names.iter().find(|name| catalog::object(name).is_some_and(|object| object.sweeps().is_empty()))
        {
            return bad("sync.sorted", format!("names {name}, whose records have no modification time to sort by"));
        }
        if self.reject_percent > 100 {
            return bad("sync.reject_percent", "is more than 100; 100 turns the guard off");
        }
        Ok(())
    }
}

impl NotifySettings {
    fn check(&self) -> Result<(), SettingsError> {
        if let Some(url) = &self.webhook_url {
            const KEY: &str = "notify.webhook_url";
            let url = Url::parse(url.expose_secret()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            let Some(url) = url else { return bad(KEY, "must begin with https:// or http://") };
            if let Some((service, format)) = Format::of_service(&url)
                && self.format == Format::Standard
            {
                let problem =
                    format!("is an address of {service}, which takes only its own messages: set notify.format = {format:?} too");
                return bad(KEY, problem);
            }
        }
        if let Some(secret) = &self.webhook_secret
            && let Err(problem) = Secret::parse(secret.expose_secret())
        {
            return bad("notify.webhook_secret", problem);
        }
        if let Some(url) = &self.ping_url
            && let Err(problem) = PingUrl::parse(url.expose_secret())
        {
            return bad("notify.ping_url", problem);
        }
        Ok(())
    }
}

impl DatabaseSettings {
    fn check(&self) -> Result<(), SettingsError> {
        if self.statement_timeout < Duration::from_millis(100) {
            return bad("database.statement_timeout", "is too short for any statement; the default is \"5min\"");
        }
        if self.max_connections == 0 {
            return bad("database.max_connections", "must be at least 1");
        }
        let schema = &self.schema;
        if schema.is_empty() || schema.len() > 63 || schema == store::OWN_SCHEMA || schema.starts_with("pg_") {
            return bad("database.schema", "must be a schema for the data alone: 1 to 63 bytes, not planhat_sync, not pg_…");
        }
        if self.grant_select_to.iter().any(|role| role.is_empty() || role.len() > 63) {
            return bad("database.grant_select_to", "must be names of roles, each of 1 to 63 bytes");
        }
        Ok(())
    }
}

impl LogSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let is_level = |part: &str| part.contains('=') || LEVELS.contains(&part.trim().to_lowercase().as_str());
        if !self.level.split(',').all(is_level) {
            return bad("log.level", "must be error, warn, info, debug or trace, or a filter like \"info,sqlx=debug\"");
        }
        Ok(())
    }
}

fn bad<T>(key: &str, problem: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError::Bad { key: key.to_owned(), problem: problem.into() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{message, with};

    #[test]
    fn an_invalid_value_is_reported_with_its_key() {
        for (name, value, key) in [
            ("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "many", "planhat.page_size"),
            ("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "0", "planhat.page_size"),
            ("PLANHAT_SYNC__SYNC__LOOKBACK", "three days", "sync.lookback"),
            ("PLANHAT_API_URL", "http://api.planhat.com", "planhat.base_url"),
            ("PLANHAT_API_URL", "api.planhat.com", "planhat.base_url"),
            ("PLANHAT_API_URL", "https://user:secret@api.planhat.com", "planhat.base_url"),
            ("PLANHAT_SYNC__DATABASE__SCHEMA", "planhat_sync", "database.schema"),
            ("PLANHAT_SYNC__PLANHAT__OBJECTS", "companys", "planhat.objects"),
            ("PLANHAT_SYNC__LOG__FORMAT", "xml", "log.format"),
            ("PLANHAT_SYNC__NOTIFY__FORMAT", "xml", "notify.format"),
            ("PLANHAT_SYNC__LOG__LEVEL", "loud", "log.level"),
            ("PLANHAT_SYNC__SYNC__HISTORY", "300000years", "sync.history"),
            ("PLANHAT_SYNC__PLANHAT__REQUEST_TIMEOUT", "0s", "planhat.request_timeout"),
            ("PLANHAT_SYNC__PLANHAT__MAX_PAGE_BYTES", "0", "planhat.max_page_bytes"),
            ("PLANHAT_SYNC__DAEMON__SCHEDULE", "every day", "daemon.schedule"),
            ("PLANHAT_SYNC__DAEMON__TIME_ZONE", "Mars/Olympus", "daemon.time_zone"),
            ("PLANHAT_SYNC__ACTIONS__INITIAL", "perhaps", "actions.initial"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "a while", "actions.keep"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "300years", "actions.keep"),
        ] {
            let message = message(with(&[(name, value)]));
            assert!(message.contains(key), "{name}={value}: {message}");
        }
    }

    #[test]
    fn webhook_and_ping_urls_are_checked_for_their_format() {
        let refused = |variables: &[(&str, &str)]| {
            let names = variables.iter().map(|(name, value)| (format!("PLANHAT_SYNC__NOTIFY__{name}"), *value));
            let names: Vec<_> = names.collect();
            let result = with(&names.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>());
            result.map_or_else(|error| format!("{:#}", anyhow::Error::from(error)), |_| "taken".to_owned())
        };
        insta::assert_snapshot!([
            refused(&[("WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")]),
            refused(&[("WEBHOOK_URL", "https://discord.com/api/webhooks/1/x")]),
            refused(&[("WEBHOOK_URL", "https://prod-1.westeurope.logic.azure.com:443/workflows/x")]),
            refused(&[("WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"), ("FORMAT", "slack")]),
            refused(&[("WEBHOOK_URL", "example.org/hook")]),
            refused(&[("WEBHOOK_SECRET", "whsec_no base64")]),
            refused(&[("PING_URL", "https://hc-ping.com/key/slug?create=1")]),
            refused(&[("PING_URL", "https://kuma/api/push/T?status=up&msg=OK&ping=")]),
            refused(&[("PING_URL", "https://example.org/ping?state=up")]),
            refused(&[("PING_URL", "example.org/ping")]),
        ].join("\n"), @r#"
        setting "notify.webhook_url" is an address of Slack, which takes only its own messages: set notify.format = "slack" too
        setting "notify.webhook_url" is an address of Discord, which takes only its own messages: set notify.format = "discord" too
        setting "notify.webhook_url" is an address of Microsoft Teams, which takes only its own messages: set notify.format = "teams" too
        taken
        setting "notify.webhook_url" must begin with https:// or http://
        setting "notify.webhook_secret" is not base64 after whsec_
        taken
        taken
        setting "notify.ping_url" has a query of an unknown monitor: supported are addresses of healthchecks (…/ping/NAME?create=1), of Uptime Kuma (…/api/push/TOKEN?status=up&msg=OK&ping=), and addresses without a query, to which /start and /fail are appended
        setting "notify.ping_url" must begin with https:// or http://
        "#);
    }

    #[test]
    fn unusable_durations_and_schedules_are_refused_with_a_usable_example() {
        let refused = |name: &str, value: &str| message(with(&[(&format!("PLANHAT_SYNC__{name}"), value)]));
        let all = [
            refused("PLANHAT__CONNECT_TIMEOUT", "0s"),
            refused("SYNC__LOOKBACK", "0s"),
            refused("SYNC__HISTORY", "0s"),
            refused("SYNC__KEEP_RUNS", "0s"),
            refused("DAEMON__STUCK_AFTER", "0s"),
            refused("NOTIFY__STALE_AFTER", "0s"),
            refused("DAEMON__STUCK_AFTER", "1min"),
            refused("DAEMON__SCHEDULE", "0 3 31 2 *"),
            refused("DAEMON__SCHEDULE", "0 0 0 1 1 * 2020"),
            refused("DAEMON__SCHEDULE", "*/5 * * * *"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        setting "planhat.connect_timeout" is "0s": no connection would be made in time; the default is "10s"
        setting "sync.lookback" is "0s": a change that a listing shows with a delay would be missed; the default is "72h"
        setting "sync.history" is "0s": a first load would leave out every record that has a time; "all" loads all records, the default is "4years"
        setting "sync.keep_runs" is "0s": each run would be deleted from the history at once; the default is "180days"
        setting "daemon.stuck_after" is "0s": each run would count as stuck from its start; the default is "30min"
        setting "notify.stale_after" is "0s": the data would be stale as soon as it is stored; the default is "26h"
        setting "daemon.stuck_after" is "1m", shorter than the "3m" that a single answer may take (planhat.request_timeout), so that a run would count as stuck while it waits for an answer; "30m" works
        setting "daemon.schedule" cannot be used: "0 3 31 2 *" never occurs; "0 3 * * *" is every day at 03:00
        setting "daemon.schedule" cannot be used: "0 0 0 1 1 * 2020" names years, after which no run would start; leave them out ("0 3 * * *" is every day at 03:00)
        setting "daemon.jitter" cannot be used: 10m is longer than the 5m between two runs of "*/5 * * * *", so that a run could start after the next one is due; 30s works
        "#);
        for off in ["DAEMON__RETRY_AFTER", "DAEMON__JITTER", "SYNC__RECONCILE_EVERY", "ACTIONS__KEEP"] {
            assert!(with(&[(&format!("PLANHAT_SYNC__{off}"), "0s")]).is_ok(), "{off}");
        }
    }

    #[test]
    fn a_stale_after_shorter_than_the_schedule_is_a_warning_and_not_an_error() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let warnings = |variables: &[(&str, &str)]| with(variables).unwrap().warnings(now);
        let schedule = "PLANHAT_SYNC__DAEMON__SCHEDULE";
        assert_eq!(warnings(&[]), []);
        assert_eq!(warnings(&[(schedule, "0 3 * * 1"), ("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "8days")]), []);
        let said: Vec<_> = ["0 3 * * 1", "0 3 1 1 *"].iter().flat_map(|cron| warnings(&[(schedule, cron)])).collect();
        insta::assert_snapshot!(said.iter().map(|(key, doubt)| format!("{key} {doubt}")).collect::<Vec<_>>().join("\n"), @r#"
        notify.stale_after is "1day 2h", shorter than the time between two runs of the daemon (7days by daemon.schedule "0 3 * * 1", and 10m of daemon.jitter), so that good data counts as stale before the next run; "7days 7h 10m" works
        notify.stale_after is "1day 2h", shorter than the time between two runs of the daemon (1year 18h by daemon.schedule "0 3 1 1 *", and 10m of daemon.jitter), so that good data counts as stale before the next run; "1year 16days 10m" works
        "#);
    }
}
