//! Variables of the environment that look like ours and are not: a misspelt name would otherwise be left out without a word.
//!
//! `PLANHAT_SYNC__…` is refused where it is not a setting. Other names can belong to another program, so they are a warning.

use std::collections::{BTreeSet, HashMap};

use super::secrets::{customary_names, variable_of};

/// How similar a name that begins with DATABASE_ has to be, since other programs have such names too.
const LIKELY: f64 = 0.93;

/// How similar what stands behind `PLANHAT_SYNC` has to be to a setting.
const LIKELY_SETTING: f64 = 0.9;

/// What is probably not meant, each as a sentence; no value is shown. `settings` are the keys that there are.
pub(super) fn doubts(environment: &HashMap<String, String>, settings: &BTreeSet<String>) -> Vec<String> {
    let known: Vec<String> = customary_names().chain(["PLANHAT_API_URL".to_owned()]).collect();
    let is_known = |name: &str| known.iter().any(|known| known == name) || name.starts_with("PLANHAT_SYNC__");
    let mut doubts: Vec<String> = environment
        .keys()
        .filter(|name| !is_known(name) && !is_of_orchestrator(name))
        .filter_map(|name| {
            let upper = name.to_uppercase();
            if let Some(given) = upper.strip_prefix("PLANHAT_SYNC_") {
                let meant = setting_meant(given, settings, &known).map(|meant| format!("; did you mean {meant}?"));
                return Some(format!("the variable {name} is not known and has no effect{}", meant.unwrap_or_default()));
            }
            let (likeness, nearest) = nearest(&upper, &known)?;
            if upper.starts_with("PLANHAT") {
                let meant = if likeness > 0.8 { format!("; did you mean {nearest}?") } else { String::new() };
                Some(format!("the variable {name} is not known and has no effect{meant}"))
            } else {
                let is_likely = upper.starts_with("DATABASE") && likeness > LIKELY;
                is_likely.then(|| format!("the variable {name} has no effect; did you mean {nearest}?"))
            }
        })
        .collect();
    doubts.extend(without_database(environment));
    doubts.sort();
    doubts
}

/// Variables of a database, where nothing says that it is the one to use.
fn without_database(environment: &HashMap<String, String>) -> Option<String> {
    let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.trim().is_empty());
    let ours = ["database.url", "database.url_file"].map(variable_of);
    if ["DATABASE_URL", "DATABASE_URL_FILE"].into_iter().chain(ours.iter().map(String::as_str)).any(is_set) {
        return None;
    }
    if environment.contains_key("DATABASE_URL") {
        return Some("the variable DATABASE_URL is set and empty, which counts as not set".to_owned());
    }
    let host = ["PGHOST", "PGDATABASE", "PGSERVICE"].into_iter().find(|name| is_set(name))?;
    Some(format!("{host} alone names no database; set DATABASE_URL to postgres:// too, and {host} and the like are used"))
}

/// What Kubernetes and Docker set for each service of the same name.
fn is_of_orchestrator(name: &str) -> bool {
    name.ends_with("_PORT") || ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_ENV_"].iter().any(|part| name.contains(part))
}

/// The variable that a name like `PLANHAT_SYNC_PLANHAT__PAGE_SIZE` was meant for; `given` is what stands behind `PLANHAT_SYNC_`.
/// Most often an underscore is missing, or one too many, so they are not compared.
fn setting_meant(given: &str, settings: &BTreeSet<String>, customary: &[String]) -> Option<String> {
    let bare = |text: &str| text.to_uppercase().replace(['.', '_'], "");
    let customary = customary.iter().map(|name| (bare(name.trim_start_matches("PLANHAT_")), name.clone()));
    let known = customary.chain(settings.iter().map(|key| (bare(key), variable_of(key))));
    let alike = known.map(|(name, variable)| (strsim::jaro_winkler(&bare(given), &name), variable));
    let (likeness, meant) = alike.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness > LIKELY_SETTING).then_some(meant)
}

fn nearest<'a>(name: &str, known: &'a [String]) -> Option<(f64, &'a str)> {
    let likeness = |known: &'a String| (strsim::jaro_winkler(name, known), known.as_str());
    known.iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> String {
        doubts_of(&names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()).join("\n")
    }

    fn doubts_of(environment: &HashMap<String, String>) -> Vec<String> {
        let settings = ["planhat.token", "planhat.page_size", "database.url", "database.url_file", "sync.lookback"];
        doubts(environment, &settings.map(str::to_owned).into())
    }

    #[test]
    fn names_that_look_like_ours_are_reported_with_the_nearest() {
        insta::assert_snapshot!(found(&[
            "PLANHAT_API_TOKN",
            "PLANHAT_TOKEN",
            "planhat_api_token",
            "PLANHAT_SYNC_PLANHAT__TOKEN",
            "PLANHAT_SYNC_PLANHAT__PAGE_SIZE",
            "PLANHAT_SYNC_SYNC_LOOKBAK",
            "PLANHAT_SYNC_API_TOKEN",
            "PLANHAT_SYNC_HOME",
            "PLANHAT_API_TOKENFILE",
            "DATABASE_URI",
            "DATABASE_URL_FIL",
            "DATABASE_PASSWORD",
            "DATABASEURL",
            "Database_Url",
        ]), @"
        the variable DATABASEURL has no effect; did you mean DATABASE_URL?
        the variable DATABASE_PASSWORD has no effect; did you mean DATABASE_PASSWORD_FILE?
        the variable DATABASE_URI has no effect; did you mean DATABASE_URL?
        the variable DATABASE_URL_FIL has no effect; did you mean DATABASE_URL_FILE?
        the variable Database_Url has no effect; did you mean DATABASE_URL?
        the variable PLANHAT_API_TOKENFILE is not known and has no effect; did you mean PLANHAT_API_TOKEN_FILE?
        the variable PLANHAT_API_TOKN is not known and has no effect; did you mean PLANHAT_API_TOKEN?
        the variable PLANHAT_SYNC_API_TOKEN is not known and has no effect; did you mean PLANHAT_API_TOKEN?
        the variable PLANHAT_SYNC_HOME is not known and has no effect
        the variable PLANHAT_SYNC_PLANHAT__PAGE_SIZE is not known and has no effect; did you mean PLANHAT_SYNC__PLANHAT__PAGE_SIZE?
        the variable PLANHAT_SYNC_PLANHAT__TOKEN is not known and has no effect; did you mean PLANHAT_SYNC__PLANHAT__TOKEN?
        the variable PLANHAT_SYNC_SYNC_LOOKBAK is not known and has no effect; did you mean PLANHAT_SYNC__SYNC__LOOKBACK?
        the variable PLANHAT_TOKEN is not known and has no effect; did you mean PLANHAT_API_TOKEN?
        the variable planhat_api_token is not known and has no effect; did you mean PLANHAT_API_TOKEN?
        ");
    }

    #[test]
    fn names_of_other_programs_are_left_alone() {
        let names = [
            "DATABASE_URL",
            "DATABASE_URL_FILE",
            "PLANHAT_API_TOKEN",
            "PLANHAT_API_URL",
            "PLANHAT_SYNC__SYNC__LOOKBACK",
            "DATABASE_HOST",
            "DATABASE_NAME",
            "DATABASE_PORT",
            "DATABASE_SERVICE_HOST",
            "PLANHAT_SYNC_SERVICE_HOST",
            "PLANHAT_SYNC_PORT",
            "PLANHAT_SYNC_PORT_9437_TCP_ADDR",
            "PGHOST",
        ];
        assert_eq!(found(&names), "");
    }

    #[test]
    fn a_database_that_is_named_only_halfway_is_reported() {
        assert!(found(&["PGHOST"]).contains("set DATABASE_URL to postgres:// too"));
        assert!(doubts_of(&[("DATABASE_URL".to_owned(), " ".to_owned())].into())[0].contains("set and empty"));
    }
}
