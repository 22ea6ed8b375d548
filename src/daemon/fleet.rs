//! The workspaces that a daemon looks after, by their names in the settings, and what it does for each beside its runs.
//!
//! What is wrong with the settings of one workspace is its own matter: it is named in the log, in `/api/status` and in a metric, and
//! the others go on. A workspace that had good settings before goes on with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use planhat_store::{self as store, Enrolment, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use super::DAEMON;
use super::health_state::DaemonState;
use super::housekeeping;
use super::run_loop::LOCKED_FOR;
use super::runtime_config::RuntimeConfig;
use super::staleness::StalenessMonitor;
use crate::command_error::CommandError;
use crate::config::{DaemonSettings, Installation, NamedWorkspace, SettingsError};
use crate::fleet_state::WatchedWorkspace;

/// The workspaces, and the settings of the process.
pub(super) struct Fleet {
    pub(super) is_single: bool,
    pub(super) daemon: DaemonSettings,
    members: BTreeMap<String, Member>,
    /// Those whose settings cannot be used: name, and why.
    refused: BTreeMap<String, String>,
    /// Tells this installation from others, where there is a single workspace.
    host: String,
    /// What was said of settings that are probably not meant. Many workspaces have the same.
    doubts: BTreeSet<String>,
    /// That of no workspace, with what those of all workspaces share.
    staleness: StalenessMonitor,
    /// Ends runs with the process.
    stop: CancellationToken,
}

/// A workspace that the daemon runs.
pub(super) struct Member {
    pub(super) config: Arc<RuntimeConfig>,
    pub(super) staleness: StalenessMonitor,
    /// Cancelled when the workspace leaves the settings.
    pub(super) stop: CancellationToken,
    watched: Arc<WatchedWorkspace>,
    _housekeeping: Option<[AbortOnDropHandle<()>; 2]>,
}

impl Fleet {
    /// The workspaces of these settings. Without `[workspaces]` a mistake in the settings is an error.
    pub(super) fn new(read: &mut Installation, stop: &CancellationToken) -> Result<Fleet, CommandError> {
        let mut fleet = Fleet {
            is_single: read.is_single,
            daemon: read.shared.daemon.clone(),
            members: BTreeMap::new(),
            refused: BTreeMap::new(),
            host: if read.is_single { host() } else { String::new() },
            doubts: BTreeSet::new(),
            staleness: StalenessMonitor::since(Utc::now()),
            stop: stop.clone(),
        };
        for NamedWorkspace { name, settings } in std::mem::take(&mut read.workspaces) {
            match fleet.config_of(&name, settings) {
                Ok((config, _)) => {
                    let member = fleet.member(config);
                    fleet.members.insert(name, member);
                }
                Err(failure) if fleet.is_single => return Err(failure),
                Err(failure) => fleet.refuse(name, &failure),
            }
        }
        Ok(fleet)
    }

    fn config_of(&self, name: &str, read: Result<crate::config::Settings, SettingsError>) -> Result<NewConfig, CommandError> {
        let read = read?;
        match self.members.get(name) {
            Some(member) if self.is_single || member.config.schema() == read.database.schema => {
                let (config, said) = member.config.with(read, &self.host)?;
                Ok((config, Some(said)))
            }
            _ => Ok((RuntimeConfig::of(read, &self.host)?, None)),
        }
    }

    fn member(&mut self, config: RuntimeConfig) -> Member {
        self.warn_of_doubts(&config);
        let config = match self.members.values().next_back() {
            Some(other) => RuntimeConfig { schedule: config.schedule.sharing(&other.config.schedule), ..config },
            None => config,
        };
        let watched = Arc::new(WatchedWorkspace {
            name: config.name().to_owned(),
            schema: config.schema().to_owned(),
            objects: config.workspace.object_names(),
            stale_after: config.settings().notify.stale_after,
        });
        Member {
            config: Arc::new(config),
            staleness: self.staleness.another(),
            stop: self.stop.child_token(),
            watched,
            _housekeeping: None,
        }
    }

    /// Says what is probably not meant, once for all workspaces of which it is true.
    fn warn_of_doubts(&mut self, config: &RuntimeConfig) {
        let (daemon, stale_after) = (&config.settings().daemon, config.settings().notify.stale_after);
        let concerned = format!("{} {} {:?} {stale_after:?}", daemon.schedule, daemon.time_zone, daemon.jitter);
        if self.doubts.insert(concerned) {
            for (key, doubt) in config.settings().warnings(Utc::now()) {
                warn!("setting {key:?} {doubt}");
            }
        }
    }

    fn refuse(&mut self, name: String, failure: &CommandError) {
        let why = failure.on_one_line();
        let goes_on = if self.members.contains_key(&name) { "; it goes on with those that it had" } else { "" };
        if self.refused.get(&name) != Some(&why) {
            error!(workspace = name, error = why, "the settings of workspace {name} cannot be used{goes_on}");
        }
        self.refused.insert(name, why);
    }

    /// Takes over settings that were read again. Returns the schemas of the workspaces that have other settings now, and a line that
    /// says so; what is wrong with the only workspace is an error.
    pub(super) fn take_over(&mut self, read: &mut Installation) -> Result<(Vec<String>, String), CommandError> {
        let mut changed = Vec::new();
        let mut said = Vec::new();
        let mut refused = BTreeMap::new();
        let names: Vec<String> = read.workspaces.iter().map(|workspace| workspace.name.clone()).collect();
        let read_again = std::mem::take(&mut read.workspaces);
        let configs = read_again.into_iter().map(|NamedWorkspace { name, settings }| {
            let config = self.config_of(&name, settings);
            (name, config)
        });
        let mut configs: Vec<(String, Result<NewConfig, CommandError>)> = configs.collect();
        self.refuse_kept_schemas(&mut configs);
        for (name, config) in configs {
            match config {
                Ok((_, Some(news))) if !self.is_single && news.ends_with(NOTHING_CHANGED) => {}
                Ok((config, news)) => {
                    changed.push(config.schema().to_owned());
                    said.push((name.clone(), news.unwrap_or_else(|| "added".to_owned())));
                    let mut member = self.member(config);
                    if let Some(before) =
                        self.members.get(&name).filter(|before| before.config.schema() == member.config.schema())
                    {
                        // Its run goes on with the settings that it began with.
                        member.stop = before.stop.clone();
                    } else if let Some(before) = self.members.get(&name) {
                        before.stop.cancel();
                    }
                    self.members.insert(name, member);
                }
                Err(failure) if self.is_single => return Err(failure),
                Err(failure) => {
                    self.refuse(name.clone(), &failure);
                    refused.extend(self.refused.remove_entry(&name));
                }
            }
        }
        self.refused = refused;
        self.members.retain(|name, member| {
            let stays = names.contains(name);
            if !stays {
                member.stop.cancel();
                said.push((name.clone(), "removed; its data stays".to_owned()));
            }
            stays
        });
        self.daemon = DaemonSettings { listen: self.daemon.listen, ..read.shared.daemon.clone() };
        if self.is_single {
            return Ok((changed, said.into_iter().map(|(_, news)| news).collect()));
        }
        for (name, news) in &said {
            info!(workspace = name, "workspace {name}: {news}");
        }
        Ok((changed, format!("settings reloaded; {} of {} workspaces changed", said.len(), names.len())))
    }

    /// A workspace whose settings cannot be used goes on with those that it had, and so with its schema: no other workspace gets that. Then
    /// the other one goes on with the schema that it had, if any, and so forth.
    fn refuse_kept_schemas(&self, configs: &mut [(String, Result<NewConfig, CommandError>)]) {
        loop {
            let kept: BTreeMap<&str, &str> = configs
                .iter()
                .filter(|(_, config)| config.is_err())
                .filter_map(|(name, _)| Some((self.members.get(name)?.config.schema(), name.as_str())))
                .collect();
            let taken = configs.iter().enumerate().find_map(|(index, (_, config))| {
                let schema = config.as_ref().ok()?.0.schema();
                Some((index, schema.to_owned(), (*kept.get(schema)?).to_owned()))
            });
            let Some((index, schema, first)) = taken else { return };
            configs[index].1 = Err(SettingsError::SchemaTaken { schema, first }.into());
        }
    }

    /// Starts what is done for each workspace beside its runs, where it is not done yet.
    pub(super) fn start_housekeeping(&mut self, control: &Arc<Store>) {
        for member in self.members.values_mut().filter(|member| member._housekeeping.is_none()) {
            let config = &member.config;
            member._housekeeping = Some([
                member.staleness.watch(control, &config.notifier, &config.workspace),
                housekeeping::deliver(control, &config.notifier),
            ]);
        }
    }

    pub(super) fn member_of(&self, schema: &str) -> Option<&Member> {
        self.members.values().find(|member| member.config.schema() == schema)
    }

    /// The only workspace, where the settings name none.
    pub(super) fn only_member(&self) -> Option<&Member> {
        self.members.values().next().filter(|_| self.is_single)
    }

    pub(super) fn schemas(&self) -> Vec<String> {
        self.members.values().map(|member| member.config.schema().to_owned()).collect()
    }

    /// How many runs there may be at the same time.
    pub(super) fn slots(&self) -> usize {
        if self.is_single { 1 } else { self.daemon.slots }
    }

    /// What the health checks watch.
    pub(super) fn watched(&self) -> DaemonState {
        DaemonState {
            workspaces: self.members.values().map(|member| Arc::clone(&member.watched)).collect(),
            refused: self.refused.clone(),
            slots: self.slots(),
            is_single: self.is_single,
            stuck_after: self.daemon.stuck_after,
            ..DaemonState::default()
        }
    }

    /// Puts these workspaces into the calendar: when each is due by its schedule, counted from its last run.
    pub(super) async fn enrol(&self, control: &Store, schemas: &[String]) -> Result<(), store::StoreError> {
        let now = Utc::now();
        control
            .transaction_once(async |db| {
                store::limit_lock_waits(&mut *db, LOCKED_FOR).await?;
                let key = store::token_key(&mut *db).await?;
                let starts: BTreeMap<String, DateTime<Utc>> =
                    store::last_good_starts(&mut *db, schemas, DAEMON).await?.into_iter().collect();
                let members =
                    self.members.values().filter(|member| schemas.iter().any(|schema| schema == member.config.schema()));
                let enrolments: Vec<Enrolment> = members
                    .map(|member| Enrolment {
                        workspace: member.config.schema().to_owned(),
                        name: member.config.name().to_owned(),
                        token_hash: member.config.workspace.token_hash(&key),
                        next_run_at: member.config.schedule.due(starts.get(member.config.schema()).copied(), now),
                    })
                    .collect();
                store::enrol(db, &enrolments).await
            })
            .await
    }
}

/// What a workspace works by from now on, and what has changed; nothing is said of one that is new.
type NewConfig = (RuntimeConfig, Option<String>);

/// What tells this machine from others. Either file may be hidden from a service.
fn host() -> String {
    let of_host = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
    of_host.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default().trim().to_owned()
}

/// How the news of a reload ends that has changed nothing.
const NOTHING_CHANGED: &str = "nothing has changed";
