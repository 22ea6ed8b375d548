//! The settings per object, `[objects.NAME]`: privacy rules, properties that are ignored when comparing, and how far back its
//! records are loaded.

use planhat_model::catalog;
use planhat_model::catalog::{ByObject, Object};
use planhat_model::rules::{FieldMap, NamedField, Rule, Rules, named};
use planhat_model::scan::History;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::validation::check_history;
use super::values::{history_if_any, names, names_if_any, objects_named};
use super::{Settings, SettingsError};

/// Shorter ones can be tried out.
const SHORTEST_KEY_BYTES: usize = 16;
/// The keys there are: lists of names, and the history.
pub(super) const KEYS: [&str; 6] = ["include", "exclude", "hash", "redact", "ignore_changes", "history"];

/// What is set for one object: names of its properties and custom fields, and its history.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PropertySettings {
    #[serde(deserialize_with = "names_if_any")]
    include: Option<Vec<String>>,
    #[serde(deserialize_with = "names")]
    exclude: Vec<String>,
    #[serde(deserialize_with = "names")]
    hash: Vec<String>,
    #[serde(deserialize_with = "names")]
    redact: Vec<String>,
    #[serde(deserialize_with = "names")]
    ignore_changes: Vec<String>,
    #[serde(deserialize_with = "history_if_any")]
    pub(super) history: Option<History>,
}

impl Settings {
    /// Every name in the rules for objects: setting, object, and the name as it is written there.
    pub fn names_of_properties(&self) -> impl Iterator<Item = (String, &'static Object, &str)> {
        self.objects.iter().filter_map(|(name, of)| Some((catalog::object(name)?, of))).flat_map(|(object, of)| {
            of.lists().into_iter().flat_map(move |(list, names)| {
                names.iter().map(move |name| (format!("objects.{}.{list}", object.name), object, name.as_str()))
            })
        })
    }

    /// How far back the records of objects are loaded for which that is set.
    pub(super) fn histories(&self) -> Result<ByObject<History>, SettingsError> {
        let mut histories = ByObject::new();
        for (name, of) in &self.objects {
            let object = objects_named(&[name])?.remove(0).name;
            if let Some(history) = of.history {
                check_history(&format!("objects.{object}.history"), history)?;
                histories.insert(object, history);
            }
        }
        Ok(histories)
    }

    /// What is said of the properties of objects, as far as it makes sense. `has_key` is whether there is, or will be, a key to hash
    /// with.
    pub(super) fn property_rules(&self, has_key: bool) -> Result<(ByObject<Rules>, ByObject<FieldMap<()>>), SettingsError> {
        let key = self.privacy.hash_key.as_ref();
        if key.is_some_and(|key| key.expose_secret().len() < SHORTEST_KEY_BYTES) {
            let problem = format!("is shorter than {SHORTEST_KEY_BYTES} characters; `openssl rand -hex 32` makes a good one");
            return Err(SettingsError::Bad { key: "privacy.hash_key".to_owned(), problem });
        }
        let (mut rules, mut ignore_changes) = (ByObject::new(), ByObject::new());
        for (name, of) in &self.objects {
            let object = objects_named(&[name])?.remove(0).name;
            let bad = |list: &str, problem| SettingsError::Bad { key: format!("objects.{object}{list}"), problem };
            of.check(has_key).map_err(|(list, problem)| bad(&format!(".{list}"), problem))?;
            let said = of.rules().map_err(|problem| bad("", problem))?;
            if !said.is_empty() {
                // The token may be the key: a person who has it can read the records anyway.
                let rules_of_object = Rules::new(said, key).with_identity_key(self.planhat.token.as_ref());
                rules.insert(object, rules_of_object);
            }
            let mut moving = FieldMap::default();
            of.ignore_changes.iter().for_each(|name| _ = moving.insert(name, ()));
            ignore_changes.insert(object, moving);
        }
        Ok((rules, ignore_changes))
    }
}

impl PropertySettings {
    fn include(&self) -> &[String] {
        self.include.as_deref().unwrap_or_default()
    }

    pub(super) fn lists(&self) -> [(&'static str, &[String]); 5] {
        let PropertySettings { exclude, hash, redact, ignore_changes, .. } = self;
        [
            ("include", self.include()),
            ("exclude", exclude),
            ("hash", hash),
            ("redact", redact),
            ("ignore_changes", ignore_changes),
        ]
    }

    /// Looks for what makes no sense in a list by itself.
    fn check(&self, has_key: bool) -> Result<(), (&'static str, String)> {
        if self.include.is_some() && self.include().is_empty() {
            return Err(("include", "is an empty list: remove it, or list what is to be stored".to_owned()));
        }
        if !self.hash.is_empty() && !has_key {
            let problem = "needs a key: set privacy.hash_key or privacy.hash_key_file (`openssl rand -hex 32` makes one)";
            return Err(("hash", problem.to_owned()));
        }
        for (list, names) in self.lists() {
            if let Some((name, problem)) = names.iter().find_map(|name| Some((name, why_no_property(name)?))) {
                return Err((list, format!("names {name:?}, {problem}")));
            }
        }
        Ok(())
    }

    fn rules(&self) -> Result<FieldMap<Rule>, String> {
        let mut said = FieldMap::default();
        for (rule, names) in [
            (Rule::Include, self.include()),
            (Rule::Exclude, &self.exclude),
            (Rule::Hash, &self.hash),
            (Rule::Redact, &self.redact),
        ] {
            for name in names {
                if said.insert(name, rule).is_some_and(|before| before != rule) {
                    let others = self.lists().into_iter().flat_map(|(_, names)| names);
                    let other = others.into_iter().find(|other| *other != name && named(other) == named(name));
                    let twice = match other {
                        Some(other) => format!("{other:?} and {name:?}, which mean the same"),
                        None => format!("{name:?} twice"),
                    };
                    return Err(format!("names {twice}: only one of include, exclude, hash and redact can be right"));
                }
            }
        }
        Ok(said)
    }
}

/// Why a name can be none of a property that there may be rules for.
fn why_no_property(name: &str) -> Option<String> {
    let why = match named(name) {
        NamedField::AllCustom => return None,
        NamedField::Custom(field) if field.is_empty() => "which is not a name",
        _ if name.contains('\0') => "with a NUL character; write \u{2400} for it, as in planhat_sync.columns",
        NamedField::Custom(_) => return None,
        NamedField::Property(property) => return why_no_such_property(name, &property),
    };
    Some(why.to_owned())
}

fn why_no_such_property(name: &str, property: &str) -> Option<String> {
    let why = match property {
        "_id" => "the primary key, which is always stored unchanged",
        "" => "which is not a name",
        _ if property != name => "with blanks or characters that nobody sees, which no property name has",
        _ if property.starts_with("planhat__") => {
            "a column; write the name at Planhat, as `planhat-sync schema OBJECT` shows it, custom fields as \"custom.NAME\""
        }
        _ => match property.split_once('.') {
            Some((prefix, field)) if prefix.to_lowercase() == "custom" => {
                return Some(format!("a custom field; write \"custom.{field}\""));
            }
            // A rule for it would cover nothing.
            Some((whole, _)) => return Some(format!("a part of a property; a rule covers all of it: write {whole:?}")),
            None => return None,
        },
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use planhat_model::record::Origin::{Custom, Property};

    use super::super::tests::{file, load, message, with};
    use super::*;

    #[test]
    fn privacy_rules_of_an_object_are_set_in_a_section_of_their_own() {
        let file = file(
            "[privacy]\nhash_key = 'sixteen or more characters'\n[objects.endusers]\nexclude = ['phone', 'custom.Days, left']\n\
             hash = ['email']\nignore_changes = ['usage', 'custom.Age']\n[objects.companies]\nredact = ['custom']\n",
        );
        let settings =
            load(Some(file.path()), [("PLANHAT_SYNC__OBJECTS__NPS__HASH".into(), "email, comment".into())].into()).unwrap();
        let rule = |object, origin, name| settings.rules[object].of(origin, name);
        assert_eq!(rule("endusers", Property, "phone"), Rule::Exclude);
        assert_eq!(rule("endusers", Custom, "Days, left"), Rule::Exclude);
        assert_eq!((rule("endusers", Property, "email"), rule("nps", Property, "comment")), (Rule::Hash, Rule::Hash));
        assert_eq!((rule("companies", Custom, "x"), rule("companies", Property, "x")), (Rule::Redact, Rule::Include));
        let ignore_changes = &settings.ignore_changes["endusers"];
        assert!(ignore_changes.of(Property, "usage").is_some() && ignore_changes.of(Custom, "usage").is_none());
        assert!(!settings.rules.contains_key("users"));
    }

    #[test]
    fn a_name_means_the_field_that_looks_like_it_in_a_file_and_in_the_environment() {
        let file = file("[objects.endusers]\nexclude = ['custom.Gr\u{f6}sse', 'custom.Notes ', 'custom.a.b']\n");
        let environment = [
            ("PLANHAT_SYNC__OBJECTS__NPS__EXCLUDE".into(), "custom.Gro\u{308}sse,\u{feff}custom.Notes\u{a0}, custom.a.b".into()),
            ("PLANHAT_SYNC__OBJECTS__TASKS__IGNORE_CHANGES".into(), "custom. Gro\u{308}sse ".into()),
        ];
        let settings = load(Some(file.path()), environment.into()).unwrap();
        for object in ["endusers", "nps"] {
            for name in ["Gr\u{f6}sse", "Gro\u{308}sse", "Gro\u{308}sse\u{a0}", "Notes", " Notes", "a.b"] {
                assert_eq!(settings.rules[object].of(Custom, name), Rule::Exclude, "{object} {name:?}");
            }
            assert_eq!(settings.rules[object].of(Custom, "notes"), Rule::Include);
        }
        assert!(settings.ignore_changes["tasks"].of(Custom, "Gr\u{f6}sse").is_some());
    }

    #[test]
    fn the_history_of_an_object_is_a_duration_or_all() {
        let file =
            file("[objects.conversations]\nhistory = '1year'\n[objects.companies]\nhistory = 'all'\nexclude = ['phone']\n");
        let variable = ("PLANHAT_SYNC__OBJECTS__TICKETS__HISTORY".to_owned(), "all".to_owned());
        let settings = load(Some(file.path()), [variable].into()).unwrap();
        let day = 24 * 3600;
        assert_eq!(settings.histories["companies"], History::All);
        assert_eq!(settings.histories["tickets"], History::All);
        let History::Within(year) = settings.histories["conversations"] else { panic!("a year has an end") };
        assert_eq!(year.as_secs() / day, 365);
        assert!(settings.rules.contains_key("companies") && !settings.rules.contains_key("tickets"));
        assert_eq!(settings.histories.len(), 3);
    }

    #[test]
    fn a_history_that_loads_nothing_or_is_no_time_is_refused_with_one_that_works() {
        let refused = |value| message(with(&[("PLANHAT_SYNC__OBJECTS__TASKS__HISTORY", value)]));
        insta::assert_snapshot!(["0s", "300years", "ten years", "everything"].map(refused).join("\n"), @r#"
        setting "objects.tasks.history" is "0s": a first load would leave out every record that has a time; "all" loads all records, the default is "4years"
        setting "objects.tasks.history" is longer than 200 years; "all" loads all records
        could not read the settings: "ten years" is neither "all" nor a duration like "4years" or "90days": expected number at 0 for key `objects.tasks.history`
        could not read the settings: "everything" is neither "all" nor a duration like "4years" or "90days": expected number at 0 for key `objects.tasks.history`
        "#);
    }

    #[test]
    fn contradictory_privacy_rules_are_refused_with_what_to_do() {
        let refused = |text: &str| {
            let file = file(text);
            message(load(Some(file.path()), HashMap::new())).replace(&file.path().display().to_string(), "FILE")
        };
        let all = [
            "[objects.endusers]\nhash = ['email']\n",
            "[privacy]\nhash_key = 'short'\n",
            "[objects.endusers]\nexclude = ['_id']\n",
            "[objects.endusers]\nignore_changes = ['_id']\n",
            "[objects.endusers]\nexclude = ['phone']\nredact = ['phone']\n",
            "[objects.endusers]\nexclude = ['custom']\nredact = ['custom.*']\n",
            "[objects.endusers]\ninclude = []\n",
            "[objects.endusers]\nexclude = ['planhat__phone']\n",
            "[objects.endusers]\nexclude = ['custom.']\n",
            "[objects.endusers]\nexclude = ['phone ']\n",
            "[objects.endusers]\nexclude = ['custom. \u{200b}']\n",
            "[objects.endusers]\nexclude = ['Custom.Notes']\n",
            "[objects.endusers]\nexclude = ['owner.nickName']\n",
            "[objects.endusers]\nexclude = ['custom.Gr\u{f6}sse']\nredact = ['custom.Gro\u{308}sse']\n",
            "[objects.endusers]\nexclude = ['custom.Notes']\nredact = ['custom.Notes ']\n",
            "[objects.endusers]\nexlude = ['phone']\n",
            "[objects.enduser]\nexclude = ['phone']\n",
            "[objects.enduser]\n",
            "[privacy]\nhash_key_file = '/nowhere/key'\n",
            "objects = ['endusers']\n",
        ];
        insta::assert_snapshot!(all.map(refused).join("\n"), @r#"
        setting "objects.endusers.hash" needs a key: set privacy.hash_key or privacy.hash_key_file (`openssl rand -hex 32` makes one)
        setting "privacy.hash_key" is shorter than 16 characters; `openssl rand -hex 32` makes a good one
        setting "objects.endusers.exclude" names "_id", the primary key, which is always stored unchanged
        setting "objects.endusers.ignore_changes" names "_id", the primary key, which is always stored unchanged
        setting "objects.endusers" names "phone" twice: only one of include, exclude, hash and redact can be right
        setting "objects.endusers" names "custom" and "custom.*", which mean the same: only one of include, exclude, hash and redact can be right
        setting "objects.endusers.include" is an empty list: remove it, or list what is to be stored
        setting "objects.endusers.exclude" names "planhat__phone", a column; write the name at Planhat, as `planhat-sync schema OBJECT` shows it, custom fields as "custom.NAME"
        setting "objects.endusers.exclude" names "custom.", which is not a name
        setting "objects.endusers.exclude" names "phone ", with blanks or characters that nobody sees, which no property name has
        setting "objects.endusers.exclude" names "custom. \u{200b}", which is not a name
        setting "objects.endusers.exclude" names "Custom.Notes", a custom field; write "custom.Notes"
        setting "objects.endusers.exclude" names "owner.nickName", a part of a property; a rule covers all of it: write "owner"
        setting "objects.endusers" names "custom.Grösse" and "custom.Gro\u{308}sse", which mean the same: only one of include, exclude, hash and redact can be right
        setting "objects.endusers" names "custom.Notes" and "custom.Notes ", which mean the same: only one of include, exclude, hash and redact can be right
        unknown setting "objects.endusers.exlude" in FILE; did you mean "objects.endusers.exclude"?
        unknown setting "objects.enduser.exclude" in FILE; did you mean "objects.endusers.exclude"?
        unknown object "enduser"; did you mean "endusers"? (the objects are companies, endusers, licenses, opportunities, projects, tasks, tickets, nps, conversations, assets, churn, issues, users, invoices, campaigns, objectives, sales, workflows, workspaces, timeentries, timesheets, deals, lineitems, products, customfields)
        could not read the hash key from /nowhere/key: No such file or directory (os error 2)
        unknown setting "objects" in FILE; did you mean "planhat.objects"?
        "#);
    }
}
