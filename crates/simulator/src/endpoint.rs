//! The list endpoints of Planhat as data.
//!
//! Limits and hidden records are the documented ones; where Planhat documents none, they are those that public clients use. The
//! fixtures of the demo are in the same table, so an endpoint without fixtures does not compile.

use planhat_model::capability::HiddenListing;

/// One list endpoint, `GET /{path}`.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// Records per page when the client names no `limit`.
    pub(super) default_limit: usize,
    /// A larger `limit` is clamped to this without a word, unless a test has it otherwise.
    pub(super) max_limit: usize,
    pub(super) hides: Option<Hides>,
    /// The property that a user's edit moves. Half of the objects have none.
    pub(super) modified: Option<&'static str>,
    /// A JSON array of records, real in shape and invented in value.
    pub(super) fixture: &'static str,
}

/// Which records a plain listing leaves out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hides {
    /// The property that marks them. The query parameter that asks for them has the same name.
    pub(super) mark: &'static str,
    /// What the parameter does, unless a test has it otherwise.
    pub(super) asked_for: HiddenListing,
}

pub(super) fn endpoint(path: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path)
}

const fn row(
    path: &'static str,
    [default_limit, max_limit]: [usize; 2],
    hides: Option<Hides>,
    modified: Option<&'static str>,
    fixture: &'static str,
) -> Endpoint {
    Endpoint { path, default_limit, max_limit, hides, modified, fixture }
}

const UPDATED_AT: Option<&str> = Some("updatedAt");
const NOTHING: Option<Hides> = None;
const ARCHIVED: Option<Hides> = Some(Hides { mark: "archived", asked_for: HiddenListing::Adds });
const IS_ARCHIVED: Option<Hides> = Some(Hides { mark: "isArchived", asked_for: HiddenListing::Replaces });

#[rustfmt::skip]
pub(super) static ENDPOINTS: [Endpoint; 25] = [
    row("companies",     [100,    5000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/companies.json")),
    row("endusers",      [100,    2000],   ARCHIVED,    UPDATED_AT,    include_str!("../../../fixtures/endusers.json")),
    row("licenses",      [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/licenses.json")),
    row("opportunities", [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/opportunities.json")),
    row("projects",      [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/projects.json")),
    row("tasks",         [500,    10_000], IS_ARCHIVED, UPDATED_AT,    include_str!("../../../fixtures/tasks.json")),
    row("tickets",       [500,    10_000], NOTHING,     Some("updateDate"),include_str!("../../../fixtures/tickets.json")),
    row("nps",           [100,    10_000], NOTHING,     None,          include_str!("../../../fixtures/nps.json")),
    row("conversations", [30,     2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/conversations.json")),
    row("assets",        [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/assets.json")),
    row("churn",         [100,    1000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/churn.json")),
    row("issues",        [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/issues.json")),
    row("users",         [10_000, 10_000], NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/users.json")),
    row("invoices",      [100,    2000],   NOTHING,     Some("lastUpdated"),include_str!("../../../fixtures/invoices.json")),
    row("campaigns",     [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/campaigns.json")),
    row("objectives",    [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/objectives.json")),
    row("sales",         [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/sales.json")),
    row("workspaces",    [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/workspaces.json")),
    row("workflows",     [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/workflows.json")),
    row("timeentries",   [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/timeentries.json")),
    row("timesheets",    [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/timesheets.json")),
    row("deals",         [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/deals.json")),
    row("lineitems",     [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/lineitems.json")),
    row("products",      [100,    2000],   NOTHING,     UPDATED_AT,    include_str!("../../../fixtures/products.json")),
    row("customfields",  [100,    2000],   NOTHING,     None,          include_str!("../../../fixtures/customfields.json")),
];
