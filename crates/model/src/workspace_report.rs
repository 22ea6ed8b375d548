//! What a probe of a workspace has found: what was learned, the shapes of records, and how Planhat answered.
//!
//! This is what `check --probe --report` writes, and what the simulator behaves by. It has no value of a record, no id and no
//! name that is not documented, because a report is made to be handed on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capability::HiddenListing;
use crate::record_shapes::ShapeCounts;

/// The format of a report. A report of another format is not read.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceReport {
    pub format: u32,
    /// The version of the tool that made it.
    pub version: String,
    /// What a 429 carries, if one was seen.
    pub throttling: Option<Throttling>,
    pub dimensiondata: DimensionDataReport,
    /// By the name of the object.
    pub objects: BTreeMap<String, ObjectReport>,
}

/// What was found of one object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// The status of the plain listing; none if there was no answer.
    pub status: Option<u16>,
    /// What the parameter that asks for archived records does; none if that is not known.
    pub hidden: Option<HiddenListing>,
    /// By the property; one of which nothing is known is not here.
    pub sorts: BTreeMap<String, SortAnswer>,
    /// What a limit over the documented maximum did, if this object was asked.
    pub over_limit: Option<OverLimitReport>,
    /// The shapes of the records on the first pages of its listings.
    pub records: ShapeCounts,
    /// In the order of the requests.
    pub answers: Vec<AnswerReport>,
}

/// Whether a listing comes in the order that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortAnswer {
    Honoured,
    Ignored,
}

/// What a limit over the documented maximum did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverLimitReport {
    pub asked: usize,
    pub answer: OverLimitAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLimitAnswer {
    /// The page had as many records as were asked for.
    Answered,
    /// The page had this many, though there were more.
    ClampedTo(usize),
    /// The answer had this status.
    RefusedWith(u16),
    /// The page had all records, which were fewer than the maximum: that proves no more than that the request is not refused.
    NotRefused,
}

/// What a 429 carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Throttling {
    /// How long to wait.
    #[serde(rename = "Retry-After")]
    RetryAfter,
    #[serde(rename = "nothing")]
    Nothing,
}

impl Throttling {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Throttling::RetryAfter => "Retry-After",
            Throttling::Nothing => "nothing",
        }
    }

    pub fn from_name(name: &str) -> Option<Throttling> {
        [Throttling::RetryAfter, Throttling::Nothing].into_iter().find(|throttling| throttling.as_str() == name)
    }
}

/// The statuses with which `/dimensiondata` answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DimensionDataReport {
    pub whole_workspace: Option<u16>,
    pub one_company: Option<u16>,
    pub answers: Vec<AnswerReport>,
}

/// One request and its answer, by what they weigh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerReport {
    /// What was asked for, in our words: the query without a value that is not ours.
    pub request: String,
    /// None if there was no answer.
    pub status: Option<u16>,
    pub records: Option<usize>,
    /// The length of the body, uncompressed.
    pub bytes: u64,
    pub milliseconds: u64,
    /// The names of the headers; values only of those that are the same for everybody.
    pub headers: BTreeMap<String, Option<String>>,
}
