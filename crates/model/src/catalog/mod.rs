//! The objects as data: one entry per list endpoint of Planhat.
//!
//! The facts and who says so are in docs/planhat-api.md: its table of list endpoints has the same page sizes, times and
//! parameters, which a test compares. A property that is documented with more than one type has a `jsonb` column, which holds
//! all of them. A number that only identifies something (of an invoice, of a device) is a text: people type it freely. A property
//! may be missing here: its column is created when it first appears.
//! What holds of a property in every object is in `everywhere.rs`.

mod everywhere;
mod object;
mod reference;

pub use everywhere::{column_name_of, is_set, kind_elsewhere, renamed_to};
pub use object::{Answer, ByObject, ColumnType, DefaultHistory, Object, Properties};
pub use reference::{Reference, ReferenceShape, Role};

/// Parameter that lists archived end users too.
const ARCHIVED: Option<&str> = Some("archived");
/// Parameter that lists archived (completed) tasks.
const IS_ARCHIVED: Option<&str> = Some("isArchived");

/// Most objects name their company and their owner so, if they have one.
const COMPANY: Reference = Reference::company("companyId");
const OWNER: Reference = Reference::owner("ownerId");
/// The people at the customer who took part: objects with `id` and `name`, or ids.
const END_USERS: Reference = Reference::end_user("endusers").shaped(ReferenceShape::Objects);
/// The members of the team who took part.
const USERS: Reference = Reference::objects("users", "users");
const FOLLOWERS: Reference = Reference::objects("followers", "users");

/// What holds for an object where its entry says nothing: switched on by the user, no record time
/// known, every page read and every record compared.
const PLAIN: Object = Object {
    name: "",
    model: "",
    action_noun: "",
    answer: None,
    max_limit: 100,
    by_default: false,
    modified: &[],
    dated: &[],
    is_event: false,
    history: DefaultHistory::AsConfigured,
    occurred: &[],
    created: &["createdAt", "createDate", "createAt"],
    references: &[COMPANY, OWNER],
    sweeps: &[],
    hidden: None,
    ignore_changes: &[],
    properties: NONE,
};
const NONE: Properties = Properties { text: &[], number: &[], boolean: &[], time: &[], json: &[] };

/// All objects that can be read, the default ones first.
pub static OBJECTS: &[Object] = &[
    Object {
        name: "companies",
        model: "Company",
        action_noun: "Company",
        max_limit: 5000,
        by_default: true,
        modified: &["updatedAt", "lastUpdated"],
        dated: &["lastTouch", "lastTouchTime", "lastActive", "lastActiveTime", "createdAt", "createDate"],
        // `lastTouch` is the last customer contact, so an edit does not move it; the second sweep sees edits.
        sweeps: &["lastTouch", "updatedAt"],
        ignore_changes: &["renewalDaysFromNow", "daysInPhase", "nrr30"],
        references: &[
            Reference::owner("owner").shaped(ReferenceShape::IdOrObject),
            Reference::id_or_object("coOwner", "users"),
            Reference::objects("collaborators", "users"),
            FOLLOWERS,
            Reference::id("headId", "companies"),
            Reference::id("orgRootId", "companies"),
        ],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "name", "slug", "phase", "status", "hProfile", "description", "address",
                "country", "city", "zip", "phonePrimary", "phonePrimaryRaw", "web", "website", "lastTouchType", "headId",
                "orgRootId", "orgLevel",
            ],
            number: &[
                "h", "hDiff", "csmScore", "mr", "mrr", "arr", "nrr30", "mrTotal", "mrrTotal", "nrrTotal", "arrTotal",
                "renewalMrr", "renewalArr", "renewalDaysFromNow", "daysInPhase", "sentimentScore", "nps", "orgMrr", "orgArr",
                "orgMrrTotal", "orgArrTotal", "orgHealthTotal", "orgCount", "orgPathCount", "__v",
            ],
            boolean: &["autoRenews", "orgIndependent"],
            time: &[
                "hDiffDate", "renewalDate", "lastRenewal", "customerFrom", "customerTo", "createDate", "createdAt", "updatedAt",
                "lastUpdated", "lastActive", "lastActiveTime", "beatDate", "lastTouch", "lastTouchTime", "nextTouch",
                "nextTouchDate", "phaseSince",
            ],
            json: &[
                "owner", "coOwner", "collaborators", "followers", "domains", "tags", "products", "csmScoreLog",
                "lastTouchByType", "usage", "sunits", "features", "shareable", "sales", "licenses", "alerts", "lastActivities",
                "lastPerformedTriggers", "links", "documents", "orgPath", "orgUnits",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "endusers",
        model: "EndUser",
        action_noun: "Contact",
        max_limit: 2000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["lastTouch", "lastTouchTime", "lastActive", "npsDate", "createdAt", "createDate"],
        sweeps: &["lastTouch", "updatedAt"],
        hidden: ARCHIVED,
        ignore_changes: &["convs14"],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "email", "emailMd5", "firstName", "lastName", "name", "position", "phone",
                "linkedInUrl", "companyId", "companyName", "lastTouchType", "npsComment",
            ],
            number: &[
                "beats", "beatsTotal", "beatTrend", "convs14", "convsTotal", "experience", "relevance", "sentimentScore", "nps",
                "__v",
            ],
            boolean: &["featured", "primary", "archived", "npsUnsubscribed"],
            time: &["lastActive", "lastTouch", "lastTouchTime", "npsDate", "npsSent", "createDate", "createdAt", "updatedAt"],
            json: &[
                "tags", "otherEmails", "personas", "sharedNotificationsPrefs", "lastTouchByType", "lastActivities",
                "relatedEndusers", "usage",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "licenses",
        model: "License",
        action_noun: "License",
        max_limit: 2000,
        by_default: true,
        // No record timestamp is documented or seen; the dates below are business dates.
        ignore_changes: &["renewalDaysFromNow"],
        references: &[COMPANY, OWNER, Reference::id("parent", "licenses")],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "companyId", "companyName", "parent", "product", "renewalUnit", "noticeUnit",
                "renewalStatus", "status", "invoiceCycle", "_currency",
            ],
            number: &[
                "mrr", "arr", "value", "renewalMrr", "renewalArr", "length", "renewalPeriod", "noticePeriod",
                "renewalDaysFromNow", "invoiceCycleInterval", "fcNewMrr", "fcNewArr", "fcNewMrrOptimistic", "fcNewArrOptimistic",
                "fcNewMrrPessimistic", "fcNewArrPessimistic", "__v",
            ],
            boolean: &["fixedPeriod", "toDateIncluded", "autoRenews", "isOverdue", "invoiceMuted", "invoicesGenerated"],
            time: &["fromDate", "toDate", "renewalDate", "fcNewStartDate"],
            json: &["issues"],
        },
        ..PLAIN
    },
    Object {
        name: "opportunities",
        model: "Opportunity",
        action_noun: "Deal",
        max_limit: 2000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "companyId", "companyName", "ownerId", "title", "salesStage", "status",
                "_currency", "currency",
            ],
            number: &["mrr", "arr", "nrr", "probability", "contractLength", "__v"],
            time: &["dealDate", "landingDate", "closeDate", "createdAt", "updatedAt"],
            json: &["stageHistory"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "projects",
        model: "Project",
        action_noun: "Project",
        max_limit: 2000,
        by_default: true,
        properties: Properties {
            text: &["_id", "externalId", "sourceId", "companyId", "companyName", "name", "currency"],
            number: &["mrr", "arr", "nrr", "__v"],
            time: &["startDate", "endDate"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "tasks",
        model: "Task",
        action_noun: "Task",
        max_limit: 10_000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        hidden: IS_ARCHIVED,
        references: &[
            COMPANY,
            OWNER,
            END_USERS,
            USERS,
            Reference::id_or_object("doneBy", "users"),
            Reference::id_or_object("noteId", "conversations"),
            Reference::id_or_object("workflowId", "workflows"),
        ],
        properties: Properties {
            text: &[
                "_id", "sourceId", "companyId", "companyName", "ownerId", "ownerName", "ownerType", "mainType", "type", "action",
                "description", "snippet", "status", "repeat",
            ],
            number: &["repeatDays", "__v"],
            boolean: &["shared", "noSpecificTime", "overdueNotified", "isArchived"],
            time: &["startTime", "endTime", "dateDone", "createdAt", "updatedAt"],
            json: &[
                "activityTags", "checklist", "users", "endusers", "doneBy", "noteId", "workflowId", "workflowName",
                "workflowTaskId", "workflowStepId", "workflowTemplateId", "path", "parentObject",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "tickets",
        model: "Ticket",
        action_noun: "Ticket",
        max_limit: 10_000,
        by_default: true,
        modified: &["updateDate", "updatedAt"],
        dated: &["createDate", "createdAt"],
        references: &[COMPANY, OWNER, Reference::owner("agentId"), END_USERS, USERS],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "companyId", "companyName", "companyExternalId", "source", "type", "subType",
                "subject", "title", "description", "snippet", "email", "url", "status", "severity", "product",
            ],
            number: &["timeSpent", "days", "__v"],
            boolean: &["starred", "pinned", "isOpen", "archived", "waitsToBeFiltered"],
            time: &["createDate", "updateDate", "date", "inDate", "createdAt", "updatedAt"],
            json: &[
                "domains", "tags", "activityTags", "emailTemplateIds", "users", "sender", "history", "endusers", "timeBucket",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "nps",
        model: "NPS",
        action_noun: "NPS",
        answer: Some(Answer { action: "NPS Response", scores: &["score", "nps"] }),
        max_limit: 10_000,
        by_default: true,
        // An answer can be completed later without any of its dates moving.
        dated: &["dateAnswered", "dateSent", "npsDate"],
        is_event: true,
        occurred: &["dateAnswered", "npsDate"],
        created: &["dateSent"],
        references: &[
            Reference::company("cId"),
            COMPANY,
            Reference::end_user("euId"),
            Reference::end_user("enduserId"),
            Reference::id("campaignId", "campaigns"),
        ],
        properties: Properties {
            text: &["_id", "cId", "euId", "email", "comment", "npsComment", "campaignId", "source", "sourceId", "scoreType"],
            number: &["score", "nps", "__v"],
            time: &["dateAnswered", "dateSent", "npsDate"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "conversations",
        model: "Conversation",
        action_noun: "Conversation",
        max_limit: 2000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt", "createDate"],
        // The documented list example has no time but `date` and `createDate`.
        is_event: true,
        references: &[
            COMPANY,
            Reference::owner("owner").shaped(ReferenceShape::IdOrObject),
            END_USERS,
            USERS,
            Reference::ids("userIds", "users"),
            FOLLOWERS,
            Reference::id("userId", "users"),
            Reference::id("taskId", "tasks"),
        ],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "companyId", "companyName", "companySourceId", "type", "subject", "description",
                "snippet", "note", "shortSummary", "nickName", "transcript", "assigneeName", "userId", "taskId", "parentId",
                "parentType",
            ],
            number: &["numberOfParts", "numberOfRelevantParts", "__v"],
            boolean: &[
                "starred", "pinned", "isOpen", "archived", "isCustomType", "hasMore", "hasAttachments", "isSeen",
                "waitsToBeFiltered", "isClassified", "isSignalAnalyzed", "isBounced", "scheduled",
            ],
            time: &["date", "outDate", "createDate", "createdAt", "updatedAt", "startDate", "endDate"],
            json: &[
                "users", "endusers", "userIds", "activityTags", "tags", "autoTags", "emailTemplateIds", "timeBucket", "sender",
                "history", "followers", "owner",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "assets",
        model: "Asset",
        action_noun: "Asset",
        max_limit: 2000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        references: &[COMPANY, OWNER, FOLLOWERS],
        properties: Properties {
            text: &[
                "_id", "externalId", "sourceId", "companyId", "companyName", "name", "serialNumber", "status", "ownerId",
                "ownerName", "_currency",
            ],
            number: &["value", "__v"],
            time: &["installDate", "createdAt", "updatedAt"],
            json: &["followers", "usage"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "churn",
        model: "Churn",
        action_noun: "Churn",
        // Two sources disagree (1,000 and 2,000); the smaller one is right either way.
        max_limit: 1000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        properties: Properties {
            text: &["_id", "sourceId", "companyId", "companyName", "currency", "description"],
            number: &["value", "arr", "__v"],
            boolean: &["onlyDowngrade", "snoozed"],
            time: &["churnDate", "createdAt", "updatedAt"],
            json: &["products", "reasons", "comment"],
        },
        ..PLAIN
    },
    Object {
        name: "issues",
        model: "Issue",
        action_noun: "Issue",
        max_limit: 2000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        references: &[
            Reference::company("companyIds").shaped(ReferenceShape::Ids),
            OWNER,
            Reference::end_user("enduserIds").shaped(ReferenceShape::Ids),
            Reference::ids("conversationIds", "conversations"),
            FOLLOWERS,
        ],
        properties: Properties {
            text: &["_id", "sourceId", "source", "sourceUrl", "title", "description", "status", "priority", "issueType"],
            number: &["mrrCombined", "arrCombined", "__v"],
            boolean: &["archived"],
            time: &["createdAt", "updatedAt"],
            json: &["companyIds", "enduserIds", "conversationIds", "followers", "companies", "endusers", "companyMatchingValue"],
        },
        ..PLAIN
    },
    Object {
        name: "users",
        model: "User",
        action_noun: "Owner",
        max_limit: 10_000,
        by_default: true,
        modified: &["updatedAt"],
        dated: &["createdAt", "createAt", "createDate"],
        history: DefaultHistory::All,
        ignore_changes: &[
            "nrOverDueTasks", "nrTasksDue7Days", "nrTasksDue14Days", "nrTasksDue30Days", "nrTasksDue90Days", "lastTouch7",
            "lastTouch30", "lastTouch90", "lastActive7", "lastActive30", "lastActive90",
        ],
        properties: Properties {
            text: &[
                "_id", "email", "nickName", "firstName", "lastName", "externalId", "defaultCurrencyId", "revReportPeriodType",
            ],
            number: &[
                "defaultMeetingLength", "tzOffset", "mrr", "arr", "mrrAvg", "arrAvg", "npsAvg", "healthAvg", "healthAvgRound",
                "revenueShare", "customerCount", "payingCustomerCount", "nrOpenTasks", "nrOverDueTasks", "nrTasksDue7Days",
                "nrTasksDue14Days", "nrTasksDue30Days", "nrTasksDue90Days", "lastTouch7", "lastTouch30", "lastTouch90",
                "lastActive7", "lastActive30", "lastActive90", "__v",
            ],
            boolean: &[
                "inactive", "isHidden", "removed", "compressedView", "radarOneLine", "isExposedAsSenderOption", "dailyDigest",
                "followerUpdate", "inAppNotifications", "notificationsEnabled", "splitLayoutDisabled", "playLogDisabled",
            ],
            time: &["createDate", "createdAt", "createAt", "updatedAt"],
            json: &[
                "roles", "teams", "managers", "poc", "permissions", "taskFilter", "companyFilter", "workflowFilter", "image",
                "googleApi", "msApi", "googleCalendarApi",
            ],
        },
        ..PLAIN
    },
    Object {
        name: "invoices",
        model: "Invoice",
        action_noun: "Invoice",
        max_limit: 2000,
        modified: &["lastUpdated"],
        references: &[Reference::company("cId"), COMPANY],
        properties: Properties {
            text: &[
                "_id", "sourceId", "extId", "cId", "cName", "invoiceNo", "currency", "product", "invoiceCycle", "addressCountry",
                "status",
            ],
            number: &["amountTotal", "__v"],
            // The three business dates arrive as whole days since 1970-01-01.
            time: &["invoiceDate", "dueDate", "paidDate", "lastUpdated"],
            json: &["lineItems", "emails"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "campaigns",
        model: "Campaign",
        action_noun: "Campaign",
        max_limit: 2000,
        properties: Properties {
            text: &["_id", "externalId", "sourceId", "companyId", "companyName", "name", "campaignPurpose"],
            number: &["__v"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "objectives",
        model: "Objective",
        action_noun: "Objective",
        max_limit: 2000,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        properties: Properties {
            text: &["_id", "externalId", "sourceId", "companyId", "companyName", "name"],
            number: &["health", "__v"],
            boolean: &["sharedInPortal"],
            time: &["createdAt", "updatedAt"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "sales",
        model: "Sale",
        action_noun: "Sale",
        max_limit: 2000,
        properties: Properties {
            text: &["_id", "externalId", "sourceId", "companyId", "companyName", "product", "_currency"],
            number: &["value", "__v"],
            time: &["salesDate"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "workflows",
        model: "Workflow",
        action_noun: "Workflow",
        max_limit: 2000,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        ignore_changes: &["actualDays"],
        references: &[COMPANY, Reference::owner("owner").shaped(ReferenceShape::IdOrObject)],
        properties: Properties {
            text: &[
                "_id", "name", "type", "status", "companyId", "companyName", "targetId", "targetName", "targetModel",
                "endUserEmail", "outcome",
            ],
            number: &["percentDone", "actualDays", "expectedDays", "openRate", "clickRate", "replyRate", "bounceRate", "__v"],
            boolean: &["isArchived"],
            time: &["startDate", "nextStartTime", "expectedEndDate", "archiveDate", "createdAt", "updatedAt"],
            json: &["owner", "templateId"],
        },
        ..PLAIN
    },
    Object {
        name: "workspaces",
        model: "Workspace",
        action_noun: "Workspace",
        max_limit: 2000,
        properties: Properties {
            text: &["_id", "externalId", "sourceId", "companyId", "companyName", "name", "ownerId"],
            number: &["__v"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "timeentries",
        model: "TimeEntry",
        action_noun: "Time Entry",
        max_limit: 2000,
        dated: &["date"],
        is_event: true,
        references: &[COMPANY, OWNER, Reference::id("timesheetId", "timesheets")],
        properties: Properties {
            text: &["_id", "companyId", "timesheetId", "description", "billingCode", "currency", "timesheetStatus"],
            number: &["hours", "billableRate", "totalBilled", "costRate", "totalCost", "__v"],
            boolean: &["isTimeOff", "isBillable"],
            time: &["date"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "timesheets",
        model: "Timesheet",
        action_noun: "Timesheet",
        max_limit: 2000,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        references: &[
            COMPANY,
            Reference::id("assignedId", "users"),
            Reference::id("approvedBy", "users"),
            Reference::ids("timeEntries", "timeentries"),
        ],
        properties: Properties {
            text: &["_id", "status", "approvedBy", "assignedId", "assignedModel"],
            number: &["__v"],
            time: &["dateFrom", "dateTo", "dateOfApproval", "createdAt", "updatedAt"],
            json: &["timeEntries"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "deals",
        model: "Deal",
        action_noun: "Deal",
        max_limit: 2000,
        references: &[COMPANY, OWNER, FOLLOWERS],
        properties: Properties {
            text: &["_id", "name", "companyId", "companyName", "externalId", "sourceId", "ownerId", "currency", "stage"],
            number: &["mrr", "arr", "total", "fees", "__v"],
            time: &["closeDate", "renewalDate", "startDate", "endDate"],
            json: &["followers"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "lineitems",
        model: "LineItem",
        action_noun: "Line Item",
        max_limit: 2000,
        references: &[COMPANY, Reference::id("dealId", "deals"), Reference::id("productId", "products")],
        properties: Properties {
            text: &["_id", "dealId", "companyId", "productId", "productName", "externalId", "sourceId", "type", "status"],
            number: &["length", "mrr", "arr", "value", "__v"],
            boolean: &["fixedPeriod"],
            time: &["fromDate", "toDate"],
            ..NONE
        },
        ..PLAIN
    },
    Object {
        name: "products",
        model: "Product",
        action_noun: "Product",
        max_limit: 2000,
        modified: &["updatedAt"],
        dated: &["createdAt"],
        history: DefaultHistory::All,
        properties: Properties {
            text: &["_id", "name", "externalId", "sourceId", "type", "currency", "noticeUnit", "color"],
            number: &["mrr", "arr", "value", "length", "renewalMrr", "renewalArr", "renewalPeriod", "noticePeriod", "__v"],
            boolean: &["fixedPeriod", "autoRenews"],
            time: &["createdAt", "updatedAt"],
            json: &["packages"],
        },
        ..PLAIN
    },
    Object {
        name: "customfields",
        model: "CustomField",
        action_noun: "Custom Field",
        max_limit: 2000,
        properties: Properties {
            text: &["_id", "name", "parent", "type", "formula", "numberFormat"],
            number: &["__v"],
            boolean: &["isFeatured", "isHidden", "isShared", "isLocked", "isMandatory", "isFormula", "treatUndefinedAsZero"],
            json: &["formulaRefs", "listValues", "filter"],
            ..NONE
        },
        ..PLAIN
    },
];

/// The object of that name.
pub fn object(name: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.name == name)
}

/// The objects that are synced when the user names none.
pub fn default_objects() -> Vec<&'static Object> {
    OBJECTS.iter().filter(|object| object.by_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn thirteen_objects_are_synced_by_default_and_twelve_more_on_request() {
        assert_eq!(default_objects().len(), 13);
        assert_eq!(OBJECTS.len(), 25);
    }

    /// One row of the table of list endpoints in the page about the API: `/path`, default page, largest page, times of an edit,
    /// other times, parameter for archived records.
    fn documented_endpoint<'a>(page: &'a str, object: &Object) -> Vec<&'a str> {
        let first = format!("| `/{}` |", object.name);
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&first)).collect();
        assert_eq!(rows.len(), 1, "rows of {} in docs/planhat-api.md", object.name);
        rows[0].split('|').map(str::trim).skip(1).collect()
    }

    #[test]
    fn the_page_about_planhats_api_says_of_each_object_what_the_catalogue_says() {
        let page = include_str!("../../../../docs/planhat-api.md");
        let in_code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        for object in OBJECTS {
            let cells = documented_endpoint(page, object);
            let largest: u32 = cells[2].replace(['*', ','], "").parse().unwrap();
            assert_eq!(largest, object.max_limit, "largest page of {}", object.name);
            assert_eq!(cells[3], in_code(object.modified), "times of an edit of {}", object.name);
            assert_eq!(cells[4], in_code(object.dated), "other times of {}", object.name);
            assert_eq!(cells[5], in_code(object.hidden.as_slice()), "parameter of {}", object.name);
        }
    }

    #[test]
    fn no_property_has_two_types() {
        for object in OBJECTS {
            let Properties { text, number, boolean, time, json } = &object.properties;
            let all: Vec<_> = [text, number, boolean, time, json].into_iter().flat_map(|names| names.iter()).collect();
            let distinct: HashSet<_> = all.iter().collect();
            assert_eq!(all.len(), distinct.len(), "{}", object.name);
        }
    }

    #[test]
    fn properties_ignored_when_comparing_are_documented_numbers_and_never_dates_of_a_record() {
        for object in OBJECTS {
            for property in object.ignore_changes {
                assert_eq!(object.kind_of(property), Some(ColumnType::Number), "{}.{property}", object.name);
            }
        }
    }

    #[test]
    fn a_creation_alone_makes_no_record_old_but_an_event_is_as_old_as_it_says() {
        let ageing = |name| object(name).unwrap().ageing_times().copied().collect::<Vec<_>>();
        assert_eq!(ageing("users"), ["updatedAt"]);
        assert_eq!(ageing("tickets"), ["updateDate", "updatedAt"]);
        assert_eq!(ageing("endusers"), ["updatedAt", "lastTouch", "lastTouchTime", "lastActive", "npsDate"]);
        assert_eq!(ageing("nps"), ["dateAnswered", "dateSent", "npsDate"]);
        assert_eq!(ageing("conversations"), ["updatedAt", "createdAt", "createDate"]);
        assert_eq!(ageing("licenses"), [""; 0]);
        let whole: Vec<_> = OBJECTS.iter().filter(|object| object.history == DefaultHistory::All).map(|of| of.name).collect();
        assert_eq!(whole, ["users", "products"]);
    }

    #[test]
    fn every_property_that_dates_a_record_is_a_timestamp_column() {
        for object in OBJECTS {
            for field in object.modified.iter().chain(object.dated).chain(object.sweeps) {
                assert_eq!(object.kind_of(field), Some(ColumnType::Time), "{}.{field}", object.name);
            }
        }
    }

    #[test]
    fn a_reference_is_to_an_object_that_there_is_and_its_column_holds_its_shape() {
        for object in OBJECTS {
            for reference in object.references {
                let name = format!("{}.{}", object.name, reference.property);
                assert!(super::object(reference.to).is_some(), "{name}");
                assert!(reference.role.is_none_or(|role| role.object() == reference.to), "{name}");
                let holds = if reference.shape == ReferenceShape::Id { ColumnType::Text } else { ColumnType::Json };
                assert!(object.kind_of(reference.property).is_none_or(|kind| kind == holds), "{name}");
            }
            let distinct: HashSet<_> = object.references.iter().map(|reference| reference.property).collect();
            assert_eq!(distinct.len(), object.references.len(), "{}", object.name);
        }
    }

    #[test]
    fn every_documented_id_is_a_reference_or_names_nothing_that_is_stored() {
        /// Ids given elsewhere, and ids of what has no list endpoint or is named by another property of the record.
        const OTHERS: &[&str] = &[
            "_id", "externalId", "sourceId", "extId", "companyExternalId", "companySourceId", "defaultCurrencyId",
            "emailTemplateIds", "parentId", "targetId", "templateId", "workflowTaskId", "workflowStepId", "workflowTemplateId",
        ];
        for object in OBJECTS {
            let names = object.documented().map(|(name, _)| name);
            let ids = names.filter(|name| name.ends_with("Id") || name.ends_with("Ids"));
            for id in ids.filter(|id| !OTHERS.contains(id)) {
                let is_reference = object.references.iter().any(|reference| reference.property == id);
                assert!(is_reference, "{}.{id}", object.name);
            }
        }
    }

    #[test]
    fn a_company_is_its_own_company_and_an_end_user_its_own_end_user() {
        let check = |name: &str, role: Role, expected: &[&str]| {
            let named: Vec<_> = object(name).unwrap().properties_naming(role).collect();
            assert_eq!(named, expected, "{name}");
        };
        check("companies", Role::Company, &["_id"]);
        check("endusers", Role::EndUser, &["_id"]);
        check("endusers", Role::Company, &["companyId"]);
        check("nps", Role::Company, &["cId", "companyId"]);
        check("nps", Role::EndUser, &["euId", "enduserId"]);
        check("issues", Role::Company, &["companyIds"]);
        check("companies", Role::Owner, &["owner"]);
        check("products", Role::EndUser, &[]);
    }
}
