//! Makes a workspace of any size from a seed, for the benchmark and for tests that need many
//! records.
//!
//! Records are as wide as real ones and as untidy: companies have some sixty properties and up to
//! twenty-six custom fields, an owner is an object here and an id there, values are missing,
//! null, empty or `"undefined"`. References hold: every `companyId` is a company of the workspace.

use chrono::{DateTime, SecondsFormat, Utc};
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Where nothing else is said, nothing in a generated workspace is newer: 2026-11-01T00:00:00Z, in milliseconds.
pub(super) const END: i64 = 1_793_491_200_000;
const DAY: i64 = 86_400_000;
/// How far back records go from there. Inside the default history, so that a first load takes them all.
const SPAN: i64 = 3 * 365 * DAY;

/// How many of every thousand records are of an object. End users are half of a real workspace,
/// and conversations get what the rounding leaves.
const SHARES: [(&str, usize); 13] = [
    ("users", 5),
    ("companies", 80),
    ("endusers", 500),
    ("licenses", 40),
    ("opportunities", 30),
    ("projects", 10),
    ("tasks", 80),
    ("tickets", 50),
    ("nps", 30),
    ("assets", 10),
    ("churn", 5),
    ("issues", 10),
    ("conversations", 150),
];

/// About `records` records over the default objects, and the definitions of their custom fields, handed over one by
/// one: as values they take many times what they take as text.
pub(super) fn records(end: DateTime<Utc>, seed: u64, records: usize, mut hand_over: impl FnMut(&'static str, &Value)) {
    let mut workspace = Generator::new(seed, end.timestamp_millis());
    for (kind, (object, share)) in SHARES.into_iter().enumerate() {
        for number in 0..count(records, share) {
            hand_over(object, &workspace.record(kind, number));
        }
    }
    custom_field_definitions().iter().for_each(|definition| hand_over("customfields", definition));
}

/// At least one, since the others refer to it.
fn count(records: usize, share: usize) -> usize {
    (records * share / 1000).max(1)
}

struct Generator {
    rng: Rng,
    /// In milliseconds.
    end: i64,
    companies: Vec<Reference>,
    endusers: Vec<Reference>,
    users: Vec<Reference>,
    /// Tickets that are listed as conversations too, under the same `_id`.
    shared_tickets: Vec<String>,
}

/// What other records know of one.
#[derive(Clone)]
struct Reference {
    id: String,
    name: String,
    /// Position of the company that an end user belongs to.
    company: usize,
}

/// The dates of one record, in milliseconds. Nothing happens before it was created.
struct Dates {
    created: i64,
    updated: i64,
}

impl Generator {
    fn new(seed: u64, end: i64) -> Self {
        let rng = Rng::with_seed(seed);
        Self { rng, end, companies: vec![], endusers: vec![], users: vec![], shared_tickets: vec![] }
    }

    fn record(&mut self, kind: usize, number: usize) -> Value {
        let created = self.end - self.rng.i64(0..SPAN);
        let updated = self.rng.i64(created..=self.end);
        let dates = Dates { created, updated };
        // Like an ObjectId: the second of creation first, so that ids grow with time.
        let id = format!("{:08x}{kind:04x}{number:012x}", created / 1000);
        let mut record = match SHARES[kind].0 {
            "users" => self.user(&id, &dates),
            "companies" => self.company(&id, &dates),
            "endusers" => self.enduser(&id, &dates),
            "licenses" => self.license(&id),
            "opportunities" => self.opportunity(&id, &dates),
            "projects" => self.project(&id),
            "tasks" => self.task(&id, &dates),
            "tickets" => self.ticket(id, &dates),
            "nps" => self.nps(&id, &dates),
            "assets" => self.asset(&id, &dates),
            "churn" => self.churn(&id, &dates),
            "issues" => self.issue(&id, &dates),
            _ => self.conversation(id, &dates),
        };
        print_as_javascript(&mut record);
        record
    }
}

// The objects, each a few groups of properties.
impl Generator {
    fn user(&mut self, id: &str, dates: &Dates) -> Value {
        let (first, last) = (self.pick(&FIRST_NAMES), self.pick(&LAST_NAMES));
        self.users.push(Reference { id: id.to_owned(), name: first.to_owned(), company: 0 });
        json!({
            "_id": id, "firstName": first, "lastName": last, "nickName": first,
            "email": format!("{id}@example.com"),
            "roles": [{"_id": "000000000000000000000000", "name": "Administrator", "description": "Full access"}],
            "teams": [], "permissions": if self.rng.bool() { json!([]) } else { json!({}) },
            "taskFilter": if self.rng.bool() { json!("") } else { json!({"status": ["To Do"]}) },
            "inactive": self.chance(5), "removed": self.chance(3), "isHidden": false, "dailyDigest": true,
            "defaultMeetingLength": 60, "customerCount": self.rng.u32(0..80), "nrOpenTasks": self.rng.u32(0..40),
            "image": {"path": ""}, "createDate": iso(dates.created), "updatedAt": iso(dates.updated), "__v": 0,
        })
    }

    fn company(&mut self, id: &str, dates: &Dates) -> Value {
        let name = format!("{} {} {}", self.pick(&PLACES), self.pick(&TRADES), self.pick(&FORMS));
        self.companies.push(Reference { id: id.to_owned(), name: name.clone(), company: 0 });
        merged([
            self.company_identity(id, &name),
            self.company_people(),
            self.company_health(dates),
            self.company_revenue(),
            self.company_touches(dates),
            self.company_organisation(dates),
            // One in ten has been looked after with care.
            json!({"custom": if self.chance(10) { self.custom(&COMPANY_FIELDS, 100) } else { self.custom(&COMPANY_FIELDS, 66) }}),
        ])
    }

    fn company_identity(&mut self, id: &str, name: &str) -> Value {
        let number = self.rng.u32(10_000..99_999);
        json!({
            "externalId": if self.chance(10) { String::new() } else { format!("crm-{}", &id[12..]) },
            "sourceId": format!("src-{}", &id[12..]), "_id": id, "name": name, "slug": format!("customer-{number}"),
            "status": self.pick(&["prospect", "coming", "customer", "customer", "customer", "canceled", "lost"]),
            "phase": self.pick(&["Onboarding", "Adoption", "Growth", "Renewal", "Saved 🎉"]),
            "description": self.sentence(), "address": format!("{} {}", self.pick(&PLACES), number % 200),
            "city": self.pick(&PLACES), "zip": number.to_string(), "country": self.pick(&COUNTRIES),
            "web": format!("https://{number}.example.com"), "phonePrimary": format!("+46 8 {number}"),
            "domains": [format!("{number}.example.com")], "tags": self.some_of(&TAGS), "products": self.some_of(&PRODUCTS),
        })
    }

    fn company_people(&mut self) -> Value {
        let owner = self.user_reference();
        let co_owner = self.user_reference();
        json!({
            "owner": if self.chance(80) { json!({"_id": owner.id, "nickName": owner.name}) } else { json!(owner.id) },
            "coOwner": if self.chance(30) { json!(co_owner.id) } else { Value::Null },
            "collaborators": [], "followers": [co_owner.id],
        })
    }

    fn company_health(&mut self, dates: &Dates) -> Value {
        let mut health = json!({
            "h": self.rng.u32(0..=10), "hProfile": "5f0000000000000000000001", "hDiff": self.rng.i32(-5..=5),
            "hDiffDate": iso(dates.updated), "csmScore": self.rng.u32(1..=5), "csmScoreLog": [],
            "sentimentScore": self.fraction(), "daysInPhase": self.rng.u32(0..900),
            "phaseSince": iso(dates.created), "alerts": [], "features": {},
            "usage": {"5f00000000000000000000e1": self.rng.u32(0..5000), "Health 7 days ago": self.rng.u32(0..=10)},
            "sunits": {"5f00000000000000000000f1": {"status": "on", "default": true}},
            "shareable": {"team": {"fields": []}, "enabled": false, "euIds": [], "sunits": false},
        });
        if self.chance(40) {
            health["nps"] = json!(f64::from(self.rng.u32(0..=20)) / 2.0);
        }
        health
    }

    fn company_revenue(&mut self) -> Value {
        let mrr = self.amount(5_000);
        let renewal = self.end + self.rng.i64(-30..365) * DAY;
        json!({
            "mr": mrr, "mrr": mrr, "arr": mrr * 12.0, "nrr30": self.amount(500), "mrTotal": mrr * 30.0,
            "mrrTotal": mrr * 28.0, "arrTotal": mrr * 336.0, "nrrTotal": self.amount(2_000),
            "renewalMrr": mrr, "renewalArr": mrr * 12.0, "renewalDate": iso(renewal),
            "renewalDaysFromNow": (renewal - self.end) / DAY, "autoRenews": self.rng.bool(),
            "customerFrom": iso(self.end - self.rng.i64(0..SPAN)),
        })
    }

    fn company_touches(&mut self, dates: &Dates) -> Value {
        let mut touches = Map::new();
        if self.chance(85) {
            let last = iso(self.rng.i64(dates.created..=self.end));
            let kind = self.pick(&TOUCHES);
            touches.insert("lastTouch".to_owned(), json!(last));
            touches.insert("lastTouchType".to_owned(), json!(kind));
            touches.insert("lastTouchByType".to_owned(), json!({kind: last}));
        }
        if self.chance(60) {
            let next = self.end + self.rng.i64(0..90) * DAY;
            let next = if self.rng.bool() { json!(next) } else { json!(iso(next)) };
            touches.insert("nextTouch".to_owned(), next);
        }
        if self.chance(70) {
            touches.insert("lastActive".to_owned(), json!(iso(self.rng.i64(dates.created..=self.end))));
        }
        Value::Object(touches)
    }

    fn company_organisation(&mut self, dates: &Dates) -> Value {
        let mut organisation = json!({
            "orgPath": if self.rng.bool() { json!("") } else { json!([]) }, "orgLevel": "0", "orgUnits": "1",
            "orgMrr": self.amount(5_000), "orgArr": self.amount(60_000), "orgIndependent": true,
            "orgHealthTotal": self.rng.u32(0..=10), "links": [], "documents": [], "lastActivities": [],
            "createDate": iso(dates.created), "lastUpdated": iso(self.rng.i64(dates.created..=self.end)), "__v": 0,
        });
        if self.chance(98) {
            organisation["updatedAt"] = json!(iso(dates.updated));
        }
        organisation
    }

    fn enduser(&mut self, id: &str, dates: &Dates) -> Value {
        let (first, last) = (self.pick(&FIRST_NAMES), self.pick(&LAST_NAMES));
        let at = self.rng.usize(0..self.companies.len());
        let company = self.companies[at].clone();
        let name = format!("{first} {last}");
        let mut enduser = json!({
            "email": format!("{}@example.com", &id[12..]), "externalId": &id[12..], "firstName": first,
            "lastName": last, "name": name, "companyId": company.id, "companyName": company.name,
            "position": self.pick(&["CEO", "CIO", "Head of IT", "Einkäuferin", "Användare", ""]),
            "phone": format!("+44 20 {}", self.rng.u32(1_000_000..9_999_999)),
            "tags": self.some_of(&TAGS), "personas": [], "otherEmails": [], "relatedEndusers": [],
            "featured": self.chance(10), "primary": self.chance(10), "archived": self.chance(5),
            "beats": self.rng.u32(0..300), "beatsTotal": self.rng.u32(0..9_000), "beatTrend": self.fraction(),
            "convs14": self.rng.u32(0..9), "convsTotal": self.rng.u32(0..90), "experience": self.fraction(),
            "createDate": iso(dates.created), "updatedAt": iso(dates.updated), "__v": 0,
            "custom": self.custom(&ENDUSER_FIELDS, 66),
        });
        if self.chance(70) {
            enduser["lastTouch"] = json!(iso(self.rng.i64(dates.created..=self.end)));
            enduser["lastTouchType"] = json!(self.pick(&TOUCHES));
        }
        if self.chance(20) {
            enduser["nps"] = json!(self.rng.u32(0..=10));
        }
        self.endusers.push(Reference { id: id.to_owned(), name, company: at });
        enduser["_id"] = json!(id);
        enduser
    }

    fn license(&mut self, id: &str) -> Value {
        let company = self.company_reference();
        let from = self.end - self.rng.i64(0..SPAN);
        let mrr = self.amount(3_000);
        let length = f64::from(self.rng.u32(1..=72)) / 2.0;
        let mut license = json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "product": self.pick(&PRODUCTS),
            "_currency": self.pick(&CURRENCIES), "fromDate": iso(from), "fixedPeriod": true, "autoRenews": self.rng.bool(),
            "mrr": mrr, "arr": mrr * 12.0, "value": mrr * length, "length": length, "renewalPeriod": 12,
            "renewalUnit": "month", "noticePeriod": 30, "noticeUnit": "day", "renewalStatus": "ongoing",
            "invoiceCycle": "yearly", "fcNewStartDate": null, "isOverdue": false, "issues": [], "custom": {}, "__v": 0,
        });
        if self.chance(80) {
            license["toDate"] = json!(iso(from + 365 * DAY));
            license["renewalDaysFromNow"] = json!((from + 365 * DAY - self.end) / DAY);
        }
        license
    }

    fn opportunity(&mut self, id: &str, dates: &Dates) -> Value {
        let (company, owner) = (self.company_reference(), self.user_reference());
        let mrr = self.amount(3_000);
        json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "ownerId": owner.id,
            "title": self.sentence(), "salesStage": self.pick(&["Discovery", "Proposal", "Verhandlung"]),
            "status": self.pick(&["active", "won", "lost"]), "mrr": mrr, "arr": mrr * 12.0, "nrr": self.amount(900),
            "probability": self.rng.u32(0..=100), "_currency": self.pick(&CURRENCIES), "contractLength": 12,
            "dealDate": iso(dates.updated), "landingDate": null, "stageHistory": [],
            "createdAt": iso(dates.created), "updatedAt": iso(dates.updated), "custom": {}, "__v": 0,
        })
    }

    fn project(&mut self, id: &str) -> Value {
        let company = self.company_reference();
        let start = self.end - self.rng.i64(0..SPAN);
        json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "name": self.sentence(),
            "currency": self.pick(&CURRENCIES), "startDate": iso(start), "endDate": iso(start + 90 * DAY),
            "mrr": self.amount(900), "arr": self.amount(9_000), "nrr": 0,
            "custom": {"Notes": "", "Product": self.some_of(&PRODUCTS), "t123": "undefined",
                       "Week No": f64::from(self.rng.u32(1..400)) / 7.0},
        })
    }

    fn task(&mut self, id: &str, dates: &Dates) -> Value {
        let (enduser, owner) = (self.enduser_reference(), self.user_reference());
        let company = self.companies[enduser.company].clone();
        let done = self.rng.bool();
        let mut task = json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "ownerId": owner.id, "ownerName": owner.name,
            "mainType": self.pick(&["task", "task", "event"]), "type": self.pick(&TOUCHES), "action": self.sentence(),
            "description": format!("\n<p>{}</p>", self.sentence()), "isArchived": done,
            "status": if done { self.pick(&["done", "Done", "ignored"]) } else { self.pick(&["To Do", "in-progress", "In-progress"]) },
            "startTime": iso(dates.created), "endTime": iso(dates.created + DAY), "noSpecificTime": true, "repeatDays": 0,
            "endusers": if self.rng.bool() { json!([enduser.id]) } else { json!([{"id": enduser.id, "name": enduser.name}]) },
            "users": [], "checklist": [], "activityTags": [],
            "createdAt": iso(dates.created), "updatedAt": iso(dates.updated), "custom": {}, "__v": 0,
        });
        if done {
            task["dateDone"] = json!(iso(dates.updated));
        }
        task
    }

    fn ticket(&mut self, id: String, dates: &Dates) -> Value {
        let enduser = self.enduser_reference();
        let company = self.companies[enduser.company].clone();
        let ticket = json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "type": "ticket",
            "source": self.pick(&["zendesk", "jira"]), "subject": self.sentence(), "snippet": self.sentence(),
            "status": self.pick(&["open", "pending", "closed"]), "severity": self.pick(&["", "low", "high"]),
            "email": format!("{}@example.com", enduser.name.to_lowercase().replace(' ', ".")), "timeSpent": self.rng.u32(0..600),
            "endusers": [{"id": enduser.id, "name": enduser.name}], "tags": self.some_of(&TAGS),
            "history": [{"status": "open", "time": iso(dates.created)}], "days": dates.created / DAY,
            "createDate": iso(dates.created), "date": iso(dates.created), "updateDate": iso(dates.updated),
            "isOpen": self.rng.bool(), "archived": false, "__v": 0,
            "custom": {"Closed on": iso(dates.updated).replace('Z', "+0000"), "Reopened on": null},
        });
        self.shared_tickets.push(id);
        ticket
    }

    fn nps(&mut self, id: &str, dates: &Dates) -> Value {
        let enduser = self.enduser_reference();
        let company = self.companies[enduser.company].id.clone();
        let (score, comment) = (self.rng.u32(0..=10), self.sentence());
        if self.rng.bool() {
            json!({"_id": id, "cId": company, "euId": enduser.id, "score": score, "comment": comment, "source": "email",
                   "dateSent": iso(dates.created), "dateAnswered": iso(dates.updated), "custom": {}})
        } else {
            json!({"_id": id, "cId": company, "nps": score, "npsComment": comment, "npsDate": iso(dates.updated)})
        }
    }

    fn asset(&mut self, id: &str, dates: &Dates) -> Value {
        let company = self.company_reference();
        json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "name": self.sentence(),
            "externalId": format!("asset-{}", &id[18..]), "status": self.pick(&["live", "retired"]),
            "serialNumber": id[16..].to_uppercase(), "value": self.amount(40_000), "installDate": iso(dates.created),
            "usage": {"Uptime": self.fraction()}, "custom": {},
            "createdAt": iso(dates.created), "updatedAt": iso(dates.updated), "__v": 0,
        })
    }

    fn churn(&mut self, id: &str, dates: &Dates) -> Value {
        let company = self.company_reference();
        let value = self.amount(9_000);
        json!({
            "_id": id, "companyId": company.id, "companyName": company.name, "currency": self.pick(&CURRENCIES),
            "value": value, "arr": value * 12.0, "products": self.some_of(&PRODUCTS), "reasons": ["Price"],
            "comment": {"text": self.sentence()}, "onlyDowngrade": self.chance(20), "snoozed": false,
            "churnDate": iso(dates.created), "createdAt": iso(dates.created), "updatedAt": iso(dates.updated), "custom": {},
        })
    }

    fn issue(&mut self, id: &str, dates: &Dates) -> Value {
        let enduser = self.enduser_reference();
        let company = self.companies[enduser.company].clone();
        json!({
            "_id": id, "title": self.sentence(), "description": self.sentence(), "status": self.pick(&["open", "done"]),
            "priority": self.pick(&["low", "high"]), "companyIds": [company.id], "companies": [company.name],
            "enduserIds": [enduser.id], "endusers": [{"id": enduser.id, "name": enduser.name}], "conversationIds": [],
            "mrrCombined": self.amount(9_000), "archived": false,
            "createdAt": iso(dates.created), "updatedAt": iso(dates.updated), "custom": {}, "__v": 0,
        })
    }

    fn conversation(&mut self, own_id: String, dates: &Dates) -> Value {
        // One in ten is a ticket seen from here: the same `_id` under two objects.
        let shared = if self.chance(10) { self.shared_tickets.pop() } else { None };
        let kind = if shared.is_some() { "ticket" } else { self.pick(&TOUCHES) };
        let (enduser, user) = (self.enduser_reference(), self.user_reference());
        let company = self.companies[enduser.company].clone();
        let paragraphs: Vec<String> = (0..self.rng.usize(1..12)).map(|_| format!("<p>{}</p>", self.sentence())).collect();
        json!({
            "_id": shared.unwrap_or(own_id), "companyId": company.id, "companyName": company.name, "type": kind,
            "subject": self.sentence(), "snippet": self.sentence(), "description": paragraphs.concat(),
            "users": [{"id": user.id, "name": user.name, "isOwner": true}], "userIds": [user.id],
            "endusers": [{"id": enduser.id, "name": enduser.name}], "activityTags": self.some_of(&TAGS),
            "timeBucket": [], "starred": self.chance(3), "pinned": false, "archived": false, "numberOfParts": 1,
            "date": iso(dates.created), "createDate": iso(dates.created), "updatedAt": iso(dates.updated), "custom": {}, "__v": 0,
        })
    }
}

// Custom fields and their untidy values.
impl Generator {
    /// So many of a hundred fields are filled in, one in ten of them with no sensible value.
    fn custom(&mut self, fields: &[(&str, &str)], percent: u32) -> Value {
        let mut custom = Map::new();
        for (name, kind) in fields {
            if self.chance(percent) {
                let value = if self.chance(10) { self.no_value() } else { self.value(kind) };
                custom.insert((*name).to_owned(), value);
            }
        }
        Value::Object(custom)
    }

    fn value(&mut self, kind: &str) -> Value {
        match kind {
            "number" if self.rng.bool() => json!(self.rng.i32(-100..5_000)),
            "number" => json!(self.fraction()),
            "rating" => json!(self.rng.u32(1..=5)),
            "checkbox" => json!(self.rng.bool()),
            "day" => json!(iso((self.end - self.rng.i64(0..SPAN)) / DAY * DAY)),
            "date" => json!(iso(self.end - self.rng.i64(0..SPAN)).replace('Z', "+0000")),
            "list" => json!(self.pick(&TAGS)),
            "multipicklist" => json!(self.some_of(&TAGS)),
            "rich text" => json!(format!("<p>{}</p>", self.sentence())),
            "team member" => {
                let user = self.user_reference();
                if self.rng.bool() { json!(user.id) } else { json!({"_id": user.id, "nickName": user.name}) }
            }
            _ => json!(self.sentence()),
        }
    }

    /// The ways a field can be filled and still say nothing; rarely, plainly wrong.
    fn no_value(&mut self) -> Value {
        match self.rng.u32(0..20) {
            0..8 => Value::Null,
            8..14 => json!(""),
            14..19 => json!("undefined"),
            _ => json!("about 20"),
        }
    }
}

// The dice.
impl Generator {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(0..from.len())]
    }

    fn some_of<'a>(&mut self, from: &[&'a str]) -> Vec<&'a str> {
        from.iter().copied().filter(|_| self.chance(25)).collect()
    }

    /// An amount of money, in cents when it has to be.
    fn amount(&mut self, most: u32) -> f64 {
        f64::from(self.rng.u32(0..most * 4)) / 4.0
    }

    /// Few of these have a short decimal form: numbers that no float column keeps as they are.
    fn fraction(&mut self) -> f64 {
        f64::from(self.rng.i32(-700..7_000)) / 7.0
    }

    fn sentence(&mut self) -> String {
        let words: Vec<&str> = (0..self.rng.usize(3..14)).map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }

    fn company_reference(&mut self) -> Reference {
        self.companies[self.rng.usize(0..self.companies.len())].clone()
    }

    fn enduser_reference(&mut self) -> Reference {
        self.endusers[self.rng.usize(0..self.endusers.len())].clone()
    }

    fn user_reference(&mut self) -> Reference {
        self.users[self.rng.usize(0..self.users.len())].clone()
    }
}

fn custom_field_definitions() -> Vec<Value> {
    let of_companies = COMPANY_FIELDS.iter().map(|field| ("Company", field));
    let of_endusers = ENDUSER_FIELDS.iter().map(|field| ("EndUser", field));
    let definitions = of_companies.chain(of_endusers).enumerate().map(|(number, (parent, (name, kind)))| {
        json!({
            "_id": format!("5f00000000ff{number:012x}"), "name": name, "parent": parent, "type": kind,
            "isFeatured": false, "isHidden": false, "isLocked": false, "isMandatory": false, "isFormula": false,
            "listValues": if *kind == "list" || *kind == "multipicklist" { json!(TAGS) } else { json!([]) },
        })
    });
    definitions.collect()
}

/// One object of all groups of properties.
fn merged<const N: usize>(groups: [Value; N]) -> Value {
    let mut all = Map::new();
    for group in groups {
        if let Value::Object(mut properties) = group {
            all.append(&mut properties);
        }
    }
    Value::Object(all)
}

/// The API prints a whole number without a fraction, whatever it was computed from.
fn print_as_javascript(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            if let Some(Ok(whole)) = text.strip_suffix(".0").map(str::parse::<i64>) {
                *value = json!(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(print_as_javascript),
        Value::Object(properties) => properties.values_mut().for_each(print_as_javascript),
        _ => {}
    }
}

fn iso(milliseconds: i64) -> String {
    let instant = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Names as people give them, with the type that Planhat knows them by.
const COMPANY_FIELDS: [(&str, &str); 26] = [
    ("# Seats", "number"),
    ("# seats", "text"),
    ("# Overdue Invoices", "number"),
    ("Week No", "number"),
    ("Ratio", "number"),
    ("NPS + CSAT", "number"),
    ("Days until renewal", "number"),
    ("Größe (m²)", "number"),
    ("Effort - Onboarding", "rating"),
    ("Is reference?", "checkbox"),
    ("GDPR signed", "checkbox"),
    ("🚀 Go–live [EU]", "day"),
    ("Kick-off", "day"),
    ("Contract signed", "date"),
    ("Tier?", "list"),
    ("Region [sales]", "list"),
    ("Vertical_internal", "list"),
    ("Modules", "multipicklist"),
    ("Integrations (live)", "multipicklist"),
    ("Executive sponsor", "team member"),
    ("Notes", "rich text"),
    ("Success plan", "rich text"),
    ("CRM link", "url"),
    ("Support mail", "email"),
    ("Invoice reference", "text"),
    ("販売代理店", "text"),
];

const ENDUSER_FIELDS: [(&str, &str); 6] = [
    ("Role (internal)", "list"),
    ("Trained on", "day"),
    ("Champion?", "checkbox"),
    ("Score", "number"),
    ("Interests", "multipicklist"),
    ("Comment", "text"),
];

const PLACES: [&str; 10] = ["Åkerö", "Brno", "Łódź", "Nordfjord", "São Paulo", "Tōkai", "Zürich", "Galway", "Malmö", "Reims"];
const TRADES: [&str; 8] = ["Logistics", "Energi", "Papier", "Software", "Café", "Robotics", "Versicherung", "Health"];
const FORMS: [&str; 6] = ["AB", "GmbH", "Ltd", "& Söner", "S.A.", "K.K."];
const COUNTRIES: [&str; 6] = ["Sweden", "Germany", "Ireland", "Brasil", "日本", "France"];
const FIRST_NAMES: [&str; 10] = ["Kim", "Zoë", "Søren", "Anna", "José", "Mei", "Piotr", "Aoife", "Jürgen", "Fatima"];
const LAST_NAMES: [&str; 10] = ["Åberg", "O'Neil", "García", "Nowak", "Müller", "Tanaka", "Lind", "Da Silva", "Žižka", "Smith"];
const TAGS: [&str; 6] = ["A", "B", "Decision maker", "Entscheider", "VIP ⭐", "at-risk"];
const PRODUCTS: [&str; 4] = ["Base", "Insights", "Premium Support", "Übersetzung"];
const CURRENCIES: [&str; 4] = ["EUR", "USD", "SEK", "JPY"];
const TOUCHES: [&str; 5] = ["note", "email", "call", "chat", "🎓 Training"];
const WORDS: [&str; 16] = [
    "renewal", "onboarding", "export", "fails", "after", "the", "update", "meeting", "über", "den", "Vertrag", "kund", "besök",
    "report", "\"quoted\"", "naïve",
];
