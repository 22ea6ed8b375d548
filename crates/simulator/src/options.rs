//! How the server behaves: what the documentation leaves open, and what the API may do to a client.
//!
//! All of it may change while a client reads, also at the moment of a request: see [`Simulator::set_options`] and
//! [`Source::set_options`].
//!
//! [`Simulator::set_options`]: super::Simulator::set_options
//! [`Source::set_options`]: super::Source::set_options

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use planhat_model::capability::HiddenListing;

/// How the server behaves. The default is a well-behaved Planhat.
#[derive(Debug, Clone)]
pub struct Options {
    /// The token that is valid.
    pub token: String,
    /// Objects answered with 403, as for an app without the permission.
    pub forbidden: BTreeSet<String>,
    /// Objects answered with 404, as for a tenant without the model.
    pub missing: BTreeSet<String>,
    /// The most records of a page, on top of the documented maxima.
    pub max_limit: Option<usize>,
    /// When false, `sort` is ignored and records come in the order they were made.
    pub honours_sort: bool,
    /// When false, every page is the first one.
    pub honours_offset: bool,
    /// What single objects do in another way. One that is not named does as the rest of the options says.
    pub objects: BTreeMap<String, ObjectOptions>,
    /// How `/dimensiondata` is answered.
    pub dimension_data: DimensionData,
    /// How long every answer takes.
    pub latency: Duration,
    /// More calls than this are answered with 429.
    pub quota: Option<Quota>,
}

/// How one object behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// What the parameter that asks for archived records does. None: end users are added, tasks come alone.
    pub hidden: Option<HiddenListing>,
    pub sorts: Sorts,
    /// The most records of a page, in place of the documented maximum.
    pub max_limit: Option<usize>,
    pub over_limit: OverLimit,
}

/// Which sorts of a listing are honoured. Where one is not, records come in the order they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sorts {
    #[default]
    Honoured,
    Ignored,
    /// Those by these properties are ignored, all others honoured.
    IgnoredBy(BTreeSet<String>),
}

/// What a limit over the maximum does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OverLimit {
    /// The page has as many records as the maximum.
    #[default]
    Clamped,
    /// The request is answered with this status.
    Refused(u16),
    /// The page has as many records as were asked for.
    Answered,
}

/// The status of answers of `/dimensiondata`: 200 with an empty list, any other with a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DimensionData {
    pub whole_workspace: u16,
    /// With `cId`.
    pub one_company: u16,
}

/// How many calls the server answers in any stretch of time of a given length.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    pub calls: usize,
    pub within: Duration,
    /// Whether a 429 says, in `Retry-After`, when the next call will be answered.
    pub sends_retry_after: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: "simulated-token".to_owned(),
            forbidden: BTreeSet::new(),
            missing: BTreeSet::new(),
            max_limit: None,
            honours_sort: true,
            honours_offset: true,
            objects: BTreeMap::new(),
            dimension_data: DimensionData::default(),
            latency: Duration::ZERO,
            quota: None,
        }
    }
}

impl Default for DimensionData {
    fn default() -> Self {
        Self { whole_workspace: 404, one_company: 404 }
    }
}

impl Options {
    /// How one object behaves, to be changed.
    pub fn object(&mut self, name: &str) -> &mut ObjectOptions {
        self.objects.entry(name.to_owned()).or_default()
    }

    /// Whether a listing comes in the order of `sort`: a property, with `-` in front for descending.
    pub(super) fn honours(&self, object: &str, sort: &str) -> bool {
        let property = sort.strip_prefix('-').unwrap_or(sort);
        self.honours_sort
            && match self.objects.get(object).map(|object| &object.sorts) {
                None | Some(Sorts::Honoured) => true,
                Some(Sorts::Ignored) => false,
                Some(Sorts::IgnoredBy(properties)) => !properties.contains(property),
            }
    }

    /// How many records the answer to a request for `wanted` may have, or the status that refuses it.
    pub(super) fn page_limit(&self, object: &str, documented_max: usize, wanted: usize) -> Result<usize, u16> {
        let of_object = self.objects.get(object);
        let most = of_object.and_then(|object| object.max_limit).unwrap_or(documented_max);
        let most = self.max_limit.unwrap_or(usize::MAX).min(most);
        match of_object.map(|object| object.over_limit).unwrap_or_default() {
            _ if wanted <= most => Ok(wanted),
            OverLimit::Clamped => Ok(most),
            OverLimit::Refused(status) => Err(status),
            OverLimit::Answered => Ok(wanted),
        }
    }
}
